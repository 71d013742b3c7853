/** Size, time and seed of the generated world. */

export interface WorldOptions {
  /** @default 1 */
  readonly seed?: number
  /** Items that ever exist. Higher: more to encode and quantize. @default 6000 */
  readonly items?: number
  /** @default 4000 */
  readonly users?: number
  /** Interactions in all. Higher: longer training. @default 120000 */
  readonly interactions?: number
  /** Event time from the first interaction to the last one, milliseconds. @default 151200000 (42 h, so that it ends in the evening, when much is going on) */
  readonly spanMs?: number
  /** Event time of the first interactions, milliseconds; the first items are up to 6 h older. @default 2024-01-08T00:00:00Z */
  readonly startTs?: number
  /** Share of items that exist at the start; the others arrive through the whole span. @default 0.4 */
  readonly initialShare?: number
  /** Event time between two publications of ID embeddings, milliseconds. @default 14400000 (4 h) */
  readonly idEmbeddingsEveryMs?: number
}

export const worldDefaults: Readonly<Required<WorldOptions>> = {
  seed: 1,
  items: 6000,
  users: 4000,
  interactions: 120_000,
  spanMs: 151_200_000,
  startTs: 1_704_672_000_000,
  initialShare: 0.4,
  idEmbeddingsEveryMs: 14_400_000,
}

/** Options with every default filled in. */
export type WorldSettings = Readonly<Required<WorldOptions>>
