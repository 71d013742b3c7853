/** Names of topics and groups: what every driver takes, so that a project can move from one to another. */
import { SidestreamError } from '../../schemas/index.ts'
import type { NewTopic } from './log.ts'

const namePattern = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}$/

/** @throws SIDESTREAM_USAGE_INVALID */
export function checkName(kind: 'topic' | 'group', name: string): void {
  if (namePattern.test(name)) return
  const message = `${JSON.stringify(name)} is no ${kind} name: use 1 to 249 letters, digits, ".", "_" or "-", not beginning with "."`
  throw new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}

/**
 * The transactional id of whoever reads a partition in a group. Names of topics and groups have no slash, so no two are the same.
 * @returns `group/topic/partition`
 */
export function transactionalIdOf(group: string, { topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${group}/${topic}/${partition}`
}

/** @throws SIDESTREAM_USAGE_INVALID */
export function checkNewTopic({ name, partitions }: NewTopic): void {
  checkName('topic', name)
  if (Number.isInteger(partitions) && partitions >= 1 && partitions <= 10_000) return
  throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `topic ${name} cannot have ${partitions} partitions: use 1 to 10000`)
}
