/** Where a lane begins: the sink's position, else the group's commit, else the consumer's rule. */
import { SidestreamError } from '../../schemas/index.ts'
import type { Gap } from './kafka-lane.ts'
import { placeName } from './kafka-view.ts'
import type { KafkaView, TopicPartitionName } from './kafka-view.ts'
import type { KafkaLogger } from './kafka.ts'
import type { ConsumerOptions } from './log.ts'

/** What the brokers say of assigned partitions, by place. */
export interface StartFacts {
  readonly start: ReadonlyMap<string, bigint>
  readonly end: ReadonlyMap<string, bigint>
  readonly committed: ReadonlyMap<string, bigint>
}

export interface StartPoint {
  readonly position: bigint
  /** Records that were to come first and are gone. */
  readonly gap?: Gap
}

export async function lookUpStart(view: KafkaView, group: string, places: readonly TopicPartitionName[]): Promise<StartFacts> {
  const [start, end, committed] = await Promise.all([
    view.offsets(places, 'earliest'),
    view.offsets(places, 'latest'),
    view.committed(group, places),
  ])
  return { start, end, committed }
}

/**
 * @param answer - of the sink
 * @throws SIDESTREAM_STATE_GAP when the sink is past the log's end
 */
export async function startPoint(
  view: KafkaView,
  place: TopicPartitionName,
  { facts, answer, rule, logger }: { facts: StartFacts; answer: bigint | undefined; rule: ConsumerOptions['start']; logger: KafkaLogger },
): Promise<StartPoint> {
  const name = placeName(place)
  const first = facts.start.get(name)!
  const committed = facts.committed.get(name)
  const wanted = answer ?? committed
  let end = facts.end.get(name)!
  if (wanted !== undefined && wanted > end) end = (await view.offsets([place], 'latest')).get(name)! // it has grown since
  if (answer === 0n) return { position: first }
  if (wanted !== undefined && wanted <= end) return notBefore(first, wanted, end)
  if (answer !== undefined) throw aheadOfLog(place, answer, end)
  if (committed !== undefined) {
    // A hint about a log that is no more: what is there now may be new.
    const fields = { topic: place.topic, partition: place.partition, committed: String(committed), end: String(end) }
    logger.warn(fields, 'the group has committed more than the log holds: it is read from its start')
    return { position: first }
  }
  return { position: rule === 'earliest' ? first : (await view.offsets([place], 'stable')).get(name)! }
}

/** The sink, or the reader, has seen more than there is. */
export function aheadOfLog({ topic, partition }: TopicPartitionName, position: bigint, end: bigint): SidestreamError {
  const message =
    `the position of ${topic}/${partition} is ${position}, but the log ends at ${end}: records that were seen are gone; ` +
    'restore the log, or start with a new data directory'
  return new SidestreamError('SIDESTREAM_STATE_GAP', message, { topic, partition })
}

function notBefore(first: bigint, wanted: bigint, end: bigint): StartPoint {
  return wanted >= first ? { position: wanted } : { position: first, gap: { expected: wanted, first, end } }
}
