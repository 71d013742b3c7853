/**
 * Interactions of an offline run as samples, with the last stretch of time set apart.
 * Invariant: a function of the interactions alone, not of how they are batched; what is held out is never among what is trained on.
 */

import type { DistillSample, Interaction } from '../schemas/index.ts'
import { InteractionColumns } from './interaction-columns.ts'
import { inKeyOrder } from './sample-order.ts'
import { sampleDefaults, SampleBuilder, type SampleOptions } from './samples.ts'

export interface OfflineHistory {
  readonly interactions: number
  /** Kinds of behavior that there are, sorted. */
  readonly kinds: readonly string[]
  /** Event time of the newest interaction; 0 without any. */
  readonly newestTs: number
  /** Event time from which on nothing is trained on; Infinity when nothing is held out. */
  readonly cutTs: number
  /** Event time of the newest interaction before the cut. */
  readonly trainedUntil: number
  /** Training samples with a history, by key, so that the order of the input does not show in the order of training. */
  readonly samples: readonly DistillSample[]
  /** The same from the cut on. */
  readonly heldOut: readonly DistillSample[]
  /** Samples that were there already. */
  readonly duplicates: number
  /** All liked exposures in time order, those without a history too. */
  readonly likes: readonly DistillSample[]
  /** Items with an interaction before the cut. */
  readonly seen: ReadonlySet<string>
}

/**
 * @param batches - in any order of time
 * @param onRead - told after each batch how much there is so far
 */
export async function readHistory(
  batches: AsyncIterable<readonly Interaction[]> | Iterable<readonly Interaction[]>,
  options: SampleOptions,
  holdOut: number,
  onRead: (sofar: Pick<InteractionColumns, 'length' | 'users' | 'items'>) => void,
): Promise<OfflineHistory> {
  const all = new InteractionColumns()
  for await (const batch of batches) {
    for (const interaction of batch) all.add(interaction)
    onRead(all)
  }
  // A file need not be in time order.
  const order = all.order()
  const cut = order[Math.floor((1 - holdOut) * order.length)]
  const cutTs = holdOut > 0 && cut !== undefined ? all.timeAt(cut) : Infinity
  const builder = new SampleBuilder({ ...sampleDefaults, ...options, emptyHistories: true })
  const made: Record<'trained' | 'heldOut', DistillSample[]> = { trained: [], heldOut: [] }
  const seen = new Set<string>()
  const likes: DistillSample[] = []
  let trainedUntil = 0
  for (const place of order) {
    const interaction = all.at(place)
    if (interaction.eventTs < cutTs) {
      seen.add(interaction.itemId)
      trainedUntil = interaction.eventTs
    }
    const sample = builder.add(interaction)
    if (sample === undefined) continue
    likes.push(sample)
    if (sample.history.length > 0) made[sample.eventTs < cutTs ? 'trained' : 'heldOut'].push(sample)
  }
  const samples = inKeyOrder(made.trained)
  const heldOut = inKeyOrder(made.heldOut)
  const newest = order.at(-1)
  return {
    interactions: order.length,
    kinds: all.kinds,
    newestTs: newest === undefined ? 0 : all.timeAt(newest),
    cutTs,
    trainedUntil,
    samples,
    heldOut,
    duplicates: made.trained.length + made.heldOut.length - samples.length - heldOut.length,
    likes,
    seen,
  }
}
