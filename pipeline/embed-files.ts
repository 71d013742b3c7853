/** Vectors over files, from a head that `distill` wrote. */

import { resolve } from 'node:path'
import { embedOffline } from '../distill/index.ts'
import { readContent, SidestreamError, writeEmbeddings, writeVectorsF32 } from '../schemas/index.ts'
import { readDistilled } from './distilled-heads.ts'

export interface EmbedFiles {
  /** Directory that `distillFiles` wrote. */
  readonly head: string
  readonly content: string
  /** Whether a head that was refused will do. @default false */
  readonly refused?: boolean
  /** `.parquet` or `.f32`. */
  readonly out: string
  /** Distilled dims of a short view. @default the full vector */
  readonly prefix?: number
  /** Called for an item without any vector, which is left out. @default the file is refused */
  readonly onBare?: (error: SidestreamError) => void
  /** @param share - of the content file that has been read, up to 1 */
  readonly onProgress?: (items: number, share: number) => void
}

/** Writes the published vectors of all items of a content file. @returns number of items */
export async function embedFiles(files: EmbedFiles): Promise<number> {
  const isParquet = /\.parquet$/i.test(files.out)
  if (!isParquet && !/\.f32$/i.test(files.out)) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `vectors are written as .parquet or .f32, not to ${files.out}`)
  }
  if (resolve(files.out) === resolve(files.content)) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${files.out} is the content itself: write the vectors to another file`)
  }
  const { head } = await readDistilled(files.head, { training: false, refused: files.refused ?? false })
  const dims = Object.fromEntries(head.spec.modalities.map(({ name, dim }) => [name, { dim }]))
  let share = 0
  const batches = embedOffline({
    head,
    content: readContent(files.content, dims, { onRead: (read) => (share = read), ...(files.onBare && { onBare: files.onBare }) }),
    ...(files.prefix !== undefined && { options: { prefix: files.prefix } }),
  })
  const counted = countItems(batches, (items) => files.onProgress?.(items, share))
  return isParquet ? writeEmbeddings(files.out, counted) : writeVectorsF32(files.out, counted)
}

async function* countItems<T extends { readonly ids: readonly string[] }>(
  batches: AsyncIterable<T>,
  onProgress: (items: number) => void,
): AsyncGenerator<T> {
  let items = 0
  for await (const batch of batches) {
    items += batch.ids.length
    yield batch
    onProgress(items)
  }
}
