/** Writes the small shop's files, its configurations and its recipe: `node --import tsx examples/small-shop/make-files.ts DIR`. */
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { writeContent, writeInteractions } from './shop.ts'
import { writeIdEmbeddings, writePairs } from './teaching-files.ts'

const directory = process.argv[2]
if (directory === undefined) {
  console.error('give the directory to write to')
  process.exit(2)
}
const beside = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
await mkdir(directory, { recursive: true })
await writeContent(directory)
await writeInteractions(directory)
await writeIdEmbeddings(directory)
await writePairs(directory)
await copyFile(beside('sidestream.yaml'), join(directory, 'sidestream.yaml'))
await copyFile(beside('staged.yaml'), join(directory, 'staged.yaml'))
await copyFile(beside('demo-recipe.yaml'), join(directory, 'recipe.yaml'))
console.log(
  `wrote content.parquet, interactions.csv, id-embeddings.csv, pairs.csv, sidestream.yaml, staged.yaml and recipe.yaml to ${directory}`,
)
