/**
 * The files of a small made-up shop, as a user would bring them: content as Parquet, interactions as CSV.
 * Invariant: the same call writes the same rows; no clock and no outside randomness is read.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { hashUnit } from '../../compute/index.ts'
import { writeParquet } from '../../schemas/index.ts'

export const hourMs = 3_600_000
/** 2024-01-01T00:00:00Z */
export const startTs = 1_704_067_200_000
export const items = 120
export const interactions = 1500

const topics = 6
const dims = { text: 12, image: 8 } as const

export const itemId = (item: number): string => `item-${item}`

/**
 * Writes `content.parquet` into a directory: items of six topics; every fifth has no image.
 * @param change - what to make of each vector
 */
export async function writeContent(
  directory: string,
  change: (vector: Float32Array, item: number) => Float32Array = (vector) => vector,
): Promise<void> {
  const columns = [
    { name: 'item_id', type: 'string' },
    { name: 'ts', type: 'int64' },
    { name: 'text', type: 'list<float>' },
    { name: 'image', type: 'list<float>', optional: true },
  ] as const
  const all = Array.from({ length: items }, (_, item) => item)
  await writeParquet(join(directory, 'content.parquet'), columns, (rows) =>
    rows.write({
      item_id: all.map(itemId),
      ts: all.map((item) => startTs + item),
      text: all.map((item) => change(vectorOf('text', item), item)),
      image: all.map((item) => (item % 5 === 0 ? undefined : change(vectorOf('image', item), item))),
    }),
  )
}

/** Writes `interactions.csv` into a directory: eight hours of 60 users, each of whom mostly likes two topics. */
export async function writeInteractions(directory: string, count = interactions): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) => {
    const user = Math.floor(hashUnit(2, `user/${i}`) * 60)
    const liked = (user + Math.floor(hashUnit(2, `which/${i}`) * 2)) % topics
    const item = liked + topics * Math.floor(hashUnit(2, `item/${i}`) * (items / topics))
    const act = hashUnit(2, `act/${i}`)
    const behaviors = act < 0.1 ? 'skip' : act < 0.3 ? 'click|like' : 'click'
    return `user-${user},${itemId(item)},${startTs + 1000 + Math.floor((i * 8 * hourMs) / count)},${behaviors}`
  })
  await writeFile(join(directory, 'interactions.csv'), `user_id,item_id,ts,behaviors\n${lines.join('\n')}\n`)
}

/** A vector that the topic decides, with noise of the item. */
function vectorOf(modality: keyof typeof dims, item: number): Float32Array {
  const topic = item % topics
  return Float32Array.from(
    { length: dims[modality] },
    (_, d) => hashUnit(1, `${modality}/${topic}/${d}`) - 0.5 + 0.3 * (hashUnit(1, `${modality}/${item}/${d}/noise`) - 0.5),
  )
}
