/**
 * The topics that a project needs, and whether they are there. An embedded log makes its own; on Kafka topics are made by who
 * may (`sidestream doctor --create-topics`), and a project that lacks one says so before it does anything.
 * Invariant: own topics have the configured partition count; an input topic has whatever count its owner gave it.
 */

import { SidestreamError, topics } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { LogAdmin, NewTopic, TopicCleanup } from '../connectors/index.ts'
import { inputTopics } from './input-feed.ts'

/** What became of one topic, or would. */
export interface TopicFinding {
  readonly name: string
  /** Its name on the brokers. */
  readonly called: string
  /** `differs`: it has another partition count than it needs. */
  readonly state: 'missing' | 'there' | 'differs'
  readonly partitions: number
  readonly cleanup: TopicCleanup
  /** Partitions it has; undefined while it is missing. */
  readonly has: number | undefined
  /** Cleanup policy it has, where it is another than the one wanted. */
  readonly hasCleanup: TopicCleanup | 'other' | undefined
  /** Most bytes of a record that it takes, where that is less than `log.recordBytes`. */
  readonly takesBytes: number | undefined
  /** Why its cleanup policy and limit could not be looked at. */
  readonly notCompared: string | undefined
}

/** Every topic of a project as it should be created. */
export function wantedTopics({ log }: Pick<Config, 'log'>): Required<NewTopic>[] {
  return topics.map(({ name, cleanup, partitions }) => ({ name, cleanup, partitions: partitions === 'one' ? 1 : log.partitions }))
}

/** Compares what is there with what is wanted; changes nothing. */
export async function inspectTopics(admin: LogAdmin, config: Pick<Config, 'log'>): Promise<TopicFinding[]> {
  const plans = await admin.planTopics(wantedTopics(config))
  return plans.map(({ name, action, wantedPartitions, wantedCleanup, partitions, cleanup, takesBytes, notCompared }) => ({
    name,
    called: calledOn(config, name),
    state: action === 'create' ? 'missing' : action === 'keep' || isInput(name) ? 'there' : 'differs',
    partitions: wantedPartitions,
    cleanup: wantedCleanup,
    has: partitions,
    hasCleanup: cleanup === wantedCleanup ? undefined : cleanup,
    takesBytes: takesBytes !== undefined && takesBytes < config.log.recordBytes ? takesBytes : undefined,
    notCompared,
  }))
}

/** @throws SIDESTREAM_TOPIC_UNKNOWN naming every missing topic; SIDESTREAM_TOPIC_MISMATCH naming every wrong partition count */
export async function requireTopics(admin: LogAdmin, config: Pick<Config, 'log'>): Promise<readonly TopicFinding[]> {
  const found = await inspectTopics(admin, config)
  refuseMissing(found)
  refuseDiffering(found)
  return found
}

/** @throws SIDESTREAM_TOPIC_UNKNOWN */
function refuseMissing(found: readonly TopicFinding[]): void {
  const missing = found.filter(({ state }) => state === 'missing')
  if (missing.length === 0) return
  const names = missing.map(({ called }) => called).join(', ')
  const message = `${missing.length === 1 ? 'a topic is' : `${missing.length} topics are`} missing: ${names}; see \`sidestream doctor --create-topics\``
  throw new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', message, { topics: missing.map(({ name }) => name) })
}

/** @throws SIDESTREAM_TOPIC_MISMATCH */
export function refuseDiffering(found: readonly TopicFinding[]): void {
  const differing = found.filter(({ state }) => state === 'differs')
  if (differing.length === 0) return
  const list = differing.map(({ called, has, partitions }) => `${called} has ${has} instead of ${partitions}`).join(', ')
  const message =
    `partition counts differ from the configuration: ${list}; set log.partitions to what is there (control, feature-versions, artifacts ` +
    'and dead-letters always have one), or use topics of another prefix'
  throw new SidestreamError('SIDESTREAM_TOPIC_MISMATCH', message, { topics: differing.map(({ name }) => name) })
}

/** What to do about topics that take less than the configuration allows; undefined when there are none. */
export function limitAdvice(found: readonly TopicFinding[], { log }: Pick<Config, 'log'>): string | undefined {
  const small = found.filter(({ takesBytes }) => takesBytes !== undefined)
  if (small.length === 0) return undefined
  const list = small.map(({ called, takesBytes }) => `${called} ${takesBytes}`).join(', ')
  return `log.recordBytes is ${log.recordBytes}, but some topics take less (max.message.bytes): ${list}; lower log.recordBytes, or raise their limit`
}

/**
 * What to do about topics whose brokers delete what is still needed, with the line that mends each; undefined when there are none.
 * One that keeps everything loses nothing, whatever it was made for.
 */
export function cleanupAdvice(found: readonly TopicFinding[], { log }: Pick<Config, 'log'>): string | undefined {
  const losing = found.filter(({ hasCleanup }) => hasCleanup !== undefined && hasCleanup !== 'forever')
  if (losing.length === 0 || log.driver !== 'kafka') return undefined
  const list = losing.map(
    ({ called, cleanup, hasCleanup }) => `${called} is ${cleanupWords[hasCleanup!]} instead of ${cleanupWords[cleanup]}`,
  )
  const lines = losing.map(({ called, cleanup }) => {
    const settings = {
      compact: 'cleanup.policy=compact',
      delete: `cleanup.policy=delete,retention.ms=${log.retentionMs ?? -1}`,
      forever: 'cleanup.policy=delete,retention.ms=-1,retention.bytes=-1',
    }
    return `kafka-configs.sh --bootstrap-server ${log.kafka.brokers[0]} --alter --entity-type topics --entity-name ${called} --add-config ${settings[cleanup]}`
  })
  return `topics lose records that are needed: ${list.join(', ')}; mend it by\n${lines.map((line) => `  ${line}`).join('\n')}`
}

/** Which topics could not be compared, and why; undefined when all were. */
export function comparisonAdvice(found: readonly TopicFinding[]): string | undefined {
  const hidden = found.filter(({ notCompared }) => notCompared !== undefined)
  if (hidden.length === 0) return undefined
  const reasons = [...new Set(hidden.map(({ notCompared }) => notCompared))].join('; ')
  return `cleanup and limits were not compared of ${hidden.map(({ called }) => called).join(', ')} (${reasons})`
}

const cleanupWords: Readonly<Record<TopicCleanup | 'other', string>> = {
  compact: 'compacted',
  delete: 'deleted by age or size',
  forever: 'kept for ever',
  other: 'compacted and deleted by age or size',
}

function calledOn({ log }: Pick<Config, 'log'>, name: string): string {
  return log.driver === 'kafka' ? (log.kafka.topics[name] ?? log.kafka.topicPrefix + name) : name
}

function isInput(name: string): boolean {
  return inputTopics.some((topic) => topic === name)
}
