/** What a source of a project's input gives: records of the input topics, in event-time order. */
import type { IdEmbedding, Interaction, ItemContent, ItemPair } from './records.ts'

/** One input record with its topic. At equal times content comes first, then ID embeddings, pairs, and interactions. */
export type SourceEvent =
  | {
      readonly topic: 'item-content'
      readonly eventTs: number
      readonly itemId: string
      /** null deletes the item */ readonly record: ItemContent | null
    }
  | { readonly topic: 'id-embeddings'; readonly eventTs: number; readonly record: IdEmbedding }
  | { readonly topic: 'item-pairs'; readonly eventTs: number; readonly record: ItemPair }
  | { readonly topic: 'interactions'; readonly eventTs: number; readonly record: Interaction }
