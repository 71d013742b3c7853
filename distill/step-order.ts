/**
 * Which rows each step of a training plan takes: one source a step, its rows in seeded order, pass after pass.
 * Invariant: the order is a function of (rows, plan, seed) alone, so a plan that goes on at step k takes what it would have taken.
 */

import { shuffle } from '../compute/index.ts'
import { splitRows, type TrainingRow } from './batches.ts'

/** Rows of one source that can be trained on. */
export interface SourceRows {
  readonly source: string
  readonly rows: readonly TrainingRow[]
}

export interface StepOrderOptions {
  readonly batchSize: number
  /** Rows are shuffled anew for every pass by (seed, pass); the given order is kept when left out. */
  readonly shuffleSeed?: number | undefined
  /** Which source a step takes, an index into the sources; each takes its batches once a pass, mixed, when left out. */
  readonly draw?: ((step: number) => number) | undefined
  /** Seed of the mixture of sources. */
  readonly mixSeed: number
  /** Tells apart the mixtures of plans with one seed. */
  readonly mixStream: number
}

/** One step to take. */
export interface PlannedStep {
  /** Index of the source. */
  readonly at: number
  readonly rows: readonly TrainingRow[]
}

/** Random streams from here on belong to the shuffles: one per pass, and a span of passes per source. */
const shuffleStream = 1000
const passesPerSource = 1_000_000
/** Streams of the mixtures lie above all of those. */
const mixBase = 0x8000_0000

/** Steps of one pass: every row of every source once. */
export function stepsPerPass(sources: readonly SourceRows[], batchSize: number): number {
  return sources.reduce((sum, { rows }) => sum + Math.ceil(rows.length / batchSize), 0)
}

/** The steps of a plan, without end; empty when no source has rows. Rows of steps that are passed over are never cut. */
export function* stepOrder(
  sources: readonly SourceRows[],
  { batchSize, shuffleSeed, draw, mixSeed, mixStream }: StepOrderOptions,
): Generator<() => PlannedStep, void, undefined> {
  const walks = sources.map(({ rows }, at) => new SourceWalk(rows, batchSize, at, shuffleSeed))
  const perPass = stepsPerPass(sources, batchSize)
  if (perPass === 0) return
  let mixture: Uint32Array = new Uint32Array()
  for (let step = 0; ; step++) {
    if (draw === undefined && step % perPass === 0) mixture = mixed(walks, mixSeed, mixBase + ((mixStream + step) % mixBase))
    const at = draw ? draw(step) : mixture[step % perPass]!
    const place = walks[at]!.next()
    yield () => ({ at, rows: walks[at]!.rowsAt(place) })
  }
}

/** Each source as often as it has batches, in seeded order. */
function mixed(walks: readonly SourceWalk[], seed: number, stream: number): Uint32Array {
  const all = Uint32Array.from(walks.flatMap(({ batches }, at) => Array.from({ length: batches }, () => at)))
  return walks.length === 1 ? all : shuffle(all, seed, stream)
}

/** Goes round one source's rows, batch by batch. */
class SourceWalk {
  readonly batches: number
  readonly #rows: readonly TrainingRow[]
  readonly #batchSize: number
  readonly #at: number
  readonly #seed: number | undefined
  #taken = 0
  #pass = -1
  #cut: readonly (readonly TrainingRow[])[] = []

  constructor(rows: readonly TrainingRow[], batchSize: number, at: number, seed: number | undefined) {
    this.batches = Math.ceil(rows.length / batchSize)
    this.#rows = rows
    this.#batchSize = batchSize
    this.#at = at
    this.#seed = seed
  }

  /** Number of the next batch, from 0, over all passes. */
  next(): number {
    return this.#taken++
  }

  rowsAt(place: number): readonly TrainingRow[] {
    const pass = Math.floor(place / this.batches)
    if (pass !== this.#pass) {
      const order =
        this.#seed === undefined ? this.#rows : shuffled(this.#rows, this.#seed, shuffleStream + this.#at * passesPerSource + pass)
      this.#cut = splitRows(order, this.#batchSize)
      this.#pass = pass
    }
    return this.#cut[place % this.batches]!
  }
}

function shuffled<Row>(rows: readonly Row[], seed: number, stream: number): Row[] {
  const places = shuffle(Uint32Array.from(rows.keys()), seed, stream)
  return Array.from(places, (at) => rows[at]!)
}
