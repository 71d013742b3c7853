/** Records that were gone before a role could read them: said in the log, counted where the role counts. */

import type { LogHandlers } from '../connectors/index.ts'
import type { Project } from './project.ts'

/** @param count - told how many offsets were passed over */
export function gapTeller(
  { logger }: Project,
  role: string,
  count: (missed: number) => void = () => {},
): NonNullable<LogHandlers['onGap']> {
  return ({ topic, partition }, expected, first) => {
    count(Number(first - expected))
    logger.warn(
      { role, topic, partition, expected: String(expected), first: String(first) },
      `${role} was to go on at offset ${expected} of ${topic}/${partition}, but the log begins at ${first}: what stood between was removed unread; ` +
        'keep records longer (log.retentionMs, or the retention of the topic) or run more workers',
    )
  }
}
