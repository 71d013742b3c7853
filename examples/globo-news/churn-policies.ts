/**
 * What can be done with semantic IDs when the vectors have moved, each judged in the same way.
 * Invariant: every policy sees the same items, vectors and published codes; figures over all items, churn among the published ones.
 */
import {
  churn,
  decode,
  encode,
  fitCodebooks,
  ParentCodes,
  reconstruction,
  refreshCodebooks,
  rotated,
  rotationOnto,
} from '../../semantic-ids/index.ts'
import type { ChurnReport, Codebooks, CurvePoint, Fit } from '../../semantic-ids/index.ts'

/** Published IDs and the vectors before and after. */
export interface Move {
  readonly dim: number
  /** All items that are there after the second window. */
  readonly ids: readonly string[]
  /** Row-major float32, shape [ids.length, dim], unit length. */
  readonly before: Float32Array
  readonly after: Float32Array
  /** Codebooks of the first window and the codes that it published, of the first `known` items. */
  readonly fit: Fit
  readonly codes: Uint16Array
  readonly known: number
  /** Ends of the Matryoshka prefixes. */
  readonly ends: readonly number[]
}

export interface Outcome {
  readonly churn: ChurnReport
  readonly fvu: number
  /** Mean squared error of the items that are new. */
  readonly newError: number
  /** Decoded vectors, row-major float32, shape [ids.length, dim]. */
  readonly decoded: Float32Array
  readonly codebooks: Codebooks
  /** Vectors that the codes were made from: rotated ones for a policy that rotates. */
  readonly seen: Float32Array
  readonly curve?: readonly CurvePoint[]
}

const seed = 1
const levels = 3

/** Codebooks for the first publication. */
export async function firstFit(
  vectors: Float32Array,
  ids: readonly string[],
  dim: number,
  sizes: readonly number[],
): Promise<{ fit: Fit; codes: Uint16Array }> {
  const fit = await fitCodebooks(vectors, ids, dim, { sizes, seed: 0, sampleRowsPerCode: 1024 })
  return { fit, codes: encode(vectors, fit.codebooks, fit.settings) }
}

/** A new fit with another seed. */
export async function retrain(move: Move): Promise<Outcome> {
  const fit = await fitCodebooks(move.after, move.ids, move.dim, { sizes: move.fit.codebooks.sizes, seed, sampleRowsPerCode: 1024 })
  return outcome(move, fit.codebooks, encode(move.after, fit.codebooks, fit.settings))
}

/** The old codebooks on the new vectors. */
export function frozen(move: Move): Outcome {
  return outcome(move, move.fit.codebooks, encode(move.after, move.fit.codebooks, move.fit.settings))
}

/** The old codebooks on the new vectors, rotated onto the old ones by the published items. */
export function frozenRotated(move: Move, ends: readonly number[]): Outcome {
  const { before, after, known, dim, fit } = move
  const rotation = rotationOnto(after.subarray(0, known * dim), before.subarray(0, known * dim), dim, ends)
  const seen = rotated(after, rotation)
  return outcome(move, fit.codebooks, encode(seen, fit.codebooks, fit.settings), seen)
}

/** Lloyd's rounds from the old codebooks, without a thought for the old codes (but one item's: a refresh wants to know someone). */
export async function warmStart(move: Move): Promise<Outcome> {
  const { ids, after, fit, codes } = move
  const one = ParentCodes.of(ids.slice(0, 1), codes.subarray(0, levels), levels)
  const { codebooks } = await refreshCodebooks(
    { bundle: fit, parents: one, ids, vectors: after },
    { budget: { full: 1 }, seed, rounds: 25, freeFvu: 1, ceiling: Infinity },
  )
  return outcome(move, codebooks, encode(after, codebooks, fit.settings))
}

/** Our refresh. @param alone - refitted on the published items alone, as where new ones were not there yet */
export async function ours(move: Move, full: number, alone = false): Promise<Outcome> {
  const { ids, after, known, codes, fit, dim } = move
  const parents = ParentCodes.of(ids.slice(0, known), codes, levels)
  const items = alone ? known : ids.length
  const result = await refreshCodebooks(
    { bundle: fit, parents, ids: ids.slice(0, items), vectors: after.subarray(0, items * dim) },
    { budget: { full }, seed, freeFvu: 1, ceiling: Infinity },
  )
  const fresh = encode(after.subarray(items * dim), result.codebooks, fit.settings)
  return { ...outcome(move, result.codebooks, Uint16Array.from([...result.codes, ...fresh])), curve: result.curve }
}

function outcome(move: Move, codebooks: Codebooks, codes: Uint16Array, seen = move.after): Outcome {
  const { known, dim, fit } = move
  const figures = (from: number): { fvu: number; distortion: number } =>
    reconstruction(seen.subarray(from * dim), codes.subarray(from * levels), codebooks, fit.settings)
  return {
    churn: churn(move.codes, codes.subarray(0, known * levels), levels),
    fvu: figures(0).fvu,
    newError: known === move.ids.length ? NaN : figures(known).distortion,
    decoded: decode(codes, codebooks),
    codebooks,
    seen,
  }
}
