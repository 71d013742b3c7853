/**
 * Content vector to readable feature on the embedded default with everything on: file log with group commit, Avro, head,
 * 128 float16 numbers (64 distilled beside 64 of content), 3 levels of 256 codes, LMDB, changelog, state commits.
 * (a) all records appended as fast as possible: items/s from the first append to the last item readable, acknowledged in
 * `item-features` and committed; (b) freshness, append to readable, at a steady rate. Both without and with the owner's
 * content lane in the process. Records are encoded before the clock starts: producers do that elsewhere.
 * Beside it, in the same run: each stage alone. `limit` is the ONNX session alone, through the same worker thread.
 * With `--log kafka --store redis` the same through real servers, those of test/services, on the same cores; then the items are also
 * drained from the topic with nobody producing, as where producers run elsewhere.
 * Options: `--items N` (100,000), `--rate N` (2,000 items/s), `--seconds N` (10), `--partitions N` (2), `--dim N` (512),
 * `--dir DIR` (the system's temporary directory; it decides what an fdatasync costs), `--only TEXT` (figures whose name has it).
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { fillNormal, partitionForKey, uniformInt } from '../compute/index.ts'
import type { LogProducer, ProducerRecord, StoreEntry } from '../connectors/index.ts'
import { encodeValues } from '../features/index.ts'
import { readBundle } from '../pipeline/bundles.ts'
import { Embedder } from '../pipeline/embedder.ts'
import { createTopics, deleteTopics, openProject, startDaemon } from '../pipeline/index.ts'
import type { Daemon, Project, Role } from '../pipeline/index.ts'
import { readCheckpoint } from '../pipeline/training.ts'
import { embeddedViews } from '../pipeline/views.ts'
import { service } from '../test/services/index.ts'
import type { Missing } from '../test/services/index.ts'
import { checkConfig, createItemContentBatch, encodeItemFeatures, semanticIdView } from '../schemas/index.ts'
import { figure, median, watchOthers } from './harness.ts'

const { values: options } = parseArgs({
  options: {
    items: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '10' },
    partitions: { type: 'string', default: '2' },
    dim: { type: 'string', default: '512' },
    dir: { type: 'string', default: tmpdir() },
    only: { type: 'string', default: '' },
    log: { type: 'string', default: 'file' },
    store: { type: 'string', default: 'lmdb' },
  },
})
const items = Number(options.items)
const dim = Number(options.dim)
const catalogue = 39 * 256
const onServers = options.log === 'kafka' || options.store === 'redis'
const aim = onServers ? 20_000 : 35_000
const aimP99Ms = 500
const sendRecords = 500
const batchRecords = 2048
const directory = mkdtempSync(join(options.dir, 'sidestream-bench-'))
/** Project, topics and keys: no other bench on the same servers has them. */
const name = `bench-${randomBytes(4).toString('hex')}`
const brokers = options.log === 'kafka' ? [addressOf(await service('kafka'))] : []
const nodes = options.store === 'redis' ? [addressOf(await service('redis'))] : []
const config = checkConfig(
  {
    project: name,
    dataDir: directory,
    content: { modalities: { text: { dim } } },
    interactions: { positiveBehaviors: ['like'] },
    head: { dim: 64, prefixes: [64], contentDims: 64 },
    semanticIds: { levels: [256, 256, 256] },
    refresh: { everyMs: 0 },
    log: { driver: options.log, partitions: Number(options.partitions), kafka: { brokers, topicPrefix: `${name}.` } },
    store: { driver: options.store, redis: { nodes } },
  },
  { env: {} },
)
const drivers = { log: options.log, store: options.store }
const distinct = clustered(20_000)
const encoder = new TextEncoder()

function addressOf(answer: string | Missing): string {
  if (typeof answer !== 'string') throw new Error(answer.missing)
  return answer
}

function clustered(rows: number): Float32Array {
  const centers = new Float32Array(2000 * dim)
  fillNormal(centers, 1, 1)
  const out = new Float32Array(rows * dim)
  fillNormal(out, 1, 2)
  for (let row = 0; row < rows; row++) {
    const center = uniformInt(1, 3, row, 2000) * dim
    for (let j = 0; j < dim; j++) out[row * dim + j] = centers[center + j]! + 0.6 * out[row * dim + j]!
  }
  return out
}

function record(project: Project, itemId: string, row: number, eventTs: number): ProducerRecord {
  const at = (row % 20_000) * dim
  const content = { itemId, eventTs, vectors: { text: distinct.subarray(at, at + dim) } }
  return { key: encoder.encode(itemId), value: project.codec.encode('item-content', content) }
}

/**
 * Encoded records in one block, made into objects when they are sent: hundreds of thousands of waiting objects would cost the
 * measured process more garbage collection than its work does.
 */
class Waiting {
  readonly length: number
  readonly #bytes: Uint8Array
  /** Start of each record's key and of its value. */
  readonly #starts: Float64Array

  /** Records of `count` fresh items. */
  constructor(project: Project, count: number, prefix: string) {
    this.length = count
    this.#starts = new Float64Array(2 * count + 1)
    this.#bytes = new Uint8Array(count * (dim * 4 + 128))
    let at = 0
    for (let i = 0; i < count; i++) {
      for (const [part, bytes] of Object.values(record(project, `${prefix}-${i}`, i, 10_000_000 + i)).entries()) {
        this.#starts[2 * i + part] = at
        this.#bytes.set(bytes as Uint8Array, at)
        at += (bytes as Uint8Array).length
      }
    }
    this.#starts[2 * count] = at
  }

  slice(from: number, to: number): ProducerRecord[] {
    const part = (i: number): Uint8Array => this.#bytes.subarray(this.#starts[i], this.#starts[i + 1])
    return Array.from({ length: Math.min(to, this.length) - from }, (_, i) => ({
      key: part(2 * (from + i)),
      value: part(2 * (from + i) + 1),
    }))
  }
}

/** Version 1 over a small catalogue, built by the daemon, so that the runs start from a live version. */
async function bootstrap(): Promise<void> {
  await withDaemon(['publish', 'distill'], async (project, daemon) => {
    const producer = await project.log.producer()
    const records = Array.from({ length: catalogue }, (_, i) => record(project, `first-${i}`, i, 1000 + i))
    await producer.send('item-content', undefined, records)
    // Event time of every partition must pass the first round before its items may found a version.
    for (let p = 0; p < config.log.partitions; p++) await producer.send('item-content', p, [record(project, idIn(p), 1, 9_000_000)])
    while ((await project.store.live(name)) === undefined) await Promise.race([daemon.failed(), sleep(20)])
  })
}

function idIn(partition: number): string {
  for (let i = 0; ; i++) if (partitionForKey(encoder.encode(`later-${i}`), config.log.partitions) === partition) return `later-${i}`
}

async function withDaemon(roles: readonly Role[], run: (project: Project, daemon: Daemon) => Promise<void>): Promise<void> {
  const project = await openProject(config)
  try {
    const daemon = await startDaemon(project, { roles })
    try {
      await caughtUp(daemon)
      await run(project, daemon)
    } finally {
      await daemon.stop()
    }
  } finally {
    await project.close()
  }
}

/** Resolves when the writers have handled everything: rows readable, changelog acknowledged, positions committed. */
async function caughtUp(daemon: Daemon): Promise<void> {
  for (;;) {
    const lags = [...(await daemon.versions.lag()).values(), ...((await daemon.owner?.lanes.lag()) ?? new Map<string, bigint>()).values()]
    if (lags.every((lag) => lag === 0n)) return
    await Promise.race([daemon.failed(), sleep(2)])
  }
}

/** Sends everything with a few sends under way. */
async function appendAll(producer: LogProducer, topic: string, records: Waiting): Promise<void> {
  const sends: Promise<unknown>[] = []
  for (let from = 0; from < records.length; from += sendRecords) {
    sends.push(producer.send(topic, undefined, records.slice(from, from + sendRecords)))
    if (sends.length >= 8) await sends.shift()
  }
  await Promise.all(sends)
}

/** Wall and processor time of a piece of work; `mainUs` is the event loop's thread alone, where the system tells (Linux). */
async function measured(count: number, work: () => Promise<unknown> | unknown): Promise<{ rate: number; cpuUs: number; mainUs: number }> {
  const cpu = process.cpuUsage()
  const main = mainThreadUs()
  const start = performance.now()
  await work()
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { rate: count / seconds, cpuUs: (user + system) / count, mainUs: (mainThreadUs() - main) / count }
}

function mainThreadUs(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1000
  } catch {
    return NaN
  }
}

/** Largest resident memory of this process, and how much it had before; sampled. */
function watchMemory(): () => { 'RSS MiB': number; 'before MiB': number } {
  const mib = (): number => Math.round(process.memoryUsage.rss() / 2 ** 20)
  const before = mib()
  let most = before
  const timer = setInterval(() => (most = Math.max(most, mib())), 100)
  return () => {
    clearInterval(timer)
    return { 'RSS MiB': Math.max(most, mib()), 'before MiB': before }
  }
}

/** @param others - share of the machine that other processes used meanwhile */
function print(line: Record<string, unknown>, others: number): void {
  process.stdout.write(`${JSON.stringify({ ...line, others, node: process.version })}\n`)
}

/** Every stage alone, over the same records and batches as in the pipeline. @returns items/s of the session alone */
async function stages(project: Project): Promise<number> {
  const count = Math.min(items, 10 * batchRecords)
  const records = new Waiting(project, count, 'stage')
  const rates: Record<string, { rate: number; cpuUs: number; mainUs: number }> = {}
  const others = watchOthers()
  const best = async (name: string, work: () => Promise<unknown> | unknown): Promise<void> => {
    const runs: (typeof rates)[string][] = []
    for (let round = 0; round < 3; round++) runs.push(await measured(count, work))
    const middle = (key: 'rate' | 'cpuUs' | 'mainUs'): number => median(runs.map((run) => run[key]))
    rates[name] = { rate: middle('rate'), cpuUs: middle('cpuUs'), mainUs: middle('mainUs') }
  }
  const batches = Array.from({ length: count / batchRecords }, (_, i) => records.slice(i * batchRecords, (i + 1) * batchRecords))
  const producer = await project.log.producer()
  await (await project.log.admin()).createTopics([{ name: 'bench-append', partitions: config.log.partitions }])
  await best('log append', () => appendAll(producer, 'bench-append', records))

  const content = createItemContentBatch(batchRecords, [{ name: 'text', dim }])
  const decode = (batch: readonly ProducerRecord[]): void =>
    project.codec.decodeItemContentBatch(
      batch.map(({ value }) => value),
      content,
    )
  await best('decode', () => batches.forEach(decode))

  const live = JSON.parse(new TextDecoder().decode((await project.store.getVersion(name, 1))!)) as { head: string; codebook: string }
  const { head } = await readCheckpoint(project, live.head, { training: false })
  const bundle = await readBundle(project, live.codebook)
  const embedder = await Embedder.create({ head, bundle, views: embeddedViews(config), semanticIdView: semanticIdView(config) })
  const embedded = await embedder.embed(content)
  const embed = async (): Promise<void> => {
    // As in the pipeline: the next batch is handed over while one is computed.
    let before = embedder.embed(content)
    for (let i = 1; i < batches.length; i++) {
      const next = embedder.embed(content)
      await before
      before = next
    }
    await before
  }
  await best('session', embed)
  await embedder.close()

  const { stored } = embedded.views.get('main')!
  const valuesAt = (first: number): Uint8Array[] =>
    encodeValues({
      rows: batchRecords,
      dtype: 'f16',
      dim: 128,
      stored,
      levels: 3,
      codes: embedded.codes,
      origins: embedded.origins,
      eventTs: content.eventTs,
      stream: 1,
      offsets: BigUint64Array.from({ length: batchRecords }, (_, i) => BigInt(first + i)),
    })
  let serial = 0
  await best('values', () => batches.forEach(() => void valuesAt(0)))
  await best('store write', async () => {
    for (let i = 0; i < batches.length; i++) {
      const entries: StoreEntry[] = valuesAt(++serial * batchRecords).map((value, row) => ({
        id: `stage-${i * batchRecords + row}`,
        value,
      }))
      await project.store.write({ project: name, view: 'main', version: 999 }, entries)
    }
  })
  const values = valuesAt(0)
  await best('changelog', async () => {
    for (let i = 0; i < batches.length; i++) {
      const entries = values.map((value, row) => ({ id: `stage-${i * batchRecords + row}`, value }))
      await producer.send('item-features', undefined, encodeItemFeatures({ view: 'main', version: 1, ackedTs: 1, entries }))
    }
  })
  await project.store.collect(name, 999)
  await (await project.log.admin()).deleteTopic('bench-append')
  const share = others()
  for (const [stage, { rate, cpuUs, mainUs }] of Object.entries(rates)) {
    const line = { 'items/s': figure(rate), 'cpu us/item': figure(cpuUs), 'of it event loop': figure(mainUs) }
    print({ bench: `hot path stage alone: ${stage}`, ...drivers, ...line }, share)
  }
  return rates['session']!.rate
}

async function throughput(arm: string, roles: readonly Role[], limit: number): Promise<void> {
  await withDaemon(roles, async (project, daemon) => {
    const records = new Waiting(project, items, arm)
    const producer = await project.log.producer()
    let appended = 0
    const others = watchOthers()
    const memory = watchMemory()
    const start = performance.now()
    const { rate, cpuUs, mainUs } = await measured(items, async () => {
      await appendAll(producer, 'item-content', records)
      appended = performance.now()
      await caughtUp(daemon)
    })
    const share = others()
    print(
      {
        bench: `hot path throughput, ${arm}`,
        ...drivers,
        items,
        'items/s': figure(rate),
        'cpu us/item': figure(cpuUs),
        'of it event loop': figure(mainUs),
        aim,
        'ratio to aim': figure(rate / aim),
        ...(Number.isNaN(limit)
          ? {}
          : { limit: 'ONNX session alone', 'limit items/s': figure(limit), 'ratio to limit': figure(rate / limit) }),
        'append items/s': figure((items / (appended - start)) * 1000),
        ...memory(),
        partitions: config.log.partitions,
      },
      share,
    )
    await producer.close()
  })
}

/** What waits in the topic when the daemon starts: from its first batch to the last item readable and committed. */
async function drain(arm: string, roles: readonly Role[]): Promise<void> {
  const project = await openProject(config)
  try {
    const producer = await project.log.producer()
    await appendAll(producer, 'item-content', new Waiting(project, items, `drain-${arm}`))
    await producer.close()
    const others = watchOthers()
    const memory = watchMemory()
    let daemon: Daemon | undefined
    let joinedMs = NaN
    try {
      const { rate, cpuUs, mainUs } = await measured(items, async () => {
        const start = performance.now()
        daemon = await startDaemon(project, { roles })
        joinedMs = performance.now() - start
        await caughtUp(daemon)
      })
      print(
        {
          bench: `hot path drain, ${arm}`,
          ...drivers,
          items,
          'items/s': figure(rate),
          'cpu us/item': figure(cpuUs),
          'of it event loop': figure(mainUs),
          'start of the daemon ms': figure(joinedMs),
          aim,
          'ratio to aim': figure(rate / aim),
          ...memory(),
          partitions: config.log.partitions,
        },
        others(),
      )
    } finally {
      await daemon?.stop()
    }
  } finally {
    await project.close()
  }
}

async function freshness(arm: string, roles: readonly Role[]): Promise<void> {
  const rate = Number(options.rate)
  const everyMs = 10
  const share = Math.max(1, Math.round((rate * everyMs) / 1000))
  await withDaemon(roles, async (project, daemon) => {
    const records = new Waiting(project, rate * Number(options.seconds), `paced-${arm}`)
    const producer = await project.log.producer()
    const before = daemon.versions.freshness.summary().count
    const sends: Promise<unknown>[] = []
    const others = watchOthers()
    const memory = watchMemory()
    const start = performance.now()
    for (let from = 0, tick = 1; from < records.length; from += share, tick++) {
      sends.push(producer.send('item-content', undefined, records.slice(from, from + share)))
      await sleep(Math.max(0, start + tick * everyMs - performance.now()))
    }
    const seconds = (performance.now() - start) / 1000
    await Promise.all(sends)
    await caughtUp(daemon)
    const { count, p50Ms, p90Ms, p99Ms, maxMs } = daemon.versions.freshness.summary()
    print(
      {
        bench: `hot path freshness, ${arm}`,
        ...drivers,
        items: count - before,
        'items/s': figure(records.length / seconds),
        p50Ms,
        p90Ms,
        p99Ms,
        maxMs,
        aimP99Ms,
        'ratio to aim': figure(aimP99Ms / p99Ms),
        ...memory(),
        partitions: config.log.partitions,
      },
      others(),
    )
    await producer.close()
  })
}

const wanted = (name: string): boolean => name.includes(options.only)

try {
  if (options.log === 'kafka') await createTopics(config)
  await bootstrap()
  let limit = NaN
  if (wanted('stages')) await withDaemon([], async (project) => void (limit = await stages(project)))
  const arms: (readonly [string, readonly Role[]])[] = [
    ...(options.log === 'kafka' ? [] : ([['publisher alone', ['publish']]] as const)), // on Kafka, writers work beside the owner
    ['publisher and owner', ['publish', 'distill']],
  ]
  for (const [arm, roles] of arms) if (wanted(`throughput, ${arm}`)) await throughput(arm, roles, limit)
  if (onServers) for (const [arm, roles] of arms) if (wanted(`drain, ${arm}`)) await drain(arm, roles)
  for (const [arm, roles] of arms) if (wanted(`freshness, ${arm}`)) await freshness(arm, roles)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
if (options.log === 'kafka') await deleteTopics(config)
