/**
 * Writes one version: item-content in, rows of every view in the store, what was published in item-features. The same code
 * is hot path, backfill, refresh and rollback window: a consumer from the log's start to its head, and then on.
 * Invariants: a row is a pure function of (record, head, bundle); an older record never replaces a newer one; positions move
 * only after store and item-features have acknowledged; what a version cannot process is counted, never waited for.
 */

import { encodeTombstone, encodeValues, judgeReadiness } from '../features/index.ts'
import type { PartitionProgress } from '../features/index.ts'
import { createItemContentBatch, rowStates } from '../schemas/index.ts'
import type { ItemContentBatch } from '../schemas/index.ts'
import type { Lane, LogBatch, LogConsumer, LogProducer, LogRecord, ProducerRecord, State, StoreEntry } from '../connectors/index.ts'
import { modalitiesOf } from './catalogue.ts'
import { asPoison } from './dead-letters.ts'
import type { Embedded, Embedder } from './embedder.ts'
import { positionName } from './positions.ts'
import type { TopicPosition } from './positions.ts'
import type { Project } from './project.ts'
import { isEndMark, tombstoneId } from './record-headers.ts'

const topic = 'item-content'
/** Source stream of all records; it changes when a topic's partition count does. */
const stream = 1
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** What became of the records of one partition, from its start to `next`. */
export interface PartitionCoverage {
  readonly partition: number
  readonly next: bigint
  readonly rows: number
  readonly tombstones: number
  readonly poison: number
  /** End marks and other records without an item. */
  readonly marks: number
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
  readonly #batches = new Map<number, ItemContentBatch>()
  readonly #waiting: (() => void)[] = []
  readonly #taken = new Map<number, { readonly newest: number; readonly lastSecond: number }>()

  private constructor(project: Project, options: VersionWriterOptions, state: State, consumer: LogConsumer, producer: LogProducer) {
    this.version = options.version
    this.#project = project
    this.#options = options
    this.#state = state
    this.#consumer = consumer
    this.#producer = producer
  }

  static async start(project: Project, options: VersionWriterOptions): Promise<VersionWriter> {
    const state = await project.openState(`writer-${options.version}`)
    const consumer = await project.log.consumer({
      group: `${project.config.project}-writer-${options.version}`,
      topics: [topic],
      start: 'earliest',
      batchRecords: 2048,
    })
    const writer = new VersionWriter(project, options, state, consumer, await project.log.producer())
    await consumer.run({
      onAssigned: async (lane) => {
        const coverage = readCoverage(state, lane.partition)
        writer.#coverage.set(lane.partition, coverage)
        return coverage.next
      },
      onBatch: (batch, lane) => writer.#batch(batch, lane),
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
    const { start, end } = await (await this.#project.log.admin()).describe(topic)
    return this.coverage().map(({ partition, next, rows, tombstones, poison, marks }) => ({
      topic,
      partition,
      start: start[partition]!,
      cut: BigInt(cut.find((position) => position.partition === partition)?.next ?? 0),
      position: next,
      end: end[partition]!,
      rows,
      tombstones,
      deadLetters: poison,
      absent: marks,
      appendsPerSecond: this.#taken.get(partition)?.lastSecond ?? 0,
    }))
  }

  async stop(): Promise<void> {
    await this.#consumer.stop({ drainMs: 5000 })
    await this.#producer.close()
    await this.#state.close()
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  async #batch(batch: LogBatch, lane: Lane): Promise<void> {
    const records = batch.records.filter((record) => !isEndMark(record))
    const content = this.#decode(batch.partition, records)
    const rows: number[] = []
    for (let row = 0; row < records.length; row++) if (content.states[row] === rowStates.content) rows.push(row)
    const embedded = await this.#options.embedder.embed(compact(content, rows))
    const tombstones = tombstonesOf(records, content)
    const readable: ProducerRecord[] = []
    for (const view of this.#options.views) {
      const entries = [...this.#entries(view, embedded, content, records, rows), ...tombstones.entries]
      await this.#project.store.write({ project: this.#project.config.project, view, version: this.version }, entries)
      const ackedTs = this.#project.clock()
      for (const { id, value } of entries) readable.push(this.#published(view, id, value, ackedTs))
    }
    const readableTs = this.#project.clock()
    if (readable.length > 0) await this.#producer.send('item-features', undefined, readable)
    const poison = content.errors.size + tombstones.poison
    await this.#commit(batch, {
      rows: rows.length,
      tombstones: tombstones.entries.length,
      poison,
      marks: batch.records.length - records.length,
    })
    await lane.commit(batch.next)
    const { onReadable } = this.#options
    if (onReadable !== undefined) for (const row of rows) onReadable(records[row]!.timestamp, readableTs)
  }

  #decode(partition: number, records: readonly LogRecord[]): ItemContentBatch {
    let batch = this.#batches.get(partition)
    if (batch === undefined || batch.capacity < records.length) {
      batch = createItemContentBatch(Math.max(256, records.length), modalitiesOf(this.#project))
      this.#batches.set(partition, batch)
    }
    this.#project.codec.decodeItemContentBatch(
      records.map(({ value }) => value),
      batch,
    )
    return batch
  }

  #entries(
    view: string,
    embedded: Embedded,
    content: ItemContentBatch,
    records: readonly LogRecord[],
    rows: readonly number[],
  ): StoreEntry[] {
    const { dim, dtype, stored, scales } = embedded.views.get(view)!
    const values = encodeValues({
      rows: rows.length,
      dtype,
      dim,
      stored,
      scales,
      levels: rows.length === 0 ? 0 : embedded.codes.length / rows.length,
      codes: embedded.codes,
      origins: embedded.origins,
      eventTs: Float64Array.from(rows, (row) => content.eventTs[row]!),
      stream,
      offsets: BigUint64Array.from(rows, (row) => records[row]!.offset),
    })
    return values.map((value, i) => ({ id: content.ids[rows[i]!]!, value }))
  }

  #published(view: string, itemId: string, value: Uint8Array, ackedTs: number): ProducerRecord {
    const { codec } = this.#project
    return { key: encoder.encode(itemId), value: codec.encode('item-features', { itemId, view, version: this.version, value, ackedTs }) }
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
    const newest = records.at(-1)!.timestamp
    const before = this.#taken.get(partition)
    const inBatch = records.filter(({ timestamp }) => timestamp > newest - 1000).length
    const lastSecond = before !== undefined && newest - before.newest < 1000 ? Math.max(before.lastSecond, inBatch) : inBatch
    this.#taken.set(partition, { newest, lastSecond })
  }
}

const coverageKey = (partition: number): string => `coverage/${partition}`

function readCoverage(state: State, partition: number): PartitionCoverage {
  const stored = state.get(coverageKey(partition))
  const next = state.position(positionName(topic, partition)) ?? 0n
  const counts =
    stored === undefined
      ? { rows: 0, tombstones: 0, poison: 0, marks: 0 }
      : (JSON.parse(decoder.decode(stored)) as Omit<PartitionCoverage, 'next' | 'partition'>)
  return { ...counts, partition, next }
}

/** The rows of a batch that hold content, moved together; the batch itself when all do. */
function compact(
  content: ItemContentBatch,
  rows: readonly number[],
): { ids: string[]; vectors: readonly Float32Array[]; present: readonly Uint8Array[] } {
  const ids = rows.map((row) => content.ids[row]!)
  if (rows.length === content.count) return { ids, vectors: content.vectors, present: content.present }
  const vectors = content.modalities.map(({ dim }, m) => {
    const packed = new Float32Array(rows.length * dim)
    for (const [i, row] of rows.entries()) packed.set(content.vectors[m]!.subarray(row * dim, (row + 1) * dim), i * dim)
    return packed
  })
  const present = content.modalities.map((_, m) => Uint8Array.from(rows, (row) => content.present[m]![row]!))
  return { ids, vectors, present }
}

/** Rows for deletes; a delete without a usable id is poison (the owner's content lane sets it aside). */
function tombstonesOf(records: readonly LogRecord[], content: ItemContentBatch): { entries: StoreEntry[]; poison: number } {
  const entries: StoreEntry[] = []
  let poison = 0
  for (const [row, record] of records.entries()) {
    if (content.states[row] !== rowStates.tombstone) continue
    try {
      entries.push({ id: tombstoneId(record), value: encodeTombstone({ stream, offset: record.offset, eventTs: record.timestamp }) })
    } catch (error) {
      asPoison(error)
      poison++
    }
  }
  return { entries, poison }
}
