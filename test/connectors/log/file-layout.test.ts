import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { crc32c } from '../../../compute/index.ts'
import { openFileLog } from '../../../connectors/index.ts'
import { collect, gate, numbered, record, start, text } from '../../contract/log-fixture.ts'
import { scratchDirectory, segmentFiles } from './scratch.ts'

test('the bytes of a segment are those of format 1', async () => {
  const directory = scratchDirectory()
  const log = await openFileLog({ directory, clock: () => 1_700_000_000_123 })
  await (await log.admin()).createTopics([{ name: 'orders', partitions: 1 }])
  const producer = await log.producer()
  await producer.send('orders', 0, [
    { key: Buffer.from('ann'), value: Buffer.from([1, 2]), headers: [['h', Buffer.from([9])]] },
    { key: null, value: null, timestamp: -2 },
  ])
  await log.close()
  const bytes = readFileSync(segmentFiles(directory, 'orders')[0]!)
  const frames = [
    '2d000000 CRC 0000000000000000 7b68e5cf8b010000 00000000 01 00 0100 03000000 02000000 616e6e 0102 0100 01000000 68 09',
    '20000000 CRC 0100000000000000 feffffffffffffff 01000000 01 07 0000 00000000 00000000',
  ]
  let at = 0
  const expected = frames.map((frame) => {
    const length = frame.replace('CRC', '00000000').replaceAll(' ', '').length / 2
    const checksum = Buffer.alloc(4)
    checksum.writeUInt32LE(crc32c(bytes, 0, at + 8, at + length))
    at += length
    return frame.replace('CRC', checksum.toString('hex')).replaceAll(' ', '')
  })
  strictEqual(bytes.toString('hex'), expected.join(''))
})

test('a consumer that falls behind memory reads on from files, over many segments, and catches up again', async () => {
  const directory = scratchDirectory()
  const log = await openFileLog({ directory, segmentBytes: 60_000, tailBytes: 20_000, groupCommitMs: 0 })
  await (await log.admin()).createTopics([{ name: 'orders', partitions: 1 }])
  const producer = await log.producer()
  const send = (from: number, count: number): Promise<unknown> =>
    producer.send(
      'orders',
      0,
      Array.from({ length: count }, (_, i) => record(`${from + i}`, String(from + i).padEnd(700, '.'))),
    )
  const [entered, release, done] = [gate(), gate(), gate()]
  const keys: (string | null)[] = []
  const consumer = await start(
    log,
    { group: 'g', topics: ['orders'], batchRecords: 37 },
    {
      onBatch: async ({ records }) => {
        keys.push(...records.map(({ key }) => text(key)))
        entered.open()
        await release.opened
        if (keys.length === 1500) done.open()
      },
    },
  )
  await send(0, 5)
  await entered.opened
  for (let n = 5; n < 1000; n += 5) await send(n, 5)
  ok(segmentFiles(directory, 'orders').length > 10)
  release.open()
  for (let n = 1000; n < 1500; n += 50) await send(n, 50)
  await done.opened
  deepStrictEqual(
    keys,
    Array.from({ length: 1500 }, (_, i) => `${i}`),
  )
  await consumer.stop({ drainMs: 1000 })
  await log.close()
})

test('segments begin at batches, are named by their first offset, and are dense', async () => {
  const directory = scratchDirectory()
  const log = await openFileLog({ directory, segmentBytes: 1000, sync: 'none' })
  await (await log.admin()).createTopics([{ name: 'orders', partitions: 1 }])
  const producer = await log.producer()
  const bases: bigint[] = []
  for (let n = 0; n < 20; n++) bases.push((await producer.send('orders', 0, numbered(7))).get(0)!)
  await log.close()
  const named = segmentFiles(directory, 'orders').map((file) => BigInt(file.slice(-24, -4)))
  ok(named.length > 3 && named[0] === 0n)
  ok(named.every((base) => bases.includes(base)))
  const again = await openFileLog({ directory })
  const { records } = await collect(again, { group: 'g', topics: ['orders'] }, 140)
  deepStrictEqual(
    records.map(({ offset }) => offset),
    Array.from({ length: 140 }, (_, i) => BigInt(i)),
  )
  await again.close()
})
