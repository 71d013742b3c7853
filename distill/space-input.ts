/** What is known of the items of a window beside their vectors, gathered in one way for the stream and the offline run. */

import type { ItemContent } from '../schemas/index.ts'
import { labelNumbers } from './content-clusters.ts'
import type { GradedPairs } from './held-out-pairs.ts'
import { labelClusters, type SpaceInput } from './space-figures.ts'
import { hasTaught, type TaughtItems } from './taught-items.ts'

export interface SpaceSource {
  /** Of the items, in the order of their numbers. */
  readonly ids: readonly string[]
  readonly content: (itemId: string) => Pick<ItemContent, 'vectors' | 'labels'> | undefined
  /** The items' own ID embeddings; undefined when there are none. */
  readonly own: { readonly dim: number; readonly vector: (itemId: string) => Float32Array | undefined } | undefined
  /** Items whose ID embeddings taught the candidate. */
  readonly taught: TaughtItems
  readonly graded: GradedPairs | undefined
  /** Of the clusters of items without a label. */
  readonly seed: number
}

/** Labels, ID embeddings and graded pairs by the items' numbers. */
export function spaceInput({ ids, content, own, taught, graded, seed }: SpaceSource): SpaceInput {
  return {
    labels: labelNumbers(ids, content, { clusters: labelClusters, seed }),
    graded,
    idEmbeddings: own && {
      dim: own.dim,
      vector: (item) => own.vector(ids[item]!),
      hasTaught: (item) => hasTaught(taught, ids[item]!),
    },
  }
}
