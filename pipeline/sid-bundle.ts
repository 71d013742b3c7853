/** What `sid fit` and `sid refresh` have in common: what they put into a bundle directory, and how a fit tells where it stands. */

import { createHash } from 'node:crypto'
import type { FitProgress } from '../semantic-ids/index.ts'
import type { BundleItems } from './bundle-directory.ts'

/** Rows of one row group of the table of codes. */
const groupRows = 65_536

/** Items with their codes, in batches that make a row group each. */
export function* itemBatches(ids: readonly string[], codes: Uint16Array, levels: number, suffixes?: Uint16Array): Generator<BundleItems> {
  for (let from = 0; from < ids.length; from += groupRows) {
    const to = Math.min(ids.length, from + groupRows)
    yield {
      ids: ids.slice(from, to),
      codes: codes.subarray(from * levels, to * levels),
      ...(suffixes && { suffixes: suffixes.subarray(from, to) }),
    }
  }
}

/** Name of a new ID space: of the codewords that make it, and of the space that it follows, so that equal codewords make another one. */
export function spaceName(levels: readonly Float32Array[], before = ''): string {
  const hash = createHash('sha256').update(before)
  for (const words of levels) hash.update(new Uint8Array(words.buffer, words.byteOffset, words.byteLength))
  return hash.digest('hex').slice(0, 16)
}

/** Share of a fit that is done, up to 1, and where it stands in words. */
export function fitStands({ stage, level, levels, round, rounds, distortion, ended }: FitProgress): { share: number; note: string } {
  const where = { level: `level ${level + 1} of ${levels}`, joint: 'all levels', passes: 'all rows' }[stage]
  return {
    share: Math.min(1, ended ? (level + 1) / levels : (level + Math.min(1, round / rounds)) / levels),
    note: `${where}, round ${round}, distortion ${distortion.toPrecision(5)}`,
  }
}
