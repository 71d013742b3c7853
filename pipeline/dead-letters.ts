/**
 * Where bad records go: whole, with the code and the reason, acknowledged before the stream moves past them.
 * Invariants: a poison record is counted and kept; it never stops a lane and is never dropped silently. A retry appends the
 * original bytes to the original partition first and marks the letter after that, so a crash between repeats, and loses nothing.
 */

import { isSidestreamError, limits } from '../schemas/index.ts'
import type { Codec, DeadLetter, SidestreamError } from '../schemas/index.ts'
import type { LogHeader, LogProducer, LogRecord, ProducerRecord } from '../connectors/index.ts'
import type { Project } from './project.ts'
import { importedRow, retriedName, withoutImportHeaders } from './record-headers.ts'

export interface PoisonRecord {
  readonly topic: string
  readonly partition: number
  readonly record: LogRecord
  readonly error: SidestreamError
  /** The value is the row as JSON, since no record could be made of it: it can be read, but not retried. */
  readonly asJson?: boolean
}

/** A dead letter as it is listed. */
export interface ListedLetter extends DeadLetter {
  /** Tells it from every other: `topic/partition/offset`, or its own offset when the record never reached its topic. */
  readonly place: string
  /** Why it cannot be retried: its value is not the original record. */
  readonly notWhole: 'cut' | 'json' | null
  /** When it was last retried, milliseconds; null when never. */
  readonly retriedAt: number | null
}

/** Header of a letter whose value is not the original bytes. */
const notWholeName = 'ss-not-whole'
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Room that a letter needs besides the record's own bytes: topic, place, code, reason, framing. */
const letterBytes = 4096

export class DeadLetters {
  readonly #producer: LogProducer
  readonly #codec: Codec
  readonly #clock: () => number
  readonly #valueBytes: number
  readonly #recordBytes: number

  constructor(producer: LogProducer, { codec, clock, config }: Pick<Project, 'codec' | 'clock' | 'config'>) {
    this.#producer = producer
    this.#codec = codec
    this.#clock = clock
    this.#valueBytes = config.deadLetters.valueBytes
    this.#recordBytes = config.log.recordBytes
  }

  /**
   * Appends the records and resolves when they are durable. A value above `deadLetters.valueBytes`, and whatever would make
   * the letter itself too large for the log, is cut, and the reason says so.
   */
  async send(poison: readonly PoisonRecord[]): Promise<void> {
    if (poison.length === 0) return
    try {
      await this.#append(poison, this.#recordBytes)
    } catch (error) {
      if (!isTooLarge(error)) throw error
      // The brokers take less than `log.recordBytes`: nobody but they know how much.
      for (const bad of poison) await this.#appendCut(bad)
    }
  }

  async #appendCut(bad: PoisonRecord): Promise<void> {
    for (let bytes = this.#recordBytes; ; bytes = Math.floor(bytes / 4)) {
      try {
        return await this.#append([bad], bytes)
      } catch (error) {
        if (!isTooLarge(error) || bytes < letterBytes) throw error
      }
    }
  }

  async #append(poison: readonly PoisonRecord[], recordBytes: number): Promise<void> {
    const letters = poison.map((bad) => this.#letter(bad, recordBytes))
    await this.#producer.send('dead-letters', 0, letters)
  }

  #letter({ topic, partition, record, error, asJson = false }: PoisonRecord, recordBytes: number): ProducerRecord {
    const { offset, timestamp } = record
    const { key, value, headers, cut } = this.#fitting(record, recordBytes)
    const reason = error.message.slice(0, letterBytes / 4)
    return {
      key: encoder.encode(`${topic}/${partition}/${offset}`),
      value: this.#codec.encode('dead-letters', {
        topic,
        partition,
        offset,
        timestamp,
        key,
        value,
        headers,
        code: error.code,
        reason: cut === '' ? reason : `${reason} (${cut})`,
        at: this.#clock(),
      }),
      ...((cut !== '' || asJson) && { headers: [[notWholeName, encoder.encode(asJson ? 'json' : 'cut')] as const] }),
    }
  }

  /** The record's parts as far as the log takes them in one letter: headers go first, then the end of the value. */
  #fitting(
    { key, value, headers }: LogRecord,
    recordBytes: number,
  ): Pick<LogRecord, 'key' | 'value' | 'headers'> & { readonly cut: string } {
    const room = Math.max(0, recordBytes - letterBytes)
    const cuts: string[] = []
    const headerBytes = headers.reduce((sum, [name, bytes]) => sum + 3 * name.length + bytes.length + 8, 0)
    let kept = headers
    const tooMany = headers.length > limits.headers || headers.some(([name]) => Buffer.byteLength(name) > limits.idBytes)
    if (tooMany || headerBytes > room / 4) {
      kept = []
      cuts.push(`${headers.length} headers left out`)
    }
    const keyBytes = Math.min(key?.length ?? 0, Math.floor(room / 4))
    if (key !== null && key.length > keyBytes) cuts.push(`key cut from ${key.length} to ${keyBytes} bytes`)
    const most = Math.min(this.#valueBytes, room - keyBytes - (kept === headers ? headerBytes : 0))
    if (value !== null && value.length > most) cuts.push(`value cut from ${value.length} to ${most} bytes`)
    return { key: key?.subarray(0, keyBytes) ?? null, value: value?.subarray(0, most) ?? null, headers: kept, cut: cuts.join(', ') }
  }
}

/** Every dead letter, oldest first; a record that was reported twice (after a crash, or by a second import of its file) appears once. */
export async function listDeadLetters({ log, codec }: Pick<Project, 'log' | 'codec'>): Promise<ListedLetter[]> {
  const letters = new Map<string, Omit<ListedLetter, 'retriedAt'>>()
  const retried = new Map<string, number>()
  await log.read('dead-letters', (batch) => {
    for (const { value, headers, offset, timestamp } of batch.records) {
      if (value === null) {
        const place = headerText(headers, retriedName)
        if (place !== undefined) retried.set(place, timestamp)
        continue
      }
      const letter = codec.decode('dead-letters', value)
      // A record that never reached its topic has no offset: its row in an imported file, or its own place here, tells it apart.
      const origin = importedRow(letter)
      const unplaced = origin === undefined ? `here/${offset}` : `file-${origin.file.slice(0, 12)}/row-${origin.row}`
      const place = `${letter.topic}/${letter.offset < 0n ? unplaced : `${letter.partition}/${letter.offset}`}`
      letters.set(place, { ...letter, place, notWhole: (headerText(headers, notWholeName) as 'cut' | 'json' | undefined) ?? null })
    }
  })
  return [...letters.values()].map((letter) => ({ ...letter, retriedAt: retried.get(letter.place) ?? null }))
}

/** What became of letters that were to be retried. */
export interface RetryReport {
  /** Appended to their topics again; one that fails again becomes a new dead letter. */
  readonly retried: number
  /** Left as they are, with the reason. */
  readonly left: readonly { readonly place: string; readonly reason: string }[]
}

/** Letters that are appended and marked together. */
const retryBatch = 256

/**
 * Appends the records of some letters to their partitions again, as of now: the log time of a tombstone stays, since it is
 * its event time. Import headers are dropped, for a row number that was passed already would be skipped.
 */
export async function retryDeadLetters({ log }: Pick<Project, 'log'>, letters: readonly ListedLetter[]): Promise<RetryReport> {
  const producer = await log.producer()
  const left: { place: string; reason: string }[] = []
  try {
    for (let from = 0; from < letters.length; from += retryBatch) {
      const batch = letters.slice(from, from + retryBatch)
      const reasons = await Promise.all(batch.map((letter) => appendAgain(producer, letter)))
      const done = batch.filter((_, i) => reasons[i] === null)
      if (done.length > 0) await producer.send('dead-letters', 0, done.map(retryMark))
      batch.forEach(({ place }, i) => reasons[i] !== null && left.push({ place, reason: reasons[i]! }))
    }
    return { retried: letters.length - left.length, left }
  } finally {
    await producer.close()
  }
}

/** Null when the record was appended, else why it was not. */
async function appendAgain(producer: LogProducer, letter: ListedLetter): Promise<string | null> {
  const { topic, partition, key, value, headers, timestamp, place, notWhole } = letter
  if (notWhole === 'cut') return 'its value was cut; send the record again, or import its file'
  if (notWhole === 'json') return 'no record could be made of its row; mend the row and import it'
  const record = {
    key,
    value,
    headers: [...withoutImportHeaders(headers).filter(([name]) => name !== retriedName), [retriedName, encoder.encode(place)] as const],
    ...(value === null && { timestamp }),
  }
  try {
    await producer.send(topic, partition < 0 ? undefined : partition, [record])
    return null
  } catch (error) {
    return asPoison(error).message
  }
}

function retryMark({ place }: ListedLetter): ProducerRecord {
  return { key: encoder.encode(place), value: null, headers: [[retriedName, encoder.encode(place)]] }
}

function headerText(headers: readonly LogHeader[], wanted: string): string | undefined {
  const found = headers.findLast(([name]) => name === wanted)
  return found === undefined ? undefined : decoder.decode(found[1])
}

function isTooLarge(error: unknown): boolean {
  return isSidestreamError(error) && error.code === 'SIDESTREAM_RECORD_TOO_LARGE'
}

/** The error as one of our family; anything else is rethrown, for it is a defect and not a bad record. */
export function asPoison(error: unknown): SidestreamError {
  if (isSidestreamError(error) && error.class === 'poison') return error
  throw error
}
