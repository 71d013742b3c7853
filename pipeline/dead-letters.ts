/**
 * Where bad records go: whole, with the code and the reason, acknowledged before the stream moves past them.
 * Invariant: a poison record is counted and kept; it never stops a lane and is never dropped silently.
 */

import { isSidestreamError } from '../schemas/index.ts'
import type { Codec, DeadLetter, SidestreamError } from '../schemas/index.ts'
import type { LogProducer, LogRecord } from '../connectors/index.ts'
import type { Project } from './project.ts'
import { readTopic } from './read-topic.ts'

export interface PoisonRecord {
  readonly topic: string
  readonly partition: number
  readonly record: LogRecord
  readonly error: SidestreamError
}

export class DeadLetters {
  readonly #producer: LogProducer
  readonly #codec: Codec
  readonly #clock: () => number
  readonly #valueBytes: number

  constructor(producer: LogProducer, { codec, clock, config }: Pick<Project, 'codec' | 'clock' | 'config'>) {
    this.#producer = producer
    this.#codec = codec
    this.#clock = clock
    this.#valueBytes = config.deadLetters.valueBytes
  }

  /** Appends the records and resolves when they are durable. A value above `deadLetters.valueBytes` is cut, and the reason says so. */
  async send(poison: readonly PoisonRecord[]): Promise<void> {
    if (poison.length === 0) return
    const encoder = new TextEncoder()
    await this.#producer.send(
      'dead-letters',
      0,
      poison.map(({ topic, partition, record, error }) => {
        const tooLong = record.value !== null && record.value.length > this.#valueBytes
        return {
          key: encoder.encode(`${topic}/${partition}/${record.offset}`),
          value: this.#codec.encode('dead-letters', {
            topic,
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: tooLong ? record.value.subarray(0, this.#valueBytes) : record.value,
            headers: record.headers,
            code: error.code,
            reason: tooLong ? `${error.message} (value cut from ${record.value.length} to ${this.#valueBytes} bytes)` : error.message,
            at: this.#clock(),
          }),
        }
      }),
    )
  }
}

/** Every dead letter, oldest first; a record that was reported twice (after a crash) appears once. */
export async function listDeadLetters({ log, codec }: Pick<Project, 'log' | 'codec'>): Promise<DeadLetter[]> {
  const letters = new Map<string, DeadLetter>()
  await readTopic(log, 'dead-letters', (batch) => {
    for (const record of batch.records) {
      if (record.value === null) continue
      const letter = codec.decode('dead-letters', record.value)
      // A record that never reached its topic has no offset; its own place here tells it apart.
      const place = letter.offset < 0n ? `here/${record.offset}` : `${letter.partition}/${letter.offset}`
      letters.set(`${letter.topic}/${place}`, letter)
    }
  })
  return [...letters.values()]
}

/** The error as one of our family; anything else is rethrown, for it is a defect and not a bad record. */
export function asPoison(error: unknown): SidestreamError {
  if (isSidestreamError(error) && error.class === 'poison') return error
  throw error
}
