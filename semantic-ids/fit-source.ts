/**
 * Fitting on more rows than memory holds: the sample is drawn from a stream, and codebooks may go on with rounds over all rows.
 * Invariant: memory is that of the sample and of one batch, with passes that of their sums too. Without passes the codebooks are those of
 * `fitCodebooks` over the same items, in any order of arrival; with them float64 sums are added up in the order of the source.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkSizes } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'
import { fitSample, type Refinement } from './fit.ts'
import { fitDefaults, sampleRows, type Fit, type FitOptions } from './fit-options.ts'
import { SampleReservoir } from './fit-sample.ts'
import { checkPairs, passesOver } from './passes.ts'
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
   * Rounds over all levels and all rows, after those over the sample. Each reads the source once, and one more reading says what the
   * last was worth: one that does not lower distortion over all rows is dropped. Higher: slower, codewords nearer to the means of all
   * rows; worth little where the sample has hundreds of rows per code.
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
  if (passes > 0) checkPairs(sizes)
  const reservoir = new SampleReservoir(source.dim, seed, sampleRows(options))
  for await (const { ids, vectors } of source.open()) {
    signal?.throwIfAborted()
    reservoir.add(ids, vectors)
  }
  const crew = new Crew(options.threads ?? fitDefaults.threads)
  try {
    return await fitSample(reservoir.sample(), source.dim, options, crew, passes > 0 ? refinementOver(source, passes, options) : undefined)
  } finally {
    await crew.close()
  }
}

function refinementOver(source: RowSource, passes: number, { normalize = fitDefaults.normalize, signal }: SourceFitOptions): Refinement {
  const { dim } = source
  async function* open(): AsyncGenerator<Float32Array> {
    for await (const { vectors } of source.open()) {
      signal?.throwIfAborted()
      yield preparedFloat32(vectors, dim, normalize)
    }
  }
  return {
    passes,
    refine: (levels, rule, resume, onPass) => passesOver(levels, { dim, passes, rule, open, resume, onPass }),
  }
}
