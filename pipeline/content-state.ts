/** The owner's copy of item-content. */

import { contentAsOf } from '../distill/index.ts'
import type { State } from '../connectors/index.ts'
import { entriesOf, entryAsOf } from './as-of-state.ts'

/** Of the state keys of items. */
export const contentPrefix = 'c\u0000'

/** The content of one item before `endTs`; undefined when there was none or it was deleted. */
export function itemAsOf(state: State, itemId: string, endTs: number): Uint8Array | undefined {
  return entryAsOf(state, contentPrefix, itemId, endTs)?.value
}

/** The whole catalogue before `endTs`, in item order (UTF-8 bytes); deleted items left out. */
export function* catalogueAsOf(
  state: State,
  endTs: number,
): Iterable<{ readonly itemId: string; readonly value: Uint8Array; readonly eventTs: number }> {
  for (const [itemId, entries] of entriesOf(state, contentPrefix)) {
    const entry = contentAsOf(entries, endTs)
    if (entry?.value !== undefined) yield { itemId, value: entry.value, eventTs: entry.eventTs }
  }
}

/** When each item came, ascending event times of the oldest record that is kept. */
export function firstContentTimes(state: State): Float64Array {
  const times: number[] = []
  for (const [, entries] of entriesOf(state, contentPrefix)) {
    const first = entries.find(({ value }) => value !== undefined)
    if (first !== undefined) times.push(first.eventTs)
  }
  return Float64Array.from(times).sort()
}
