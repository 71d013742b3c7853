/**
 * Writes tiktok-mm as files that `sidestream distill` reads: `node --import tsx examples/tiktok-mm/make-files.ts DATA OUT`.
 * The data set has no time, so every pair is given one: pairs are shuffled, and the n-th stands n seconds after the first.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { shuffle } from '../../compute/index.ts'
import { writeParquet } from '../../schemas/index.ts'
import { loadTikTok, modalityDim } from './protocol.ts'
import type { ModalityName, TikTok } from './protocol.ts'

/** 2024-01-01T00:00:00Z, when all content exists; no meaning beyond that. */
const startTs = 1_704_067_200_000

const [data, out] = process.argv.slice(2)
if (data === undefined || out === undefined) {
  console.error('give the directory with the data and the one to write to')
  process.exitCode = 2
} else {
  const tiktok = await loadTikTok(data)
  await mkdir(out, { recursive: true })
  await writeContent(tiktok, out)
  await writeFile(join(out, 'interactions.csv'), interactionsOf(tiktok))
  await copyFile(fileURLToPath(new URL('sidestream.yaml', import.meta.url)), join(out, 'sidestream.yaml'))
  console.log(`wrote content.parquet, interactions.csv and sidestream.yaml to ${out}`)
}

async function writeContent({ items, vectors }: TikTok, directory: string): Promise<void> {
  const columns = [
    { name: 'item_id', type: 'string' },
    { name: 'ts', type: 'int64' },
    { name: 'image', type: 'list<float>' },
    { name: 'audio', type: 'list<float>' },
  ] as const
  const all = Array.from({ length: items }, (_, item) => item)
  const rowsOf = (name: ModalityName): Float32Array[] =>
    all.map((item) => vectors[name].subarray(item * modalityDim, (item + 1) * modalityDim))
  await writeParquet(join(directory, 'content.parquet'), columns, (rows) =>
    rows.write({ item_id: all.map(String), ts: all.map(() => startTs), image: rowsOf('image'), audio: rowsOf('audio') }),
  )
}

function interactionsOf({ train }: TikTok): string {
  const pairs = [...train].flatMap(([user, items]) => items.map((item) => `${user},${item}`))
  const order = shuffle(Int32Array.from(pairs.keys()), 0, 0)
  const lines = Array.from(order, (at, n) => `${pairs[at]},${startTs + 1000 * (n + 1)},view`)
  return `user_id,item_id,ts,behaviors\n${lines.join('\n')}\n`
}
