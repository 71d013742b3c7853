/** Compaction of the file log: what it leaves on disk, at every step of it, and what it does about damage and full disks. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, join } from 'node:path'
import { mock, test } from 'node:test'
import type { TestContext } from 'node:test'

import { openFileLog } from '../../../connectors/index.ts'
import type { FileLog, FileLogOptions, LogProducer, LogRecord, MaintenanceReport, ProducerRecord } from '../../../connectors/index.ts'
import { record, text, until } from '../../contract/log-fixture.ts'
import { scratchDirectory, segmentFiles } from './scratch.ts'

const topic = 'changelog'
const hourMs = 3_600_000

interface Opened {
  readonly log: FileLog
  readonly directory: string
  readonly producer: LogProducer
  /** Reports of maintenance so far. */
  readonly reports: MaintenanceReport[]
  /** Puts the clock of files forward. */
  forward(ms: number): void
}

async function open(t: TestContext, options: Partial<FileLogOptions> = {}, partitions = 1): Promise<Opened> {
  const directory = options.directory ?? scratchDirectory()
  const reports: MaintenanceReport[] = []
  let ahead = 0
  const log = await openFileLog({
    directory,
    segmentBytes: 2000,
    sync: 'none',
    tailBytes: 1,
    deleteRetentionMs: hourMs,
    wallClock: () => Date.now() + ahead,
    onMaintenance: (report) => reports.push(report),
    ...options,
  })
  t.after(() => log.close())
  await (await log.admin()).createTopics([{ name: topic, partitions, cleanup: 'compact' }])
  return { log, directory, producer: await log.producer(), reports, forward: (ms) => void (ahead += ms) }
}

/** `count` records over `keys` keys, from number `from` on, sent in batches of seven. */
async function write({ producer }: Pick<Opened, 'producer'>, count: number, keys: number, from = 0): Promise<void> {
  const records = Array.from({ length: count }, (_, i) => record(`k${(from + i) % keys}`, String(from + i).padEnd(60, '.')))
  for (let i = 0; i < count; i += 7) await producer.send(topic, 0, records.slice(i, i + 7))
}

async function read(log: Pick<FileLog, 'read'>, from = 0n): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  await log.read(topic, ({ records }) => void found.push(...records), { from: [from] })
  return found
}

const plain = (records: readonly LogRecord[]): [string | null, string | null, number][] =>
  records.map(({ key, value, offset }) => [text(key), text(value)?.replace(/\.+$/, '') ?? null, Number(offset)])

const state = (records: readonly LogRecord[]): Record<string, string> => {
  const all = new Map<string, string>()
  for (const [key, value] of plain(records)) {
    if (value === null) all.delete(key!)
    else all.set(key!, value)
  }
  return Object.fromEntries([...all].sort())
}

const bytesOf = (directory: string): number => segmentFiles(directory, topic).reduce((sum, file) => sum + fs.statSync(file).size, 0)

test('many segments become few, with the last record of each key and all records without one', async (t) => {
  const opened = await open(t)
  await write(opened, 300, 6)
  await opened.producer.send(topic, 0, [record(null, 'first'), record('', 'empty'), record(null, 'second'), record('', 'again')])
  const [files, bytes] = [segmentFiles(opened.directory, topic).length, bytesOf(opened.directory)]
  ok(files > 10)
  await opened.log.compact(topic)
  const expected = [
    ...[294, 295, 296, 297, 298, 299].map((n) => [`k${n % 6}`, String(n), n]),
    [null, 'first', 300],
    [null, 'second', 302],
    ['', 'again', 303],
  ]
  deepStrictEqual(plain(await read(opened.log)), expected)
  deepStrictEqual(opened.reports, [
    { kind: 'compacted', topic, partition: 0, bytesBefore: bytes, bytesAfter: bytesOf(opened.directory), recordsDropped: 295 },
  ])
  await opened.log.compact(topic) // small segments join
  strictEqual(segmentFiles(opened.directory, topic).length, 2)
  deepStrictEqual(plain(await read(opened.log)), expected)
  await opened.log.close()
  const again = await open(t, { directory: opened.directory })
  deepStrictEqual([again.log.torn, plain(await read(again.log))], [[], expected])
})

test('reading from any offset gives what is left from there on, from memory and from files', async (t) => {
  for (const tailBytes of [1, 4000, 1 << 20]) {
    const opened = await open(t, { tailBytes, segmentBytes: 9000 })
    await write(opened, 200, 37)
    await opened.log.compact(topic)
    await write(opened, 90, 23, 200)
    const all = plain(await read(opened.log))
    for (let from = 0; from <= 290; from += 13) {
      deepStrictEqual(
        plain(await read(opened.log, BigInt(from))),
        all.filter(([, , offset]) => offset >= from),
      )
    }
  }
})

test('a tombstone stays for its time after the older records of its key have gone, then goes', async (t) => {
  const opened = await open(t)
  await write(opened, 20, 4)
  await opened.producer.send(topic, 0, [record('k1', null), record('never seen', null)])
  const tombstones = async (): Promise<number> => (await read(opened.log)).filter(({ value }) => value === null).length
  opened.forward(100 * hourMs) // its age before the first compaction does not count
  await opened.log.compact(topic)
  strictEqual(await tombstones(), 2)
  opened.forward(hourMs / 2)
  await opened.log.compact(topic)
  strictEqual(await tombstones(), 2)
  await opened.producer.send(topic, 0, [record('k2', null)])
  await opened.log.compact(topic)
  opened.forward(hourMs / 2)
  await opened.log.maintain() // due for the tombstones alone
  strictEqual(await tombstones(), 1)
  opened.forward(hourMs / 2)
  await opened.log.maintain()
  strictEqual(await tombstones(), 0)
  deepStrictEqual(state(await read(opened.log)), { k0: '16', k3: '19' })
})

test('a key that comes back after its tombstone stays', async (t) => {
  const opened = await open(t, { deleteRetentionMs: 0 })
  await opened.producer.send(topic, 0, [record('a', '1'), record('a', null), record('b', null)])
  await opened.log.compact(topic)
  await opened.producer.send(topic, 0, [record('a', '2')])
  await opened.log.compact(topic)
  await opened.log.compact(topic)
  deepStrictEqual(plain(await read(opened.log)), [['a', '2', 3]])
})

test('a log of which nothing is left still ends where it ended, and goes on there', async (t) => {
  const opened = await open(t, { deleteRetentionMs: 0 })
  await opened.producer.send(topic, 0, [record('a', '1'), record('a', null)])
  await opened.log.compact(topic)
  await opened.log.compact(topic)
  deepStrictEqual(await read(opened.log), [])
  await opened.log.close()
  const again = await open(t, { directory: opened.directory })
  deepStrictEqual((await (await again.log.admin()).describe(topic)).end, [2n])
  deepStrictEqual(await again.producer.send(topic, 0, [record('b', '2')]), new Map([[0, 2n]]))
  deepStrictEqual(plain(await read(again.log)), [['b', '2', 2]])
})

test('keys that memory does not hold wait for the next run; nothing is lost between', async (t) => {
  const opened = await open(t, { segmentBytes: 20_000, compactionMemoryBytes: 1 })
  await write(opened, 4000, 2000)
  const expected = state(await read(opened.log))
  const sizes: number[] = []
  for (let run = 0; run < 6; run++) {
    await opened.log.compact(topic)
    const records = await read(opened.log)
    deepStrictEqual(state(records), expected)
    sizes.push(records.length)
  }
  ok(sizes[0]! > 2000, `one run holds fewer keys than there are: ${sizes.join()}`)
  strictEqual(sizes.at(-1), 2000)
})

test('it runs by itself; the last segment is left alone until it is old', async (t) => {
  const opened = await open(t, { maintenanceMs: 5, segmentMs: hourMs })
  await write(opened, 100, 5)
  await until('a compaction', () => opened.reports.length > 0)
  const base = Number(basename(segmentFiles(opened.directory, topic).at(-1)!, '.log'))
  ok(base > 50 && base < 95, `${base}`)
  strictEqual((await read(opened.log, BigInt(base))).length, 100 - base)
  opened.forward(hourMs)
  await until('the last segment', async () => (await read(opened.log)).length === 5)
  deepStrictEqual(state(await read(opened.log)), { k0: '95', k1: '96', k2: '97', k3: '98', k4: '99' })
})

test('less than the dirty share is left alone', async (t) => {
  const opened = await open(t, { compactionDirtyShare: 0.5 })
  await write(opened, 400, 400)
  await opened.log.compact(topic)
  await write(opened, 100, 5, 400)
  await opened.log.maintain()
  strictEqual(opened.reports.length, 1)
  await write(opened, 500, 5, 500)
  await opened.log.maintain()
  strictEqual(opened.reports.length, 2)
})

/** Every change to the disk that the log asks for, in order; `before` runs ahead of each. */
function intercept(t: TestContext, before: (what: string) => void): void {
  type Callback = (...given: unknown[]) => void
  const mocked = [
    ...(['write', 'fdatasync', 'fsync', 'ftruncate'] as const).map((name) => {
      const original = fs[name] as (...given: unknown[]) => void
      return mock.method(fs, name, (...given: unknown[]) => {
        before(name)
        original(...given)
      })
    }),
    mock.method(
      fs,
      'open',
      ((original) => (path: string, flags: string, done: Callback) => {
        if (flags !== 'r') before(`create ${basename(path)}`)
        original(path, flags, done)
      })(fs.open as (path: string, flags: string, done: Callback) => void),
    ),
    ...(['rename', 'rm'] as const).map((name) => {
      const original = fs.promises[name] as (...given: unknown[]) => Promise<void>
      return mock.method(fs.promises, name, async (...given: unknown[]) => {
        before(`${name} ${basename(String(given[0]))}`)
        await original(...given)
      })
    }),
  ]
  syncBuiltinESMExports()
  t.after(() => {
    for (const { mock: one } of mocked) one.restore()
    syncBuiltinESMExports()
  })
}

test('a kill at any step of a compaction leaves the old log or the new one, and no leftovers after the next start', async (t) => {
  const opened = await open(t, { segmentBytes: 4000, deleteRetentionMs: 0 })
  await write(opened, 120, 40)
  await opened.log.compact(topic) // a second run has plain and compacted segments to replace, and tombstones to drop
  await write(opened, 100, 30, 120)
  await opened.producer.send(topic, 0, [record('k2', null), record(null, 'keyless')])
  await opened.log.compact(topic)
  await write(opened, 60, 20, 220)
  const expected = state(await read(opened.log))
  const snapshots: { readonly before: string; readonly directory: string }[] = []
  const steps: string[] = []
  intercept(t, (what) => {
    steps.push(what)
    const directory = join(scratchDirectory(), 'copy')
    fs.cpSync(opened.directory, directory, { recursive: true, filter: (path) => basename(path) !== 'LOCK' })
    snapshots.push({ before: what, directory })
  })
  await opened.log.compact(topic)
  mock.restoreAll()
  syncBuiltinESMExports()
  const after = plain(await read(opened.log))
  const renames = steps.filter((step) => step.startsWith('rename compaction')).length
  const removals = steps.filter((step) => step.startsWith('rm ') && step.includes('.log')).length
  ok(renames >= 2 && removals > renames, steps.join(', '))
  for (const [i, step] of steps.entries()) {
    if (!step.startsWith('rename')) continue
    strictEqual(steps[i - 1], 'fdatasync', 'the content is durable before it has its name')
    strictEqual(steps[i + 1], 'fsync', 'the name is durable before anything is deleted')
  }
  for (const { before, directory } of snapshots) {
    const again = await openFileLog({ directory, segmentBytes: 4000 })
    deepStrictEqual([again.torn, state(await read(again))], [[], expected], before)
    await again.compact(topic)
    deepStrictEqual(state(await read(again)), expected, before)
    deepStrictEqual((await (await again.admin()).describe(topic)).end, [282n], before)
    await again.close()
    const folder = join(directory, 'topics', topic, '0')
    deepStrictEqual(
      fs.readdirSync(folder).filter((name) => name.endsWith('.new')),
      [],
      before,
    )
    const ranges = segmentFiles(directory, topic).map((file) => basename(file).split('.')[0]!.split('-').map(Number))
    ok(
      ranges.every(([base], i) => i === 0 || base === (ranges[i - 1]![1] ?? base)),
      `${before}: ${segmentFiles(directory, topic).join()}`,
    )
  }
  deepStrictEqual(after, plain(await read(opened.log)))
})

test('a damaged segment is not compacted: nothing changes, it is told once in a while, and the rest goes on', async (t) => {
  const opened = await open(t, { maintenanceMs: 5 }, 2)
  await opened.producer.send(topic, 1, [record('other', '1'), record('other', '2')])
  await opened.producer.send(
    topic,
    1,
    Array.from({ length: 30 }, () => record('other', 'x'.repeat(70))),
  )
  await opened.producer.send(topic, 1, [record('other', 'y'.repeat(1900))])
  await write(opened, 20, 3)
  await until('a first run', () => opened.reports.some((report) => report.kind === 'compacted'))
  await opened.log.close()

  const file = segmentFiles(opened.directory, topic)[0]!
  const content = fs.readFileSync(file)
  content[Math.floor(content.length / 2)]! ^= 1
  fs.writeFileSync(file, content)
  const names = segmentFiles(opened.directory, topic)
  const again = await open(t, { directory: opened.directory, maintenanceMs: 5, compactionDirtyShare: 0 }, 2)
  await rejects(again.log.compact(topic), { code: 'SIDESTREAM_LOG_CORRUPT' })
  await write(again, 60, 3, 20)
  await again.producer.send(topic, 1, [record('more', 'z'.repeat(1900))])
  await again.producer.send(topic, 1, [record('more', 'z'.repeat(1900))])
  await until('the failure', () => again.reports.some((report) => report.kind === 'failed'))
  await until('the other partition', () => again.reports.some((report) => report.kind === 'compacted' && report.partition === 1))
  const failed = again.reports.filter((report) => report.kind === 'failed')
  strictEqual(failed.length, 1)
  ok(names.every((name) => fs.existsSync(name)))
})

test('a compacted segment with a byte too few or too many is fatal at the start, a wrong one when it is read', async (t) => {
  const opened = await open(t, { segmentBytes: 100_000 })
  await write(opened, 50, 10)
  await opened.log.compact(topic)
  await opened.log.close()
  const file = segmentFiles(opened.directory, topic)[0]!
  const whole = fs.readFileSync(file)
  for (const spoiled of [whole.subarray(0, -1), whole.subarray(0, 0), Buffer.concat([whole, Buffer.from('x')])]) {
    fs.writeFileSync(file, spoiled)
    await rejects(openFileLog({ directory: opened.directory }), { code: 'SIDESTREAM_LOG_CORRUPT' })
  }
  const flipped = Buffer.from(whole)
  flipped[70]! ^= 1
  fs.writeFileSync(file, flipped)
  const log = await openFileLog({ directory: opened.directory })
  await rejects(read(log), { code: 'SIDESTREAM_LOG_CORRUPT' })
  await log.close()
  fs.writeFileSync(file, whole)
  fs.rmSync(segmentFiles(opened.directory, topic).at(-1)!)
  await rejects(openFileLog({ directory: opened.directory }), { code: 'SIDESTREAM_LOG_CORRUPT', message: /last segment is missing/ })
})

test('no space to compact leaves the log as it was; space lets it go on', async (t) => {
  const opened = await open(t)
  await write(opened, 100, 5)
  const before = plain(await read(opened.log))
  type Callback = (error: Error | null, written: number) => void
  const full = mock.method(fs, 'write', (_fd: number, _bytes: Uint8Array, _from: number, _length: number, _at: number, done: Callback) =>
    done(Object.assign(new Error('ENOSPC: injected'), { code: 'ENOSPC' }), 0),
  )
  await rejects(opened.log.compact(topic), { code: 'SIDESTREAM_DISK_FULL' })
  full.mock.restore()
  deepStrictEqual(plain(await read(opened.log)), before)
  ok(!fs.readdirSync(join(opened.directory, 'topics', topic, '0')).some((name) => name.endsWith('.new')))
  await opened.log.compact(topic)
  strictEqual((await read(opened.log)).length, 5)
})

test('appends and reads go on while a topic is compacted; a topic that is deleted or closed ends it', async (t) => {
  const opened = await open(t, { segmentBytes: 50_000 })
  await write(opened, 8000, 3000)
  const compaction = opened.log.compact(topic)
  let [appended, done] = [0, false]
  const finished = compaction.then(() => (done = true))
  while (!done) {
    await write(opened, 7, 7, 9000 + appended)
    appended += 7
    ok((await read(opened.log, 7990n)).length > 0)
  }
  await finished
  ok(appended > 7)
  strictEqual(Object.keys(state(await read(opened.log))).length, 3000)

  await write(opened, 8000, 3000, 20_000)
  const cut = opened.log.compact(topic)
  const refused = rejects(cut, { code: 'SIDESTREAM_CLOSED' })
  await (await opened.log.admin()).deleteTopic(topic)
  await refused
  await rejects(opened.log.compact(topic), { code: 'SIDESTREAM_TOPIC_UNKNOWN' })
})

test('only topics with cleanup compact are compacted', async (t) => {
  const opened = await open(t)
  await (
    await opened.log.admin()
  ).createTopics([
    { name: 'orders', partitions: 1 },
    { name: 'facts', partitions: 1, cleanup: 'forever' },
  ])
  for (const name of ['orders', 'facts']) {
    await opened.producer.send(
      name,
      0,
      Array.from({ length: 50 }, (_, i) => record('k', String(i).repeat(60) satisfies string)),
    )
    await rejects(opened.log.compact(name), { code: 'SIDESTREAM_USAGE_INVALID' })
  }
  opened.forward(1000 * hourMs)
  await opened.log.maintain()
  deepStrictEqual((await (await opened.log.admin()).describe('facts')).start, [0n])
  const seen: ProducerRecord[] = []
  await opened.log.read('facts', ({ records }) => void seen.push(...records))
  strictEqual(seen.length, 50)
  strictEqual(segmentFiles(opened.directory, 'facts').length, 1)
})
