/** Published vectors over files of content. */

import type { ItemContent } from '../schemas/index.ts'
import { HeadEncoder, type HeadEncoderOptions } from './head-encoder.ts'
import type { Head } from './head.ts'
import type { ContentRecord, RecordBatches } from './offline-data.ts'

/** Published vectors of some items: row-major float32, shape [ids.length, dim]. */
export interface EmbeddedBatch {
  /** Index of the first row among all that were given out, from 0. */
  readonly start: number
  readonly ids: readonly string[]
  readonly dim: number
  readonly vectors: Float32Array
}

export interface EmbedInput {
  readonly head: Head
  readonly content: RecordBatches<ContentRecord>
  readonly options?: HeadEncoderOptions
  /** Told of an item that no modality of the head describes; it is left out. */
  readonly onSkipped?: (itemId: string) => void
}

/**
 * Embeds content as it streams by. Deleted items are passed over; an item that comes twice is embedded twice, in order.
 * @throws SIDESTREAM_VECTOR_DIM_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE; whatever the reader throws
 */
export async function* embedOffline({
  head,
  content,
  options = {},
  onSkipped,
}: EmbedInput): AsyncGenerator<EmbeddedBatch, void, undefined> {
  const encoder = await HeadEncoder.create(head, options)
  let start = 0
  try {
    for await (const batch of content) {
      const present: ItemContent[] = []
      for (const { itemId, content: item } of batch) {
        if (item === null) continue
        if (head.spec.modalities.some(({ name }) => item.vectors[name] !== undefined)) present.push(item)
        else onSkipped?.(itemId)
      }
      if (present.length === 0) continue
      const { published } = await encoder.encode(present.map(({ vectors }) => vectors))
      yield { start, ids: present.map(({ itemId }) => itemId), dim: encoder.dim, vectors: published }
      start += present.length
    }
  } finally {
    await encoder.close()
  }
}
