/**
 * Runs one walk model over many rows in worker threads, a cache-sized batch at a time.
 * Invariant: batch borders depend on the model's shape only and every worker computes with one thread, so results do not depend
 * on how many workers there are.
 */

import { ComputeWorker, Session, sharedFloat32, tensor, type Tensor } from '../compute/index.ts'
import { usesBeam } from './beam.ts'
import type { Quantizer } from './codebooks.ts'
import { tableShapes } from './encode-graph.ts'

/** Scores of one batch stay within this many bytes, so they are read again from the second-level cache. */
const scoreBytes = 2 ** 21
const mostBatchRows = 1024
/** A message costs its threads about .3 ms, a batch 2. Of few rows every worker still gets some. */
const mostBatchesPerMessage = 4
/** Messages under way per worker: the next one waits in its queue while this one is computed. */
const underWay = 2

/** Rows per run for a quantizer of this shape. */
export function batchRowsFor({ codebooks, settings }: Pick<Quantizer, 'codebooks' | 'settings'>): number {
  const widths = codebooks.levels.map((_, level) => tableShapes(codebooks.sizes[level]!, 1).scores[1])
  const cells = Math.max(...widths) * (usesBeam(codebooks, settings) ? settings.beam! : 1)
  return Math.max(16, Math.min(mostBatchRows, 2 ** Math.floor(Math.log2(scoreBytes / 4 / cells))))
}

/** A row range and the answer of its run. */
export type TakeBatch = (from: number, to: number, outputs: Readonly<Record<string, Tensor>>) => void

/** Threads that several pools share. Whoever makes a crew closes it. */
export class Crew {
  readonly workers: readonly ComputeWorker[]

  constructor(threads: number) {
    this.workers = Array.from({ length: Math.max(1, threads) }, (_, index) => new ComputeWorker({ name: `semantic-ids-${index}` }))
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()))
  }
}

export class WalkPool {
  readonly batchRows: number
  readonly #sessions: readonly Session[]

  private constructor(sessions: readonly Session[], batchRows: number) {
    this.#sessions = sessions
    this.batchRows = batchRows
  }

  /** One session in every worker of the crew. @throws SIDESTREAM_SESSION_FAILED */
  static async create(model: Uint8Array, batchRows: number, crew: Crew): Promise<WalkPool> {
    const sessions = await Promise.all(crew.workers.map((worker) => Session.create(model, { worker, threads: 1 })))
    return new WalkPool(sessions, batchRows)
  }

  async close(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => session.close()))
  }

  /** Feeds every later run with these (copied). */
  async hold(feeds: Readonly<Record<string, Tensor>>): Promise<void> {
    await Promise.all(this.#sessions.map((session) => session.hold(feeds)))
  }

  /**
   * Runs all rows; `take` is called once per message, in no particular order, in this thread.
   * @param vectors - row-major float32, shape [rows, dim]; in shared memory they are read where they are
   * @param feed - inputs of rows [from, to) beside them; their buffers are given away
   */
  async run(
    vectors: Float32Array,
    dim: number,
    feed: (from: number, to: number) => Record<string, Tensor>,
    take: TakeBatch,
  ): Promise<void> {
    const rows = vectors.length / dim
    const isShared = vectors.buffer instanceof SharedArrayBuffer
    const drains = Array.from({ length: underWay }, () => this.#sessions).flat()
    const batches = Math.ceil(rows / this.batchRows)
    const taken = this.batchRows * Math.min(mostBatchesPerMessage, Math.ceil(batches / drains.length))
    let next = 0
    const drain = async (session: Session): Promise<void> => {
      let slot: Float32Array | undefined
      while (next < rows) {
        const from = next
        const to = Math.min(rows, from + taken)
        next = to
        let batch = vectors.subarray(from * dim, to * dim)
        if (!isShared) {
          slot ??= sharedFloat32(batch.length)
          slot.set(batch)
          batch = slot.subarray(0, batch.length)
        }
        const feeds = { ...feed(from, to), vectors: tensor('float32', [to - from, dim], batch) }
        take(from, to, await session.run(feeds, { transfer: true, batch: this.batchRows }))
      }
    }
    await Promise.all(drains.map(drain))
  }
}

/** Rows [from, to) of codes as a tensor of their own. */
export function codeTensor(values: Int32Array, levels: number, from: number, to: number): Tensor<'int32'> {
  return tensor('int32', [to - from, levels], values.slice(from * levels, to * levels))
}
