/**
 * Turns proposed codes into final ones: decisions whose margin is too small to trust float32 are taken again in float64.
 * Invariant: whatever proposed them, the codes afterwards equal `encodeSticky` on every row.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { SidOrigin } from '../schemas/index.ts'
import { rowsOf, vectorDimOf, type Quantizer } from './codebooks.ts'
import { isCertain, ReferenceWalk, type Sticky } from './encode.ts'

/** What the fast path says of a batch. */
export interface Proposal {
  /** Row-major, shape [rows, levels]. */
  readonly codes: Int32Array
  /** Row-major, shape [rows, levels]: the relative lead of each decision, given those before; not a number counts as no lead. */
  readonly margins: Float32Array
}

/** Final codes of a batch. */
export interface Settled {
  /** Row-major, shape [rows, levels]. */
  readonly codes: Uint16Array
  /** Rows that were decided again in float64. */
  readonly rechecked: number
}

/**
 * Final codes: decisions with a margin below the quantizer's `recheckTolerance` are walked by the reference.
 * @param vectors - the very numbers the proposal was computed from, row-major float32, shape [rows, dim]
 * @throws SIDESTREAM_SHAPE_MISMATCH
 */
export function settle(vectors: Float32Array, proposal: Proposal, { codebooks, settings, network }: Quantizer, sticky?: Sticky): Settled {
  const rows = rowsOf(vectors, vectorDimOf(codebooks, network))
  const levels = codebooks.sizes.length
  if (
    proposal.codes.length !== rows * levels ||
    proposal.margins.length !== rows * levels ||
    (sticky !== undefined && sticky.old.length !== rows * levels)
  ) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${rows} rows of ${levels} levels, but ${proposal.codes.length} codes, ${proposal.margins.length} margins and ${sticky?.old.length ?? 0} old codes`,
    )
  }
  const codes = new Uint16Array(proposal.codes)
  const walk = new ReferenceWalk(codebooks, settings, sticky, network)
  let rechecked = 0
  const doubt = { margins: proposal.margins, tolerance: settings.recheckTolerance }
  for (let row = 0; row < rows; row++) {
    let level = 0
    while (level < levels && isCertain(proposal.margins[row * levels + level]!, settings.recheckTolerance)) level++
    if (level === levels) continue
    walk.decide(vectors, row, codes, doubt)
    rechecked++
  }
  return { codes, rechecked }
}

/**
 * Where each ID comes from: `encoded` = not in the parent's table, or left the parent's ID and took the nearest codes from
 * the switch on; `kept` = the sticky rule kept the parent's whole ID. (`moved` is the mark of a capacity move.) Anyone can
 * check a row: look the item up in the bundle's table, walk the vector with those codes, compare.
 * @param codes - row-major, shape [rows, levels]
 * @param old - parent's codes as `Sticky.old`
 */
export function originsOf(codes: Uint16Array, old: Int32Array, levels: number): SidOrigin[] {
  const rows = rowsOf(codes, levels)
  const origins: SidOrigin[] = []
  for (let row = 0; row < rows; row++) {
    let kept = true
    for (let at = row * levels; kept && at < (row + 1) * levels; at++) kept = codes[at] === old[at]
    origins.push(kept ? 'kept' : 'encoded')
  }
  return origins
}
