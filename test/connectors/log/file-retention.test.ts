/** Retention of the file log: whole old segments go, the log begins later, and who was there hears of it. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { dirname, join } from 'node:path'
import { mock, test } from 'node:test'
import type { TestContext } from 'node:test'

import { openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { FileLog, FileLogOptions, LogBatch, LogProducer, MaintenanceReport } from '../../../connectors/index.ts'
import { gate, numbered, record, start, text, until, values } from '../../contract/log-fixture.ts'
import { scratchDirectory, segmentFiles } from './scratch.ts'

const topic = 'orders'
const dayMs = 86_400_000

interface Opened {
  readonly log: FileLog
  readonly directory: string
  readonly producer: LogProducer
  readonly reports: MaintenanceReport[]
  forward(ms: number): void
  start(): Promise<bigint>
}

async function open(t: TestContext, options: Partial<FileLogOptions> = {}): Promise<Opened> {
  const directory = options.directory ?? scratchDirectory()
  const reports: MaintenanceReport[] = []
  let ahead = 0
  const log = await openFileLog({
    directory,
    segmentBytes: 1000,
    sync: 'none',
    wallClock: () => Date.now() + ahead,
    onMaintenance: (report) => reports.push(report),
    ...options,
  })
  t.after(() => log.close())
  const admin = await log.admin()
  await admin.createTopics([{ name: topic, partitions: 1 }])
  return {
    log,
    directory,
    producer: await log.producer(),
    reports,
    forward: (ms) => void (ahead += ms),
    start: async () => (await admin.describe(topic)).start[0]!,
  }
}

/** Ten records of about 100 bytes: a segment. */
const segment = (prefix: string): ReturnType<typeof numbered> => numbered(10, prefix.padEnd(50, '.'))

async function read(log: FileLog): Promise<bigint[]> {
  const offsets: bigint[] = []
  await log.read(topic, ({ records }) => void offsets.push(...records.map(({ offset }) => offset)))
  return offsets
}

const range = (from: number, to: number): bigint[] => Array.from({ length: to - from }, (_, i) => BigInt(from + i))

test('segments go when their newest append is too old, whatever times their records carry', async (t) => {
  const opened = await open(t, { retentionMs: 7 * dayMs })
  await opened.producer.send(
    topic,
    0,
    segment('a').map((one) => ({ ...one, timestamp: 0 })),
  )
  opened.forward(3 * dayMs)
  await opened.producer.send(topic, 0, segment('b'))
  opened.forward(3 * dayMs)
  await opened.producer.send(topic, 0, segment('c'))
  await opened.log.maintain()
  strictEqual(await opened.start(), 0n)
  opened.forward(dayMs)
  await opened.log.maintain()
  deepStrictEqual([await opened.start(), await read(opened.log)], [10n, range(10, 30)])
  const { bytes, ...report } = opened.reports[0] as MaintenanceReport & { kind: 'expired' }
  deepStrictEqual(report, { kind: 'expired', topic, partition: 0, start: 10n })
  ok(bytes > 900)
  await opened.log.close()
  const again = await open(t, { directory: opened.directory })
  deepStrictEqual([await again.start(), await read(again.log)], [10n, range(10, 30)])
  again.forward(8 * dayMs) // files keep their age over a restart
  await again.log.maintain()
  deepStrictEqual([await again.start(), await read(again.log)], [30n, []], 'the last segment too, once it is old')
  deepStrictEqual(await again.producer.send(topic, 0, [record('k', 'on')]), new Map([[0, 30n]]))
  strictEqual(segmentFiles(opened.directory, topic).length, 1)
})

test('segments go when the others hold enough bytes; what is new and the last segment stay', async (t) => {
  const opened = await open(t, { retentionMs: Infinity, retentionBytes: 2500 })
  for (let i = 0; i < 6; i++) await opened.producer.send(topic, 0, segment(`${i}`))
  const size = fs.statSync(segmentFiles(opened.directory, topic)[0]!).size
  await opened.log.maintain()
  const files = segmentFiles(opened.directory, topic)
  strictEqual(files.length, Math.ceil(2500 / size))
  strictEqual(await opened.start(), BigInt((6 - files.length) * 10))
  await opened.log.maintain()
  deepStrictEqual(segmentFiles(opened.directory, topic), files)
  const tiny = await open(t, { retentionMs: Infinity, retentionBytes: 1 })
  await tiny.producer.send(topic, 0, segment('a'))
  await tiny.log.maintain()
  strictEqual(await tiny.start(), 0n)
})

test('topics kept for ever or compacted are never cut', async (t) => {
  const opened = await open(t, { retentionBytes: 1, maintenanceMs: 5 })
  await (
    await opened.log.admin()
  ).createTopics([
    { name: 'facts', partitions: 1, cleanup: 'forever' },
    { name: 'states', partitions: 1, cleanup: 'compact' },
  ])
  for (const name of [topic, 'facts', 'states']) {
    for (let i = 0; i < 4; i++)
      await opened.producer.send(
        name,
        0,
        numbered(10, `${i}`.padEnd(50, '.')).map((one) => ({ ...one, key: null })),
      )
  }
  opened.forward(1000 * dayMs)
  await until('the topic that is cut', async () => (await opened.start()) === 40n)
  for (const name of ['facts', 'states']) {
    let count = 0
    await opened.log.read(name, ({ records }) => void (count += records.length))
    deepStrictEqual([count, (await (await opened.log.admin()).describe(name)).start], [40, [0n]])
  }
})

test('a crash between the new start and the deletes is finished at the next start', async (t) => {
  const opened = await open(t)
  for (let i = 0; i < 4; i++) await opened.producer.send(topic, 0, segment(`${i}`))
  await opened.log.close()
  const files = segmentFiles(opened.directory, topic)
  const folder = dirname(files[0]!)
  const state = join(folder, 'partition.json')
  fs.writeFileSync(state, JSON.stringify({ format: 1, start: 20, cleaned: [], horizon: 0, tombstones: 0 }))
  fs.writeFileSync(`${state}.new`, '{"format"')
  const again = await open(t, { directory: opened.directory })
  deepStrictEqual([await again.start(), await read(again.log)], [20n, range(20, 40)])
  deepStrictEqual(fs.readdirSync(folder).sort(), [...files.slice(2).map((file) => file.slice(folder.length + 1)), 'partition.json'])
  await again.log.close()

  fs.rmSync(files[2]!)
  await rejects(openFileLog({ directory: opened.directory }), { code: 'SIDESTREAM_LOG_CORRUPT', message: /first segment is missing/ })
  for (const content of ['', '{"format":2}']) {
    fs.writeFileSync(state, content)
    await rejects(openFileLog({ directory: opened.directory }), { code: 'SIDESTREAM_LOG_CORRUPT', message: /partition\.json/ })
  }
})

test('the new start is on disk before the first file goes', async (t) => {
  const opened = await open(t, { retentionBytes: 1 })
  for (let i = 0; i < 4; i++) await opened.producer.send(topic, 0, segment(`${i}`))
  const files = segmentFiles(opened.directory, topic)
  const [remove, starts]: [typeof fs.promises.rm, number[]] = [fs.promises.rm, []]
  const mocked = mock.method(fs.promises, 'rm', async (path: string) => {
    starts.push((JSON.parse(fs.readFileSync(join(dirname(path), 'partition.json'), 'utf8')) as { start: number }).start)
    await remove(path)
  })
  syncBuiltinESMExports()
  t.after(() => (mocked.mock.restore(), syncBuiltinESMExports()))
  await opened.log.maintain()
  deepStrictEqual(starts, [30, 30, 30])
  deepStrictEqual(segmentFiles(opened.directory, topic), files.slice(3))
})

test('a lane that retention overtakes hears of the gap before it goes on', async (t) => {
  for (const name of ['file', 'memory']) {
    let ahead = 0
    const wallClock = (): number => Date.now() + ahead
    const log =
      name === 'file'
        ? await openFileLog({ directory: scratchDirectory(), segmentBytes: 1000, tailBytes: 1, wallClock })
        : await openMemoryLog({ wallClock })
    t.after(() => log.close())
    await (await log.admin()).createTopics([{ name: topic, partitions: 1 }])
    const producer = await log.producer()
    for (let i = 0; i < 3; i++) await producer.send(topic, 0, segment(`${i}`))
    const [entered, release, done] = [gate(), gate(), gate()]
    const told: unknown[] = []
    const consumer = await start(
      log,
      { group: 'g', topics: [topic], batchRecords: 4 },
      {
        onBatch: async (batch: LogBatch) => {
          told.push([batch.first, batch.next, batch.records.length])
          if (batch.first === 0n) {
            entered.open()
            await release.opened
          }
          if (values(batch.records).at(-1) === 'new1') done.open()
        },
        onGap: (_lane, expected, first) => void told.push({ expected, first }),
      },
    )
    await entered.opened
    ahead += 30 * dayMs
    await log.maintain()
    await producer.send(topic, 0, [record('k', 'new0'), record('k', 'new1')])
    release.open()
    await done.opened
    await consumer.stop({ drainMs: 1000 })
    const open =
      name === 'file'
        ? [
            [4n, 8n, 4],
            [8n, 10n, 2],
          ]
        : [] // it reads on in a file that it has open
    deepStrictEqual(told, [[0n, 4n, 4], ...open, { expected: name === 'file' ? 10n : 4n, first: 30n }, [30n, 32n, 2]], name)
  }
})

test('a reader that has a segment open reads it to its end although it was removed', async (t) => {
  const opened = await open(t, { segmentBytes: 1 << 22, tailBytes: 1 })
  const big = { key: null, value: new Uint8Array(300_000) }
  for (let i = 0; i < 12; i++) await opened.producer.send(topic, 0, [{ ...big, key: Buffer.from(`${i}`) }])
  const [entered, release] = [gate(), gate()]
  const keys: (string | null)[] = []
  const gaps: bigint[] = []
  const consumer = await start(
    opened.log,
    { group: 'g', topics: [topic], batchRecords: 1 },
    {
      onBatch: async ({ records }) => {
        keys.push(...records.map(({ key }) => text(key)))
        entered.open()
        await release.opened
      },
      onGap: (_lane, expected) => void gaps.push(expected),
    },
  )
  await entered.opened
  opened.forward(30 * dayMs)
  await opened.log.maintain()
  strictEqual(await opened.start(), 12n)
  await opened.producer.send(topic, 0, [record('new', 'v')])
  release.open()
  await until('the new record', () => keys.at(-1) === 'new')
  await consumer.stop({ drainMs: 1000 })
  deepStrictEqual([keys, gaps], [[...Array.from({ length: 12 }, (_, i) => `${i}`), 'new'], []])
})
