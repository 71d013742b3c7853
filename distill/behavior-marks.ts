/**
 * What the four sample sets need to know of a history item's behaviors, as one byte: ingest knows behaviors and no content,
 * the trainer knows content and no behaviors.
 * Invariant: a mark depends on the kinds of item and target and on the options alone.
 */

/** Bits of a mark. Others are free; readers ignore what they do not know. */
export const markBits = {
  /** At least `minKinds` distinct kinds of positive behavior on the item. */
  kinds: 1,
  /** Jaccard index of the item's and the target's kinds above `jaccard`. */
  jaccard: 2,
} as const

export interface MarkOptions {
  /**
   * Distinct kinds of positive behavior that make a single peak (SAIL-Embedding: three). Higher: fewer, surer items.
   * @default 3
   */
  readonly minKinds?: number
  /**
   * An item agrees with the target when |A n B| / |A u B| over their kinds of positive behavior is above this. Higher: fewer
   * items, more alike.
   * @default 0.5
   */
  readonly jaccard?: number
}

export const markDefaults: Readonly<Required<MarkOptions>> = { minKinds: 3, jaccard: 0.5 }

/**
 * The mark of one item.
 * @param kinds - distinct kinds of positive behavior on the item
 * @param targetKinds - the same of the target
 */
export function behaviorMark(kinds: ReadonlySet<string>, targetKinds: ReadonlySet<string>, options: MarkOptions = {}): number {
  const { minKinds, jaccard } = { ...markDefaults, ...options }
  let shared = 0
  for (const kind of kinds) if (targetKinds.has(kind)) shared++
  const union = kinds.size + targetKinds.size - shared
  const agrees = union > 0 && shared / union > jaccard
  return (kinds.size >= minKinds ? markBits.kinds : 0) | (agrees ? markBits.jaccard : 0)
}
