/** What `sid fit` and `sid refresh` put into a bundle directory. */

import { createHash } from 'node:crypto'
import type { BundleItems } from './bundle-directory.ts'

/** Rows of one row group of the table of codes. */
const groupRows = 65_536

/** Items with their codes, in batches that make a row group each. */
export function* itemBatches(ids: readonly string[], codes: Uint16Array, levels: number): Generator<BundleItems> {
  for (let from = 0; from < ids.length; from += groupRows) {
    const to = Math.min(ids.length, from + groupRows)
    yield { ids: ids.slice(from, to), codes: codes.subarray(from * levels, to * levels) }
  }
}

/** Name of a new ID space: of the codewords that make it, and of the space that it follows, so that equal codewords make another one. */
export function spaceName(levels: readonly Float32Array[], before = ''): string {
  const hash = createHash('sha256').update(before)
  for (const words of levels) hash.update(new Uint8Array(words.buffer, words.byteOffset, words.byteLength))
  return hash.digest('hex').slice(0, 16)
}
