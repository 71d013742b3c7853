/**
 * Short views of published vectors. Invariant: a short view is sqrt(1 - share) l2(d[:D_k]) beside sqrt(share) l2(c[:C_k]) in
 * the published interleaving; each part is normalized again, since plain truncation would shift the share.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { VectorLayout } from '../schemas/index.ts'

export interface PrefixOptions {
  readonly layout: VectorLayout
  /** Last block that the short view holds, index into `layout.blocks`. */
  readonly block: number
  /** Share of the content part in the squared length, 0 to 1. If one part is zero the other gets weight 1. */
  readonly contentShare: number
}

/**
 * Makes short views of full published vectors.
 * @param vectors - row-major float32, shape [n, layout.dim]
 * @param out - written in place, float32, shape [n, layout.ends[block]]
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes do not fit or the layout has no such block
 */
export function prefix(vectors: Float32Array, options: PrefixOptions, out?: Float32Array): Float32Array {
  const { layout, block, contentShare } = options
  const { dim, blocks } = layout
  const end = layout.ends[block]
  const rows = vectors.length / dim
  const target = out ?? new Float32Array(rows * (end ?? 0))
  if (end === undefined || !Number.isInteger(rows) || target.length !== rows * end) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${vectors.length} elements make no whole rows of ${dim}, or block ${block} of ${blocks.length} does not fit ${target.length} elements`,
    )
  }
  for (let row = 0; row < rows; row++) {
    const from = row * dim
    let distilled = 0
    let content = 0
    for (let k = 0; k <= block; k++) {
      const { distilledAt, contentAt } = blocks[k]!
      for (let i = distilledAt[0]; i < distilledAt[1]; i++) distilled += vectors[from + i]! * vectors[from + i]!
      for (let i = contentAt[0]; i < contentAt[1]; i++) content += vectors[from + i]! * vectors[from + i]!
    }
    const distilledScale = distilled === 0 ? 0 : Math.sqrt((content === 0 ? 1 : 1 - contentShare) / distilled)
    const contentScale = content === 0 ? 0 : Math.sqrt((distilled === 0 ? 1 : contentShare) / content)
    const to = row * end
    for (let k = 0; k <= block; k++) {
      const { distilledAt, contentAt } = blocks[k]!
      for (let i = distilledAt[0]; i < distilledAt[1]; i++) target[to + i] = vectors[from + i]! * distilledScale
      for (let i = contentAt[0]; i < contentAt[1]; i++) target[to + i] = vectors[from + i]! * contentScale
    }
  }
  return target
}
