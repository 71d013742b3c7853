/**
 * Writes one version: item-content in, rows of every view in the store, what was published in item-features. The same code
 * is hot path, backfill, refresh and rollback window: a consumer from the log's start to its head, and then on.
 * Invariants: a row is a pure function of (record, head, bundle); an older record never replaces a newer one; positions move
 * only after store and item-features have acknowledged; what a version cannot process is counted, never waited for.
 */

import { judgeReadiness } from '../features/index.ts'
import type { PartitionProgress } from '../features/index.ts'
import { encodeItemFeatures } from '../schemas/index.ts'
import type { Lane, LogBatch, LogConsumer, LogProducer, State } from '../connectors/index.ts'
import type { Embedder } from './embedder.ts'
import { gapTeller } from './gaps.ts'
import { positionName } from './positions.ts'
import type { TopicPosition } from './positions.ts'
import type { Project } from './project.ts'
import { isMark } from './record-headers.ts'
import { prepareSchemas } from './schemas-ahead.ts'
import { VersionRows } from './version-rows.ts'
import type { VersionSlice } from './version-rows.ts'

const topic = 'item-content'
/** Most records of one handler run. Higher: fewer commits under load, later progress. */
const batchRecords = 8192
/** Records that go through the stages together. */
const sliceRecords = 1024
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** What became of every offset of one partition below `next`. */
export interface PartitionCoverage {
  readonly partition: number
  readonly next: bigint
  readonly rows: number
  readonly tombstones: number
  readonly poison: number
  /** End marks and other records without an item. */
  readonly marks: number
  /** Offsets without a record: compacted away, or control records. */
  readonly holes: number
}

/** Forgets what the writer of a version has done: the next one begins at the log's start. */
export async function forgetWriter({ log, openState }: Project, version: number): Promise<void> {
  const { partitions } = await (await log.admin()).describe(topic)
  const all = Array.from({ length: partitions }, (_, partition) => partition)
  const state = await openState(writerState(version))
  try {
    if (all.every((partition) => readCoverage(state, partition).next === 0n)) return
    await state.commit({
      deletes: all.map(coverageKey),
      positions: all.map((partition) => [positionName(topic, partition), 0n]),
    })
  } finally {
    await state.close()
  }
}

/** Told for every record: when it was appended and when a reader could first see it, milliseconds. */
export type OnReadable = (appendTs: number, readableTs: number) => void

export interface VersionWriterOptions {
  readonly version: number
  readonly embedder: Embedder
  readonly views: readonly string[]
  readonly onReadable?: OnReadable
  readonly onFatal: (error: Error) => void
}

export class VersionWriter {
  readonly version: number
  readonly #project: Project
  readonly #options: VersionWriterOptions
  readonly #state: State
  readonly #consumer: LogConsumer
  readonly #producer: LogProducer
  readonly #coverage = new Map<number, PartitionCoverage>()
  readonly #rows: VersionRows
  readonly #waiting: (() => void)[] = []
  readonly #taken = new Map<number, { readonly newest: number; readonly lastSecond: number }>()

  private constructor(project: Project, options: VersionWriterOptions, state: State, consumer: LogConsumer, producer: LogProducer) {
    this.version = options.version
    this.#project = project
    this.#options = options
    this.#state = state
    this.#consumer = consumer
    this.#producer = producer
    this.#rows = new VersionRows(project, options.embedder, sliceRecords)
  }

  static async start(project: Project, options: VersionWriterOptions): Promise<VersionWriter> {
    const state = await project.openState(writerState(options.version))
    const consumer = await project.log.consumer({
      group: `${project.config.project}-writer-${options.version}`,
      topics: [topic],
      start: 'earliest',
      batchRecords,
    })
    const writer = new VersionWriter(project, options, state, consumer, await project.log.producer())
    await consumer.run({
      onAssigned: async (lane) => {
        const coverage = readCoverage(state, lane.partition)
        writer.#coverage.set(lane.partition, coverage)
        return coverage.next
      },
      onBatch: (batch, lane) => writer.#batch(batch, lane),
      onGap: gapTeller(project, `version ${options.version}`),
      onFatal: options.onFatal,
    })
    return writer
  }

  /** Per partition, in order. */
  coverage(): PartitionCoverage[] {
    return [...this.#coverage.values()].sort((a, b) => a.partition - b.partition)
  }

  lag(): Promise<Map<string, bigint>> {
    return this.#consumer.lag()
  }

  /** Resolves when every record below the cut is counted as a row, a tombstone or poison, and the end of the log is near. */
  async ready(cut: readonly TopicPosition[], signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted()
      if (judgeReadiness(await this.#progress(cut)).ready) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 50)
        this.#waiting.push(() => (clearTimeout(timer), resolve()))
      })
    }
  }

  async #progress(cut: readonly TopicPosition[]): Promise<PartitionProgress[]> {
    const { end } = await (await this.#project.log.admin()).describe(topic)
    return this.coverage().map(({ partition, next, rows, tombstones, poison, marks, holes }) => ({
      topic,
      partition,
      start: 0n, // where counting begins, whatever is left of the log
      cut: BigInt(cut.find((position) => position.partition === partition)?.next ?? 0),
      position: next,
      end: end[partition]!,
      rows,
      tombstones,
      deadLetters: poison,
      absent: marks + holes,
      appendsPerSecond: this.#taken.get(partition)?.lastSecond ?? 0,
    }))
  }

  async stop(): Promise<void> {
    await this.#consumer.stop({ drainMs: 5000 })
    await this.#producer.close()
    await this.#state.close()
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /**
   * Slices go through the stages side by side: one is decoded while another is computed and a third is stored. The lane
   * gets its turn back when every slice is acknowledged and the position is committed.
   */
  async #batch(batch: LogBatch, lane: Lane): Promise<void> {
    await prepareSchemas(this.#project, batch, lane)
    const records = batch.records.filter((record) => !isMark(record))
    const slices: VersionSlice[] = []
    const published: Promise<number>[] = []
    let sent: Promise<unknown> = Promise.resolve()
    try {
      for (let from = 0; from < records.length; from += sliceRecords) {
        const slice = this.#rows.begin(records.slice(from, from + sliceRecords))
        const step = this.#publish(slice, sent)
        sent = step.sent
        published.push(step.readable)
        step.readable.catch(() => {}) // it is told when all have ended
        await slices.at(-1)?.computed // more than two in the embedder's queue would only take memory
        slices.push(slice)
      }
    } finally {
      await Promise.allSettled(published) // a batch that failed is not given again before all of it has ended
    }
    const readableTs = await Promise.all(published)
    const total = (count: (slice: VersionSlice) => number): number => slices.reduce((sum, slice) => sum + count(slice), 0)
    await this.#commit(batch, {
      rows: total(({ appendTs }) => appendTs.length),
      tombstones: total(({ tombstones }) => tombstones),
      poison: total(({ poison }) => poison),
      marks: batch.records.length - records.length,
    })
    await lane.commit(batch.next)
    const { onReadable } = this.#options
    if (onReadable === undefined) return
    for (const [i, { appendTs }] of slices.entries()) for (const ts of appendTs) onReadable(ts, readableTs[i]!)
  }

  /**
   * Stores the rows of all views, then sends them to item-features behind those of the slice before.
   * @returns `sent` resolves when the send is under way, `readable` when it is durable, with the time of the last row's store
   */
  #publish(slice: VersionSlice, before: Promise<unknown>): { sent: Promise<void>; readable: Promise<number> } {
    const { config, clock } = this.#project
    const { views } = this.#options
    let acknowledged: Promise<unknown> = Promise.resolve()
    let readableTs = NaN
    const sent = (async () => {
      const stored = await Promise.all(
        views.map(async (view) => {
          const entries = await slice.entries(view)
          await this.#project.store.write({ project: config.project, view, version: this.version }, entries)
          return { view, version: this.version, ackedTs: clock(), entries }
        }),
      )
      readableTs = clock()
      await before
      const records = stored.flatMap(encodeItemFeatures)
      if (records.length > 0) acknowledged = this.#producer.send('item-features', undefined, records)
    })()
    const readable = sent.then(() => acknowledged).then(() => readableTs)
    return { sent, readable }
  }

  async #commit(batch: LogBatch, done: { rows: number; tombstones: number; poison: number; marks: number }): Promise<void> {
    const before = this.#coverage.get(batch.partition)!
    const after: PartitionCoverage = {
      partition: batch.partition,
      next: batch.next,
      rows: before.rows + done.rows,
      tombstones: before.tombstones + done.tombstones,
      poison: before.poison + done.poison,
      marks: before.marks + done.marks,
      holes: before.holes + Number(batch.next - before.next) - batch.records.length,
    }
    const { next: _next, ...counts } = after
    await this.#state.commit({
      puts: [[coverageKey(batch.partition), encoder.encode(JSON.stringify(counts))]],
      positions: [[positionName(topic, batch.partition), batch.next]],
    })
    this.#coverage.set(batch.partition, after)
    this.#noteTaken(batch)
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** How many of the newest records were appended within the last second of the log: the measure of "near the end". */
  #noteTaken({ partition, records }: LogBatch): void {
    const newest = records.at(-1)?.timestamp
    if (newest === undefined) return
    const before = this.#taken.get(partition)
    const inBatch = records.filter(({ timestamp }) => timestamp > newest - 1000).length
    const lastSecond = before !== undefined && newest - before.newest < 1000 ? Math.max(before.lastSecond, inBatch) : inBatch
    this.#taken.set(partition, { newest, lastSecond })
  }
}

const writerState = (version: number): string => `writer-${version}`
const coverageKey = (partition: number): string => `coverage/${partition}`

function readCoverage(state: State, partition: number): PartitionCoverage {
  const stored = state.get(coverageKey(partition))
  const next = state.position(positionName(topic, partition)) ?? 0n
  const counts =
    stored === undefined
      ? { rows: 0, tombstones: 0, poison: 0, marks: 0 }
      : (JSON.parse(decoder.decode(stored)) as Omit<PartitionCoverage, 'next' | 'partition'>)
  return { holes: 0, ...counts, partition, next }
}
