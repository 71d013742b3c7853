/**
 * Item-content records as every reader of the topic sees them: owner and version writers must agree on what is poison.
 * Invariant: a content record from the future is refused like an interaction; imported records bring their own clock.
 */

import { checkEventTime } from '../distill/index.ts'
import { rowStates } from '../schemas/index.ts'
import type { ItemContentBatch } from '../schemas/index.ts'
import type { LogRecord } from '../connectors/index.ts'
import { asPoison } from './dead-letters.ts'
import type { Project } from './project.ts'

/** Reads the values of some records into `out`; poison rows are marked and explained there. */
export function decodeContent(
  { codec, config }: Pick<Project, 'codec' | 'config'>,
  records: readonly LogRecord[],
  out: ItemContentBatch,
): void {
  codec.decodeItemContentBatch(
    records.map(({ value }) => value),
    out,
  )
  const { maxFutureMs } = config.interactions
  for (let row = 0; row < records.length; row++) {
    const record = records[row]!
    if (out.states[row] !== rowStates.content || out.eventTs[row]! <= record.timestamp + maxFutureMs) continue
    try {
      checkEventTime(out.eventTs[row]!, record.timestamp, maxFutureMs)
    } catch (error) {
      out.states[row] = rowStates.poison
      out.errors.set(row, asPoison(error))
    }
  }
}
