/**
 * Pairs for the auxiliary item-to-item task, which keeps what the head knows of content while it learns who is liked together
 * (SAIL-Embedding, section 4.2), made of content itself where no labelled pairs are given: each item and its nearest neighbor.
 * Invariant: a function of (statistics, items, content); training never changes which items are paired.
 */

import { ComputeWorker } from '../compute/index.ts'
import { pairRow, type ContentLookup, type TrainingRow } from './batches.ts'
import { createHead, type Head } from './head.ts'
import { nearestItems } from './neighbors.ts'
import { encodeItemsOf } from './row-vectors.ts'
import { similarityIn } from './similarity.ts'

/**
 * One pair per item: its nearest neighbor among the same items, as an untrained head sees their content.
 * @param itemIds - distinct; those without content are passed over
 * @returns in the order of the ids; none with fewer than two items
 */
export async function contentPairs(head: Head, itemIds: readonly string[], content: ContentLookup): Promise<TrainingRow[]> {
  const known = itemIds.filter((id) => content(id) !== undefined)
  if (known.length < 2) return []
  const asRows = known.map((targetId) => ({ userId: targetId, targetId, history: [] }))
  const worker = new ComputeWorker({ name: 'content-pairs' })
  try {
    const { ids, vectors, dim } = await encodeItemsOf(createHead(head.spec, head.statistics), asRows, content, worker)
    const nearest = await nearestItems(vectors, dim, Int32Array.from(ids.keys()), 1, similarityIn(worker))
    return ids.map((queryId, i) => pairRow({ queryId, targetId: ids[nearest[i]!]! }))
  } finally {
    await worker.close()
  }
}
