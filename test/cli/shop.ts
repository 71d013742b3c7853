/** Files of a small shop as a user would bring them: content as Parquet, interactions as CSV, and the configuration. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { hashUnit } from '../../compute/index.ts'
import { writeParquet } from '../../schemas/index.ts'

export const hourMs = 3_600_000
/** 2026-01-01T00:00:00Z */
export const startTs = 1_767_225_600_000
export const items = 120
export const interactions = 1500

const topics = 6
const dims = { text: 12, image: 8 } as const

/** A smooth function of the topic plus noise of the item. */
function vector(modality: keyof typeof dims, item: number): Float32Array {
  const topic = item % topics
  return Float32Array.from(
    { length: dims[modality] },
    (_, d) => hashUnit(1, `${modality}/${topic}/${d}`) - 0.5 + 0.3 * (hashUnit(1, `${modality}/${item}/${d}/noise`) - 0.5),
  )
}

export const itemId = (item: number): string => `item-${item}`

/** `content.parquet`: every fifth item has no image. */
export async function writeContent(directory: string): Promise<string> {
  const file = join(directory, 'content.parquet')
  const columns = [
    { name: 'item_id', type: 'string' },
    { name: 'ts', type: 'int64' },
    { name: 'text', type: 'list<float>' },
    { name: 'image', type: 'list<float>', optional: true },
  ] as const
  const all = Array.from({ length: items }, (_, item) => item)
  await writeParquet(file, columns, (rows) =>
    rows.write({
      item_id: all.map(itemId),
      ts: all.map((item) => startTs + item),
      text: all.map((item) => vector('text', item)),
      image: all.map((item) => (item % 5 === 0 ? undefined : vector('image', item))),
    }),
  )
  return file
}

/** `interactions.csv` over eight hours: users who mostly stay with two topics. */
export async function writeInteractions(directory: string, count = interactions): Promise<string> {
  const file = join(directory, 'interactions.csv')
  const lines = Array.from({ length: count }, (_, i) => {
    const user = Math.floor(hashUnit(2, `user/${i}`) * 60)
    const liked = (user + Math.floor(hashUnit(2, `which/${i}`) * 2)) % topics
    const item = liked + topics * Math.floor(hashUnit(2, `item/${i}`) * (items / topics))
    const behaviors = hashUnit(2, `act/${i}`) < 0.1 ? 'skip' : hashUnit(2, `act/${i}`) < 0.3 ? 'click|like' : 'click'
    return `user-${user},${itemId(item)},${startTs + 1000 + Math.floor((i * 8 * hourMs) / count)},${behaviors}`
  })
  await writeFile(file, `user_id,item_id,ts,behaviors\n${lines.join('\n')}\n`)
  return file
}

const config = `project: shop
dataDir: ./data
content:
  modalities:
    text: { dim: 12 }
    image: { dim: 8 }
interactions:
  positiveBehaviors: [click, like]
  otherBehaviors: [skip]
head: { dim: 16, prefixes: [8, 16], hidden: 16 }
training: { batch: 64, epochs: 2 }
semanticIds: { levels: [8, 8] }
refresh: { everyMs: 0, evalWindowMs: 3600000 }
guard: { mode: report }
log: { partitions: 2 }
`

/** Writes `name` with some text of the configuration replaced. */
export async function writeConfig(
  directory: string,
  name = 'sidestream.yaml',
  changes: Readonly<Record<string, string>> = {},
): Promise<string> {
  let text = config
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from)) throw new Error(`the configuration has no "${from}"`)
    text = text.replace(from, to)
  }
  const file = join(directory, name)
  await writeFile(file, text)
  return file
}
