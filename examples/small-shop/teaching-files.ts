/** ID embeddings and pairs for the small shop: items of one topic are alike. Invariant: the same call writes the same rows. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hashUnit } from '../../compute/index.ts'
import { itemId, items, startTs } from './shop.ts'

const topics = 6
const topicVector = (item: number, dim: number, of: string): string =>
  Array.from({ length: dim }, (_, d) =>
    (hashUnit(7, `${of}/${item % topics}/${d}`) - 0.5 + 0.2 * hashUnit(7, `${of}/${item}/${d}`)).toFixed(4),
  ).join('|')

/** Writes `id-embeddings.csv`: one row per item, `broken` of them with a number that is none. */
export async function writeIdEmbeddings(directory: string, { broken = 0 } = {}): Promise<void> {
  const rows = Array.from({ length: items }, (_, item) => {
    const vector = item < broken ? 'NaN|0|0|0' : topicVector(item, 4, 'id')
    return `item,${itemId(item)},${startTs + item},${vector},${5 + (item % 50)}`
  })
  await writeFile(join(directory, 'id-embeddings.csv'), `entity,entity_id,ts,vector,exposures\n${rows.join('\n')}\n`)
}

/** Writes `pairs.csv`: items of one topic (`similar`), and graded ones (`graded`). */
export async function writePairs(directory: string, { unknown = 0 } = {}): Promise<void> {
  const similar = Array.from({ length: items }, (_, item) => `similar,${itemId(item)},${itemId((item + topics) % items)},`)
  const graded = Array.from({ length: items }, (_, item) => {
    // Alternately of one topic and of another: 7 item + 3 alone never meets the topic again.
    const other = (item + (item % 4 < 2 ? 2 * topics : 3)) % items
    return `graded,${itemId(item)},${itemId(other)},${other % topics === item % topics ? 3 : 1}`
  })
  const strange = Array.from({ length: unknown }, (_, i) => `similar,nobody-${i},${itemId(i)},`)
  await writeFile(join(directory, 'pairs.csv'), `source,query_id,target_id,score\n${[...similar, ...graded, ...strange].join('\n')}\n`)
}
