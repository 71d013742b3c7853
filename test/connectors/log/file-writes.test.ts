import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { mock, test } from 'node:test'
import type { TestContext } from 'node:test'

import { openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { FileLog, FileLogOptions, LogProducer } from '../../../connectors/index.ts'
import { SidestreamError } from '../../../schemas/index.ts'
import { collect, gate, numbered, record, start, values } from '../../contract/log-fixture.ts'
import { scratchDirectory, segmentFiles } from './scratch.ts'

async function open(
  t: TestContext,
  options: Partial<FileLogOptions> = {},
): Promise<{ log: FileLog; producer: LogProducer; directory: string; end(): Promise<bigint> }> {
  const directory = options.directory ?? scratchDirectory()
  const log = await openFileLog({ directory, ...options })
  t.after(() => log.close())
  const admin = await log.admin()
  await admin.createTopics([{ name: 'orders', partitions: 2 }])
  return { log, producer: await log.producer(), directory, end: async () => (await admin.describe('orders')).end[0]! }
}

const failure = (code: string): NodeJS.ErrnoException => Object.assign(new Error(`${code}: injected`), { code })

/** Holds or fails every fdatasync until told. */
function interceptSyncs(t: TestContext): { calls(): number; release(error?: Error): void } {
  type Callback = (error: NodeJS.ErrnoException | null) => void
  const original = fs.fdatasync
  const waiting: (() => void)[] = []
  let held = true
  let outcome: Error | undefined
  const mocked = mock.method(fs, 'fdatasync', (fd: number, callback: Callback) => {
    const finish = (): void => (outcome === undefined ? original(fd, callback) : callback(outcome as NodeJS.ErrnoException))
    if (held) waiting.push(finish)
    else finish()
  })
  t.after(() => mocked.mock.restore())
  return {
    calls: () => mocked.mock.callCount(),
    release: (error) => {
      outcome = error
      held = false
      for (const finish of waiting.splice(0)) finish()
    },
  }
}

/** Lets everything happen that waits for nothing but files and turns. */
async function settle(until: () => boolean): Promise<void> {
  while (!until()) await new Promise(setImmediate)
}

test('a group commit acknowledges after the fdatasync it shares, and readers see nothing before', async (t) => {
  const { log, producer, directory, end } = await open(t)
  const syncs = interceptSyncs(t)
  const acked: number[] = []
  const sends = [1, 2, 3].map((n) => producer.send('orders', 0, numbered(10)).then(() => acked.push(n)))
  const [file] = segmentFiles(directory, 'orders')
  await settle(() => syncs.calls() === 1)
  ok(fs.statSync(file!).size > 0)
  let seen = 0
  const consumer = await start(log, { group: 'g', topics: ['orders'] }, { onBatch: async ({ records }) => void (seen += records.length) })
  const later = producer.send('orders', 0, numbered(1))
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  deepStrictEqual([acked, await end(), seen], [[], 0n, 0])
  syncs.release()
  await Promise.all(sends)
  deepStrictEqual(acked, [1, 2, 3])
  await later
  deepStrictEqual([syncs.calls(), await end()], [2, 31n])
  await consumer.stop({ drainMs: 1000 })
})

test('a group is synced early when enough bytes wait', async (t) => {
  const { producer, end } = await open(t, { groupCommitMs: 2_000_000, groupCommitBytes: 10_000 })
  const sends = Array.from({ length: 12 }, () => producer.send('orders', 0, [{ key: null, value: new Uint8Array(900) }]))
  await Promise.all(sends.slice(0, 10))
  ok((await end()) >= 10n)
  const rest = producer.send('orders', 1, [{ key: null, value: new Uint8Array(10_000) }])
  await Promise.all([...sends, rest])
})

test('sync always gives each append a sync of its own; sync none waits for none', async (t) => {
  const always = await open(t, { sync: 'always' })
  const none = await open(t, { sync: 'none' })
  const syncs = interceptSyncs(t)
  await none.producer.send('orders', 0, numbered(3))
  deepStrictEqual([syncs.calls(), await none.end()], [0, 3n])
  syncs.release()
  for (let i = 0; i < 3; i++) await always.producer.send('orders', 0, numbered(1))
  strictEqual(syncs.calls(), 3)
})

test('a failed fsync is fatal for the partition, never tried again, and what it left is not shown', async (t) => {
  const { log, producer, end } = await open(t)
  await producer.send('orders', 0, numbered(2))
  const syncs = interceptSyncs(t)
  const sends = [producer.send('orders', 0, numbered(2)), producer.send('orders', 0, numbered(2))]
  const outcomes = Promise.allSettled(sends)
  await settle(() => syncs.calls() === 1)
  syncs.release(failure('EIO'))
  for (const outcome of await outcomes) strictEqual((outcome as PromiseRejectedResult).reason.code, 'SIDESTREAM_LOG_WRITE_FAILED')
  await rejects(producer.send('orders', 0, numbered(1)), { code: 'SIDESTREAM_LOG_WRITE_FAILED' })
  deepStrictEqual([syncs.calls(), await end()], [1, 2n])
  syncs.release()
  deepStrictEqual(values((await collect(log, { group: 'g', topics: ['orders'], batchRecords: 1 }, 2)).records), ['0', '1'])
  await producer.send('orders', 1, numbered(1)) // the other partition has a file of its own
})

test('a full disk refuses the send, keeps the log whole, and later sends work again', async (t) => {
  const { log, producer, directory, end } = await open(t, { segmentBytes: 2000 })
  await producer.send('orders', 0, numbered(5, 'a'))
  type Callback = (error: Error | null, written: number) => void
  const write = mock.method(
    fs,
    'write',
    (fd: number, bytes: Uint8Array, from: number, length: number, position: number, callback: Callback) => {
      fs.writeSync(fd, bytes, from, length >> 1, position) // the disk took half of it
      callback(failure('ENOSPC'), 0)
    },
  )
  const before = segmentFiles(directory, 'orders').map((file) => fs.statSync(file).size)
  await rejects(producer.send('orders', 0, numbered(20, 'lost')), (error: SidestreamError) => {
    strictEqual(error.code, 'SIDESTREAM_DISK_FULL')
    ok(/free space/.test(error.message))
    return true
  })
  deepStrictEqual(
    segmentFiles(directory, 'orders').map((file) => fs.statSync(file).size),
    before,
  )
  strictEqual(await end(), 5n)
  write.mock.restore()
  deepStrictEqual(await producer.send('orders', 0, numbered(5, 'b')), new Map([[0, 5n]]))
  const expected = [...numbered(5, 'a'), ...numbered(5, 'b')].map(({ value }) => String(value))
  deepStrictEqual(values((await collect(log, { group: 'g', topics: ['orders'] }, 10)).records), expected)
  await log.close()
  const again = await openFileLog({ directory })
  deepStrictEqual(again.torn, [])
  deepStrictEqual(values((await collect(again, { group: 'h', topics: ['orders'] }, 10)).records), expected)
  await again.close()
})

test('no space for a new segment refuses the send and leaves no file that would end the log', async (t) => {
  const { log, producer, directory } = await open(t, { segmentBytes: 500 })
  await producer.send('orders', 0, numbered(5, 'a'))
  const fsync = mock.method(fs, 'fsync', (_fd: number, callback: (error: Error) => void) => callback(failure('ENOSPC')))
  await rejects(producer.send('orders', 0, numbered(9, 'lost')), { code: 'SIDESTREAM_DISK_FULL' })
  await producer.send('orders', 0, [record('k', 'b')]) // fits the old segment
  fsync.mock.restore()
  await producer.send('orders', 0, numbered(9, 'c'))
  strictEqual(segmentFiles(directory, 'orders').length, 2)
  const expected = [...numbered(5, 'a').map(({ value }) => String(value)), 'b', ...numbered(9, 'c').map(({ value }) => String(value))]
  await log.close()
  const again = await openFileLog({ directory })
  deepStrictEqual(values((await collect(again, { group: 'h', topics: ['orders'] }, 15)).records), expected)
  await again.close()
})

test('any other write error gives the partition up', async (t) => {
  const { log, producer } = await open(t)
  await producer.send('orders', 0, numbered(2))
  const write = mock.method(fs, 'write', (...given: unknown[]) => (given.at(-1) as (error: Error) => void)(failure('EIO')))
  await rejects(producer.send('orders', 0, numbered(2)), { code: 'SIDESTREAM_LOG_WRITE_FAILED', class: 'fatal' })
  write.mock.restore()
  await rejects(producer.send('orders', 0, numbered(2)), { code: 'SIDESTREAM_LOG_WRITE_FAILED' })
  await producer.send('orders', 1, numbered(2))
  await log.close()
})

const mountable = process.platform === 'linux' && process.getuid?.() === 0
test(
  'a real full disk: sends are refused, nothing acknowledged is lost, space brings them back',
  { skip: mountable ? false : 'needs root to mount a small tmpfs' },
  async (t) => {
    const directory = scratchDirectory()
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]).status !== 0) return t.skip('cannot mount a tmpfs here')
    t.after(() => spawnSync('umount', ['--lazy', directory]))
    const log = await openFileLog({ directory })
    const admin = await log.admin()
    await admin.createTopics([{ name: 'orders', partitions: 1 }])
    fs.writeFileSync(join(directory, 'ballast'), Buffer.alloc(300_000))
    const producer = await log.producer()
    const acked: string[] = []
    const send = async (n: number): Promise<void> => {
      await producer.send('orders', 0, [record('n', `${n}`), { key: null, value: new Uint8Array(30_000) }])
      acked.push(`${n}`)
    }
    let full: SidestreamError | undefined
    for (let n = 0; full === undefined; n++) await send(n).catch((error: SidestreamError) => (full = error))
    strictEqual(full.code, 'SIDESTREAM_DISK_FULL')
    await rejects(send(-1), { code: 'SIDESTREAM_DISK_FULL' })
    deepStrictEqual((await admin.describe('orders')).end, [BigInt(acked.length * 2)])
    fs.rmSync(join(directory, 'ballast'))
    for (let n = 1000; n < 1005; n++) await send(n)
    await log.close()
    const again = await openFileLog({ directory })
    deepStrictEqual(again.torn, [])
    const { records } = await collect(again, { group: 'g', topics: ['orders'] }, acked.length * 2)
    deepStrictEqual(values(records.filter(({ key }) => key !== null)), acked)
    await again.close()
  },
)

test('tries of a batch wait 100 ms, twice as long each time, and at most 5 s', async () => {
  const waits: number[] = []
  const log = await openMemoryLog({ wait: async (ms) => void waits.push(ms) })
  await (await log.admin()).createTopics([{ name: 'orders', partitions: 1 }])
  await (await log.producer()).send('orders', 0, numbered(1))
  const done = gate()
  const consumer = await start(
    log,
    { group: 'g', topics: ['orders'] },
    {
      onBatch: async () => {
        if (waits.length < 8) throw new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', 'away')
        done.open()
      },
    },
  )
  await done.opened
  await consumer.stop({ drainMs: 1000 })
  await log.close()
  deepStrictEqual(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000])
})

test('append times come from the clock that was given', async (t) => {
  const { log, producer } = await open(t, { clock: () => 1_600_000_000_000.75 })
  await producer.send('orders', 0, [record('a', 'b')])
  const { records } = await collect(log, { group: 'g', topics: ['orders'] }, 1)
  strictEqual(records[0]!.timestamp, 1_600_000_000_000)
})
