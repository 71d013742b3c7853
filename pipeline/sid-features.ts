/** `sid features`: codes as text, tokens and prefix n-grams. */

import { SidestreamError, writeParquet } from '../schemas/index.ts'
import { levelOffsets, levelTokens, prefixNgrams, semanticIdText } from '../semantic-ids/index.ts'
import type { PrefixNgramOptions } from '../semantic-ids/index.ts'
import { readBundleDirectory } from './bundle-directory.ts'
import { isDirectory, readItemCodes } from './sid-items.ts'

export interface SidFeatureFiles extends Pick<PrefixNgramOptions, 'tableSize' | 'tables'> {
  /** A `codes` file, or the directory of a bundle. */
  readonly codes: string
  /** Codes per level: tokens and n-grams hang on them. @default those of the bundle */
  readonly sizes?: readonly number[]
  /** Directory of the bundle that made the codes. @default `codes`, where that is one */
  readonly bundle?: string
  /** `.parquet`: `item_id`, `sid_text`, `tokens`, `prefix_ngrams`. */
  readonly out: string
}

export interface SidFeatures {
  readonly items: number
  /** First token of each level, then the token of a missing ID, see `levelOffsets`. */
  readonly offsets: readonly number[]
  /** Rows of the embedding table of each prefix length, without the one for a missing ID. */
  readonly tableSizes: readonly number[]
}

/** Items of one row group. */
const groupRows = 65_536

/**
 * Writes features of all items of a codes file; whole or not at all.
 * @throws SIDESTREAM_USAGE_INVALID when nothing says how many codes a level has; SIDESTREAM_SHAPE_MISMATCH for codes outside their level;
 *   as `readItemCodes`
 */
export async function sidFeatureFiles({ codes: path, sizes: given, bundle, out, ...ngrams }: SidFeatureFiles): Promise<SidFeatures> {
  if (!/\.parquet$/i.test(out)) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `features are written as .parquet, not to ${out}`)
  const sizes = given ?? (await bundleSizes(path, bundle))
  const { ids, codes, levels } = await readItemCodes(path)
  if (levels !== sizes.length)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${path}: its IDs have ${levels} codes, ${sizes.length} levels are given`)
  const columns = [
    { name: 'item_id', type: 'string' },
    { name: 'sid_text', type: 'string' },
    { name: 'tokens', type: 'list<int32>' },
    { name: 'prefix_ngrams', type: 'list<int64>' },
  ] as const
  let tableSizes = prefixNgrams(new Uint16Array(0), sizes, ngrams).tableSizes
  await writeParquet(out, columns, async (rows) => {
    for (let from = 0; from < ids.length; from += groupRows) {
      const part = codes.subarray(from * levels, Math.min(ids.length, from + groupRows) * levels)
      const tokens = levelTokens(part, sizes)
      const grams = prefixNgrams(part, sizes, ngrams)
      const each = <T>(of: (start: number, end: number) => T): T[] =>
        Array.from({ length: part.length / levels }, (_, row) => of(row * levels, (row + 1) * levels))
      await rows.write({
        item_id: ids.slice(from, from + groupRows),
        sid_text: each((start, end) => semanticIdText(part.subarray(start, end))!),
        tokens: each((start, end) => Array.from(tokens.subarray(start, end))),
        prefix_ngrams: each((start, end) => Array.from(grams.indices.subarray(start, end), BigInt)),
      })
      tableSizes = grams.tableSizes
    }
  })
  return { items: ids.length, offsets: Array.from(levelOffsets(sizes)), tableSizes }
}

/** @throws SIDESTREAM_USAGE_INVALID */
async function bundleSizes(codes: string, bundle: string | undefined): Promise<readonly number[]> {
  const directory = bundle ?? ((await isDirectory(codes)) ? codes : undefined)
  if (directory !== undefined) return (await readBundleDirectory(directory)).bundle.codebooks.sizes
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `${codes} does not say how many codes a level has, on which tokens and n-grams hang: add --bundle or --levels`,
  )
}
