/**
 * Reads a topic up to a fixed end without a group: brokers are asked for partitions and offsets directly, so nothing is joined,
 * waited for or left behind.
 * Invariant: committed records only; a reading ends when every partition has passed its end, which may be a control record.
 */
import { SidestreamError } from '../../schemas/index.ts'
import type { FetchedPartition } from './kafka-cluster.ts'
import { placeName } from './kafka-view.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaLogger } from './kafka.ts'
import type { LogBatch, LogRecord, ReadOptions } from './log.ts'

/** Most bytes asked of one partition at a time. */
const fetchBytes = 1_048_576
/** Longest wait for records that are not there yet. */
const waitMs = 250

interface Stretch {
  readonly partition: number
  readonly end: bigint
  position: bigint
}

export interface KafkaReading {
  readonly view: KafkaView
  readonly logger: KafkaLogger
  /** As the reader calls it. */
  readonly name: string
  /** As the brokers call it. */
  readonly topic: string
}

/** @returns per partition, where a next reading goes on */
export async function readKafka(
  reading: KafkaReading,
  onBatch: (batch: LogBatch) => void | Promise<void>,
  { from = [], upTo = [], batchRecords = 2000, signal }: ReadOptions,
): Promise<bigint[]> {
  const stretches = await plan(reading, from, upTo)
  for (;;) {
    const open = stretches.filter(({ position, end }) => position < end)
    if (open.length === 0) return stretches.map(({ position }) => position)
    for (const [stretch, fetched] of await fetchOnce(reading, open)) {
      signal?.throwIfAborted()
      await give(reading, stretch, fetched, { batchRecords, signal, onBatch })
    }
    signal?.throwIfAborted()
  }
}

async function plan({ view, topic }: KafkaReading, from: ReadOptions['from'] & {}, upTo: ReadOptions['upTo'] & {}): Promise<Stretch[]> {
  const places = (await view.leaders(topic)).map((_, partition) => ({ topic, partition }))
  const [starts, ends, stable] = await Promise.all([
    view.offsets(places, 'earliest'),
    view.offsets(places, 'latest'),
    view.offsets(places, 'stable'),
  ])
  return places.map((place) => {
    const name = placeName(place)
    const wanted = from[place.partition] ?? 0n
    if (wanted > ends.get(name)!) {
      const message = `offset ${wanted} of ${name} was read, but the log ends at ${ends.get(name)!}: records are gone; restore the log, or start anew`
      throw new SidestreamError('SIDESTREAM_STATE_GAP', message, place)
    }
    const position = wanted > starts.get(name)! ? wanted : starts.get(name)!
    const end = upTo[place.partition] ?? stable.get(name)!
    return { partition: place.partition, end: end > position ? end : position, position }
  })
}

async function fetchOnce(
  { view, topic, logger }: KafkaReading,
  open: readonly Stretch[],
): Promise<(readonly [stretch: Stretch, fetched: FetchedPartition])[]> {
  const wanted = open.map(({ partition, position }) => ({ topic, partition, offset: position }))
  try {
    const found = await view.fetch(wanted, { waitMs, bytes: fetchBytes })
    return open.flatMap((stretch) => {
      const fetched = found.get(placeName({ topic, partition: stretch.partition }))
      return fetched === undefined ? [] : [[stretch, fetched] as const]
    })
  } catch (error) {
    if (!(error instanceof SidestreamError) || error.code !== 'SIDESTREAM_STATE_GAP') throw error
    const starts = await view.offsets(wanted, 'earliest')
    const behind = open.filter(({ partition, position }) => position < starts.get(placeName({ topic, partition }))!)
    if (behind.length === 0) throw error
    for (const stretch of behind) {
      const first = starts.get(placeName({ topic, partition: stretch.partition }))!
      const fields = { topic, partition: stretch.partition, expected: String(stretch.position), first: String(first) }
      logger.warn(fields, 'records were deleted while they were read')
      stretch.position = first
    }
    return []
  }
}

interface Giving {
  readonly batchRecords: number
  readonly signal: AbortSignal | undefined
  readonly onBatch: (batch: LogBatch) => void | Promise<void>
}

async function give({ name }: KafkaReading, stretch: Stretch, { messages }: FetchedPartition, giving: Giving): Promise<void> {
  const { partition, end } = stretch
  const { batchRecords, signal, onBatch } = giving
  const asked = stretch.position
  let records: LogRecord[] = []
  const send = async (): Promise<void> => {
    const next = records.at(-1)!.offset + 1n
    await onBatch({ topic: name, partition, records, first: records[0]!.offset, next })
    signal?.throwIfAborted()
    stretch.position = next
    records = []
  }
  for (const batch of messages) {
    if (batch.isControlRecord === true) continue
    batch.skipTo(stretch.position)
    while (!batch.isEmpty) {
      batch.take(records, { records: batchRecords, bytes: Infinity })
      while (records.length > 0 && records.at(-1)!.offset >= end) records.pop()
      if (records.length === batchRecords) await send()
      else if (!batch.isEmpty) break
    }
  }
  if (records.length > 0) await send()
  const last = messages.at(-1)
  if (last === undefined) return
  const next = BigInt(last.offset) + 1n
  if (next > asked) stretch.position = next < end ? next : end
  else stretch.position += 1n // a hole in a format of before Kafka 0.11
}
