/**
 * Where the distilled and the content part of a published vector stand: interleaved by Matryoshka block (d1, c1, d2,
 * c2, …), so that the first `ends[k]` elements of the full vector hold exactly what the k-th short view is made of.
 * Invariant: a block's ranges follow from (dims, contentDims, prefixes) alone; head graph and publisher share them.
 */

import { SidestreamError } from './errors.ts'

/** Half-open range of elements. */
export type ElementRange = readonly [from: number, to: number]

/** One Matryoshka block. A range may be empty (`from === to`), so a zero `contentDims` gives a purely distilled vector. */
export interface VectorBlock {
  /** Elements of the distilled part d, shape [dims]. */
  readonly distilled: ElementRange
  /** Elements of the content part c, shape [contentDims]. */
  readonly content: ElementRange
  /** Where the distilled elements stand in the published vector. */
  readonly distilledAt: ElementRange
  /** Where the content elements stand in the published vector. */
  readonly contentAt: ElementRange
}

export interface VectorLayout {
  /** Dims of the distilled part. */
  readonly dims: number
  /** Dims of the content part. */
  readonly contentDims: number
  /** dims + contentDims: length of the published vector. */
  readonly dim: number
  readonly blocks: readonly VectorBlock[]
  /** Length of the short view that ends with block k: D_k + C_k. The last one is `dim`. */
  readonly ends: readonly number[]
}

export interface BlockLayoutOptions {
  /** Dims of the distilled part, at least 1. */
  readonly dims: number
  /** Dims of the content part, 0 or more. */
  readonly contentDims: number
  /** Ends D_k of the distilled prefixes, ascending, within 1..dims. `dims` itself is added when it is not the last one. */
  readonly prefixes: readonly number[]
}

/**
 * Block ends D_k and C_k = round(D_k * contentDims / dims), interleaved.
 * @throws SIDESTREAM_USAGE_INVALID when a dimension or prefix is not a whole number in its range, or prefixes do not ascend
 */
export function blockLayout({ dims, contentDims, prefixes }: BlockLayoutOptions): VectorLayout {
  if (!Number.isInteger(dims) || dims < 1) throw invalid(`dims must be a whole number >= 1, not ${dims}`)
  if (!Number.isInteger(contentDims) || contentDims < 0) throw invalid(`contentDims must be a whole number >= 0, not ${contentDims}`)
  const distilledEnds = prefixes.at(-1) === dims ? prefixes : [...prefixes, dims]
  const blocks: VectorBlock[] = []
  const ends: number[] = []
  let distilled = 0
  let content = 0
  for (const distilledEnd of distilledEnds) {
    if (!Number.isInteger(distilledEnd) || distilledEnd <= distilled || distilledEnd > dims) {
      throw invalid(`prefixes must be ascending whole numbers within 1..${dims}, not [${prefixes.join(', ')}]`)
    }
    const contentEnd = Math.round((distilledEnd * contentDims) / dims)
    const at = distilled + content
    const middle = at + distilledEnd - distilled
    const end = distilledEnd + contentEnd
    blocks.push({
      distilled: [distilled, distilledEnd],
      content: [content, contentEnd],
      distilledAt: [at, middle],
      contentAt: [middle, end],
    })
    ends.push(end)
    distilled = distilledEnd
    content = contentEnd
  }
  return { dims, contentDims, dim: dims + contentDims, blocks, ends }
}

function invalid(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}
