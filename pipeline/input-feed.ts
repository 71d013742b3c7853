/**
 * Appends input records to the project's topics as any producer would: `import` and the demo use it.
 * Invariant: the order of the rows given for one topic is the order in every partition; what is too large for the log becomes
 * a dead letter, and the feed goes on.
 */

import { isSidestreamError, limits } from '../schemas/index.ts'
import type { SourceEvent } from '../schemas/index.ts'
import type { LogHeader, LogProducer, ProducerRecord } from '../connectors/index.ts'
import { asPoison, DeadLetters } from './dead-letters.ts'
import type { ProjectPorts } from './project.ts'
import { endMark, fileMark } from './record-headers.ts'

/** Topics that data comes in by. */
export const inputTopics = ['interactions', 'item-content', 'id-embeddings', 'item-pairs'] as const
export type InputTopic = (typeof inputTopics)[number]

const encoder = new TextEncoder()

/** The record key of an event: what must stay in order shares a key. */
export function keyOf(event: SourceEvent): Uint8Array {
  switch (event.topic) {
    case 'interactions':
      return encoder.encode(event.record.userId)
    case 'item-content':
      return encoder.encode(event.itemId)
    case 'id-embeddings':
      return encoder.encode(`${event.record.entity}/${event.record.entityId}`)
    case 'item-pairs':
      return encoder.encode(event.record.source)
  }
}

export class InputFeed {
  readonly counts = { rows: 0, poison: 0 }
  readonly #project: ProjectPorts
  readonly #producer: LogProducer
  readonly #deadLetters: DeadLetters

  private constructor(project: ProjectPorts, producer: LogProducer) {
    this.#project = project
    this.#producer = producer
    this.#deadLetters = new DeadLetters(producer, project)
  }

  static async open(project: ProjectPorts): Promise<InputFeed> {
    return new InputFeed(project, await project.log.producer())
  }

  /** Appends rows of any topics and resolves when all are durable. `headers[i]` belong to `rows[i]`. */
  async append(rows: readonly SourceEvent[], headers?: readonly (readonly LogHeader[])[]): Promise<void> {
    const byTopic = new Map<InputTopic, ProducerRecord[]>()
    for (const [i, row] of rows.entries()) {
      let record: ProducerRecord
      try {
        record = this.#record(row, headers?.[i])
      } catch (error) {
        await this.#refuse(row, asPoison(error), headers?.[i] ?? [])
        continue
      }
      const records = byTopic.get(row.topic)
      if (records === undefined) byTopic.set(row.topic, [record])
      else records.push(record)
    }
    await Promise.all([...byTopic].map(([topic, records]) => this.#send(topic, records)))
    this.counts.rows += rows.length
  }

  /** Says that nothing more comes: one end mark in every partition of every input topic. */
  async end(): Promise<void> {
    const admin = await this.#project.log.admin()
    for (const topic of inputTopics) {
      const { partitions } = await admin.describe(topic)
      for (let partition = 0; partition < partitions; partition++) await this.#producer.send(topic, partition, [endMark()])
    }
  }

  /** Notes that a file's rows stand in a partition up to `row`, whatever compaction does to them. */
  async markFile(topic: InputTopic, partition: number, file: Uint8Array, row: number): Promise<void> {
    await this.#producer.send(topic, partition, [fileMark(file, row)])
  }

  async close(): Promise<void> {
    await this.#producer.close()
  }

  #record(row: SourceEvent, headers: readonly LogHeader[] | undefined): ProducerRecord {
    const { codec } = this.#project
    const key = keyOf(row)
    const extra = headers === undefined ? {} : { headers }
    // A tombstone has no payload: its log time is its event time.
    if (row.record === null) return { key, value: null, timestamp: row.eventTs, ...extra }
    // Topic and record belong together in every case of the union, which the compiler cannot follow through `encode`.
    return { key, value: codec.encode(row.topic, row.record as never), ...extra }
  }

  /** The whole send is refused when one record is above the log's limit: then one by one. */
  async #send(topic: InputTopic, records: readonly ProducerRecord[]): Promise<void> {
    try {
      await this.#producer.send(topic, undefined, records)
    } catch (error) {
      if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_RECORD_TOO_LARGE') throw error
      for (const record of records) {
        try {
          await this.#producer.send(topic, undefined, [record])
        } catch (single) {
          const poison = asPoison(single)
          this.counts.poison++
          await this.#deadLetters.send([
            {
              topic,
              partition: -1,
              record: { ...record, headers: record.headers ?? [], timestamp: this.#project.clock(), offset: -1n },
              error: poison,
            },
          ])
        }
      }
    }
  }

  /** A row that cannot be written as a record: kept as JSON, since there are no bytes of it. */
  async #refuse(row: SourceEvent, error: ReturnType<typeof asPoison>, headers: readonly LogHeader[]): Promise<void> {
    this.counts.poison++
    const value = encoder.encode(JSON.stringify(row, plainNumbers))
    const record = { key: null, value, headers, timestamp: this.#project.clock(), offset: -1n }
    await this.#deadLetters.send([{ topic: row.topic, partition: -1, record, error, asJson: true }])
  }
}

/** Vectors as number lists, the first ones of those that no record may hold; what JSON has no number for as text. */
function plainNumbers(_: string, value: unknown): unknown {
  if (value instanceof Float32Array) return [...value.subarray(0, limits.dim)].map((x) => (Number.isFinite(x) ? x : String(x)))
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
}
