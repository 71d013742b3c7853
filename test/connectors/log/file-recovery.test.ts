import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'

import { openFileLog } from '../../../connectors/index.ts'
import type { FileLogOptions } from '../../../connectors/index.ts'
import type { SidestreamError } from '../../../schemas/index.ts'
import { collect, gate, numbered, record, start, values } from '../../contract/log-fixture.ts'
import { scratchDirectory, segmentFiles } from './scratch.ts'

type Options = Partial<FileLogOptions>

/** A log with topic `orders` of one partition, to which each of `batches` was sent, closed again. */
async function written(batches: number[], options: Options = {}): Promise<string> {
  const directory = scratchDirectory()
  const log = await openFileLog({ directory, sync: 'none', ...options })
  await (await log.admin()).createTopics([{ name: 'orders', partitions: 1 }])
  const producer = await log.producer()
  for (const [i, count] of batches.entries()) await producer.send('orders', 0, numbered(count, `${i}.`))
  await log.close()
  return directory
}

const contents = (batches: number[]): string[] => batches.flatMap((count, i) => Array.from({ length: count }, (_, k) => `${i}.${k}`))

/** Everything in `orders`, read from its start. */
async function readBack(directory: string, count: number, options: Options = {}): Promise<(string | null)[]> {
  const log = await openFileLog({ directory, ...options })
  try {
    return values((await collect(log, { group: 'reader', topics: ['orders'] }, count)).records)
  } finally {
    await log.close()
  }
}

/** The error that ends a consumer of `orders`, and how many records came before it. */
async function fatalError(directory: string, from = 0n): Promise<{ error: SidestreamError; seen: number }> {
  const log = await openFileLog({ directory })
  const fatal = gate<Error>()
  let seen = 0
  await start(
    log,
    { group: 'reader', topics: ['orders'] },
    {
      onAssigned: async () => from,
      onBatch: async ({ records }) => void (seen += records.length),
      onFatal: fatal.open,
    },
  )
  const error = (await fatal.opened) as SidestreamError
  await log.close()
  return { error, seen }
}

/** First byte of frame `n` of a segment. */
function frameStart(file: string, n: number): number {
  const bytes = readFileSync(file)
  let at = 0
  for (; n > 0; n--) at += 8 + bytes.readUInt32LE(at)
  return at
}

function flip(file: string, byte: number): void {
  const bytes = readFileSync(file)
  bytes[byte]! ^= 1
  writeFileSync(file, bytes)
}

test('a torn batch is cut as a whole, counted, and its offsets are given anew', async () => {
  const directory = await written([2, 3, 4])
  const [file] = segmentFiles(directory, 'orders')
  const boundary = frameStart(file!, 5)
  const length = statSync(file!).size
  truncateSync(file!, length - 1) // the last frame, which ends the batch, is not whole
  const log = await openFileLog({ directory })
  deepStrictEqual(log.torn, [{ file, byte: boundary, bytes: length - 1 - boundary }])
  strictEqual(statSync(file!).size, boundary)
  const producer = await log.producer()
  deepStrictEqual(await producer.send('orders', 0, [record('k', 'after')]), new Map([[0, 5n]]))
  await log.close()
  deepStrictEqual(await readBack(directory, 6), [...contents([2, 3]), 'after'])
})

const tails: Record<string, (file: string) => void> = {
  'one byte': (file) => appendFileSync(file, 'x'),
  'half a header': (file) => appendFileSync(file, readFileSync(file).subarray(0, 17)),
  zeros: (file) => appendFileSync(file, Buffer.alloc(4096)),
  'a length beyond all bounds': (file) => appendFileSync(file, Buffer.alloc(100, 0xff)),
  'an older frame again': (file) => appendFileSync(file, readFileSync(file).subarray(0, frameStart(file, 1))),
  'a batch without its last frame': (file) => {
    const copy = readFileSync(file)
    appendFileSync(file, copy.subarray(0, frameStart(file, 1)))
  },
}
for (const [name, spoil] of Object.entries(tails)) {
  test(`what a crash left behind the last batch is cut: ${name}`, async () => {
    const directory = await written([2, 3])
    const [file] = segmentFiles(directory, 'orders')
    const length = statSync(file!).size
    spoil(file!)
    const extra = statSync(file!).size - length
    const log = await openFileLog({ directory })
    deepStrictEqual(log.torn, [{ file, byte: length, bytes: extra }])
    await log.close()
    deepStrictEqual(await readBack(directory, 5), contents([2, 3]))
  })
}

test('a clean log opens without a torn tail', async () => {
  const directory = await written([2, 3])
  const log = await openFileLog({ directory })
  deepStrictEqual(log.torn, [])
  await log.close()
})

test('damage in an older segment is fatal and names file and byte; what stands before it is read', async () => {
  const directory = await written([3, 3, 3, 3], { segmentBytes: 150 })
  const files = segmentFiles(directory, 'orders')
  strictEqual(files.length, 4)
  const byte = frameStart(files[1]!, 2)
  flip(files[1]!, byte + 44)
  const { error, seen } = await fatalError(directory)
  strictEqual(error.code, 'SIDESTREAM_LOG_CORRUPT')
  deepStrictEqual(error.details, { file: files[1], byte, offset: 5 })
  ok(error.message.includes(files[1]!) && error.message.includes(`byte ${byte}`))
  ok(seen <= 5)
  const behind = await fatalError(directory, 5n)
  strictEqual(behind.error.code, 'SIDESTREAM_LOG_CORRUPT')
  const log = await openFileLog({ directory })
  const before = gate<(string | null)[]>()
  const reader = await start(
    log,
    { group: 'before', topics: ['orders'], batchRecords: 5 },
    { onBatch: async ({ records }) => before.open(values(records)), onFatal: () => {} },
  )
  deepStrictEqual(await before.opened, contents([3, 3]).slice(0, 5))
  await reader.stop({ drainMs: 1000 })
  await log.close()
})

test('an older segment that is cut, gone or empty is fatal, never skipped', async () => {
  const cuts: ((file: string) => void)[] = [
    (file) => truncateSync(file, statSync(file).size - 1),
    (file) => truncateSync(file, frameStart(file, 2)),
    (file) => truncateSync(file, 0),
    (file) => rmSync(file),
    (file) => flip(file, 3), // a length of 16 MiB
    (file) => flip(file, 8), // another offset
  ]
  for (const cut of cuts) {
    const directory = await written([3, 3, 3, 3], { segmentBytes: 150 })
    cut(segmentFiles(directory, 'orders')[1]!)
    const { error } = await fatalError(directory)
    strictEqual(error.code, 'SIDESTREAM_LOG_CORRUPT', String(cut))
    strictEqual(typeof error.details['byte'], 'number')
  }
})

test('an empty last segment, as a crash while rolling leaves it, is the place to go on', async () => {
  const directory = await written([3, 3], { segmentBytes: 150 })
  const folder = dirname(segmentFiles(directory, 'orders')[0]!)
  writeFileSync(join(folder, `${String(6).padStart(20, '0')}.log`), '')
  const log = await openFileLog({ directory })
  deepStrictEqual(await (await log.producer()).send('orders', 0, [record('k', 'on')]), new Map([[0, 6n]]))
  await log.close()
  deepStrictEqual(await readBack(directory, 7), [...contents([3, 3]), 'on'])
})

test('topics that were half made or half deleted are gone after the next start', async () => {
  const directory = await written([2])
  const topics = join(directory, 'topics')
  mkdirSync(join(topics, '.new-items'))
  writeFileSync(join(topics, '.new-items', 'topic.json'), '{"for')
  renameSync(join(topics, 'orders'), join(topics, '.deleted-0-orders'))
  const log = await openFileLog({ directory })
  const admin = await log.admin()
  deepStrictEqual(await admin.list(), [])
  deepStrictEqual([existsSync(join(topics, '.new-items')), existsSync(join(topics, '.deleted-0-orders'))], [false, false])
  await admin.createTopics([{ name: 'items', partitions: 2 }])
  deepStrictEqual((await admin.describe('items')).end, [0n, 0n])
  await log.close()
})

test('a topic description of another format is refused with its file, and the lock is given back', async () => {
  const directory = await written([2])
  const file = join(directory, 'topics', 'orders', 'topic.json')
  const before = readFileSync(file)
  for (const content of ['', '{"format":2,"partitions":1,"cleanup":"delete"}']) {
    writeFileSync(file, content)
    await rejects(
      openFileLog({ directory }),
      (error: SidestreamError) => error.code === 'SIDESTREAM_LOG_CORRUPT' && error.message.includes(file),
    )
  }
  writeFileSync(file, before)
  strictEqual((await readBack(directory, 2)).length, 2)
})

test('committed offsets survive any cut of their file, as some earlier hint', async () => {
  const directory = await written([9])
  const log = await openFileLog({ directory })
  const lane = gate<{ commit(next: bigint): Promise<unknown> }>()
  const consumer = await start(
    log,
    { group: 'g', topics: ['orders'] },
    { onAssigned: async (given) => void lane.open(given) as undefined, onBatch: async () => {} },
  )
  for (const next of [2n, 4n, 6n]) await (await lane.opened).commit(next)
  const file = join(directory, 'offsets.log')
  const whole = readFileSync(file)
  await consumer.stop({ drainMs: 1000 })
  await log.close()
  const hints: (bigint | undefined)[] = []
  for (let cut = 0; cut <= whole.length; cut += 3) {
    writeFileSync(file, whole.subarray(0, cut))
    const again = await openFileLog({ directory })
    hints.push((await (await again.admin()).committed('g', 'orders'))[0])
    await again.close()
  }
  deepStrictEqual([...new Set(hints)], [undefined, 2n, 4n, ...(whole.length % 3 === 0 ? [6n] : [])])
  flip((writeFileSync(file, whole), file), whole.length - 1)
  const again = await openFileLog({ directory })
  deepStrictEqual(await (await again.admin()).committed('g', 'orders'), [4n])
  await again.close()
})

test('the file of committed offsets is written anew when opened and when it has grown', async () => {
  const directory = await written([1])
  const file = join(directory, 'offsets.log')
  const log = await openFileLog({ directory })
  const lane = gate<{ commit(next: bigint): Promise<unknown> }>()
  const consumer = await start(
    log,
    { group: 'g', topics: ['orders'] },
    { onAssigned: async (given) => void lane.open(given) as undefined, onBatch: async () => {} },
  )
  const { commit } = await lane.opened.then((given) => ({ commit: () => given.commit(1n) }))
  await commit()
  const one = statSync(file).size
  await Promise.all(Array.from({ length: Math.ceil((1.2 * 1024 * 1024) / one) }, commit))
  ok(statSync(file).size < 512 * 1024, `${statSync(file).size}`)
  await consumer.stop({ drainMs: 1000 })
  await log.close()
  const again = await openFileLog({ directory })
  strictEqual(statSync(file).size, one)
  deepStrictEqual(await (await again.admin()).committed('g', 'orders'), [1n])
  await again.close()
})
