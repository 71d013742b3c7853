/**
 * Fitting on more rows than memory holds: the sample is drawn from a stream, and every level may go on with rounds over all rows.
 * Invariant: memory is that of the sample and of one batch. Without passes over all rows the codebooks are those of `fitCodebooks` over
 * the same items, in any order of arrival; with them float64 sums are added up in the order of the source.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkSizes } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { fitDefaults, fitSample, sampleRows, type Fit, type FitOptions, type Refinement } from './fit.ts'
import { SampleReservoir } from './fit-sample.ts'
import type { FittedLevel } from './fit-state.ts'
import type { ResidualRule } from './residual-rule.ts'
import { Crew } from './walk-pool.ts'

export interface RowBatch {
  readonly ids: readonly string[]
  /** Row-major float32, shape [ids.length, dim]. Not changed, and not kept. */
  readonly vectors: Float32Array
}

/** Rows that can be read again and again, in the same order, e.g. of a file. */
export interface RowSource {
  readonly dim: number
  /** All rows from the first on. */
  open(): AsyncIterable<RowBatch>
}

/** What a pull needs of all rows does not fit a stream, so there is no `attraction`. */
export interface SourceFitOptions extends Omit<FitOptions, 'attraction'> {
  /**
   * Lloyd's rounds over all rows, per level, after those over the sample. Each reads the source once. Higher: slower, codewords nearer
   * to the means of all rows; worth little where the sample has hundreds of rows per code.
   * @default 0
   */
  readonly passes?: number
}

/**
 * Fits codebooks on a source.
 * An item that comes twice is refused only where both rows are drawn into the sample.
 * @throws as `fitCodebooks`, and whatever the source throws
 */
export async function fitFromSource(source: RowSource, options: SourceFitOptions): Promise<Fit> {
  const { sizes, seed, passes = 0, signal } = options
  checkSizes(sizes)
  if (!Number.isInteger(passes) || passes < 0) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `passes are 0 or more, got ${passes}`)
  const reservoir = new SampleReservoir(source.dim, seed, sampleRows(options))
  for await (const { ids, vectors } of source.open()) {
    signal?.throwIfAborted()
    reservoir.add(ids, vectors)
  }
  const crew = new Crew(options.threads ?? fitDefaults.threads)
  try {
    const fit = await fitSample(reservoir.sample(), source.dim, options, crew, passes > 0 ? passesOver(source, passes, options) : undefined)
    return { ...fit, training: { ...fit.training, passes } }
  } finally {
    await crew.close()
  }
}

function passesOver(source: RowSource, passes: number, { normalize = fitDefaults.normalize, signal }: SourceFitOptions): Refinement {
  const { dim } = source
  const pass = async (level: FittedLevel, before: readonly FittedLevel[], rule: ResidualRule): Promise<FittedLevel> => {
    const sums = new Float64Array(level.codebook.length)
    const counts = new Float64Array(level.codebook.length / dim)
    for await (const { vectors } of source.open()) {
      signal?.throwIfAborted()
      const residual = await rule.residualsOf(preparedFloat32(vectors, dim, normalize), before)
      addUp(residual, dim, await rule.codesOf(residual, level), sums, counts)
    }
    const codebook = level.codebook.map((value, at) => {
      const count = counts[Math.floor(at / dim)]!
      return count === 0 ? value : sums[at]! / count
    })
    return { ...level, codebook }
  }
  return {
    passes,
    refine: async (fitted, before, rule) => {
      let level = fitted
      for (let done = 0; done < passes; done++) level = await pass(level, before, rule)
      return level
    },
  }
}

function addUp(rows: Float32Array, dim: number, codes: Uint16Array, sums: Float64Array, counts: Float64Array): void {
  for (let row = 0; row < codes.length; row++) {
    const at = codes[row]! * dim
    counts[codes[row]!]!++
    for (let j = 0; j < dim; j++) sums[at + j] = sums[at + j]! + rows[row * dim + j]!
  }
}
