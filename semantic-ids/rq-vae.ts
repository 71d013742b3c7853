/**
 * RQ-VAE: a network before residual codebooks, trained together with them in a worker thread; see `rq-vae-graph.ts` for the loss.
 * Codebooks start as residual k-means over the first latent vectors; codes that a stretch of steps never took are given rows again.
 * Invariant: equal items and options give equal bytes on one kind of machine (the matrix products are float32, so not on all), in any
 * order of arrival, resumed or not.
 */

import { createHash } from 'node:crypto'
import { cosineSchedule, optimizerPrefix, shuffle, tensor, tensorOf, TrainingSession, type Tensor } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { CodebookWalk } from './codebook-walk.ts'
import { checkSizes, codebooksOf, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { decode } from './encode.ts'
import { fitSample, fitVersion } from './fit.ts'
import { sampleOf } from './fit-sample.ts'
import { spreadOf, unexplained } from './quality-distortion.ts'
import { networkOf, networkTolerance, type Network, type NetworkLayer } from './network.ts'
import { InputScale } from './rq-vae-input.ts'
import { codebookName, initialParameters, layersGraph, meanName, stepGraph, type RqVaeLoss, type RqVaeShape } from './rq-vae-graph.ts'
import { ResidualRule } from './residual-rule.ts'
import { reviveCodes, type Revived } from './rq-vae-codebooks.ts'
import { rqVaeStateFromBytes, rqVaeStateToBytes } from './rq-vae-state.ts'
import { Crew } from './walk-pool.ts'

export interface RqVaeOptions extends Partial<RqVaeLoss> {
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  readonly seed: number
  /** Widths of the encoder between input and latent vector; the decoder has them in reverse. @default [512, 256] */
  readonly hidden?: readonly number[]
  /** Dims that are quantized. @default 64 */
  readonly latentDim?: number
  /** Passes over the items. Higher: slower, less distortion. @default 100 */
  readonly epochs?: number
  /** Rows per step; all of them where there are fewer. @default 1024 */
  readonly batch?: number
  /** Of AdamW; it rises over the first twentieth of the steps and falls to a hundredth along half a cosine. @default 1e-3 */
  readonly learningRate?: number
  /** Share of the rate by which weights shrink per step. @default 1e-4 */
  readonly weightDecay?: number
  /** Steps after which codes that none of them took are given rows. Lower: slower, codes rest for shorter. @default 50 */
  readonly resetEvery?: number
  /** Rows looked at, per code of the largest level, when codebooks start or codes are given rows. @default 64 */
  readonly resetRowsPerCode?: number
  /** Threads of a step, and workers that take codes. @default 1 */
  readonly threads?: number
  /** Awaited after every `resetEvery` steps. */
  readonly onProgress?: (progress: RqVaeProgress) => void | Promise<void>
  /** Goes on from `RqVaeProgress.state()` of a training of the same items and options. */
  readonly resume?: Uint8Array
  readonly signal?: AbortSignal
}

export const rqVaeDefaults = {
  hidden: [512, 256],
  latentDim: 64,
  commitment: 0.25,
  estimator: 'straight-through',
  codebooks: 'gradient',
  emaDecay: 0.99,
  epochs: 100,
  batch: 1024,
  learningRate: 1e-3,
  weightDecay: 1e-4,
  resetEvery: 50,
  resetRowsPerCode: 64,
  threads: 1,
} as const satisfies Omit<Required<RqVaeOptions>, 'sizes' | 'seed' | 'onProgress' | 'resume' | 'signal'>

export interface RqVaeProgress {
  readonly step: number
  readonly steps: number
  /** Of the last step, means over its rows: squared errors of the input in its unit (variance 1 a dim), and of the latent vectors. */
  readonly loss: number
  readonly reconstruction: number
  readonly quantization: number
  /** Codes that were given rows after this step. */
  readonly revived: number
  /** Bytes from which `resume` goes on to the same result. */
  state(): Promise<Uint8Array>
}

export interface RqVaeFit {
  /** The encoder, float32, over vectors as they were given: what stands before the codebooks. ReLU between layers, none behind the last. */
  readonly network: Network
  /** The decoder, from sums of codewords to vectors as they were given. */
  readonly decoder: Network
  /** Over latent vectors. */
  readonly codebooks: Codebooks
  /** With a recheck tolerance that covers the network's float32 error, see `networkTolerance`. */
  readonly settings: EncodeSettings
  /** Of the items fitted on, row-major, shape [items, levels], in the order they were given. */
  readonly codes: Uint16Array
  /** Fraction of the vectors' variance that the decoder does not give back, over all items. */
  readonly fvu: number
  /** Fraction of the latent vectors' variance that the codebooks leave. */
  readonly latentFvu: number
  /** Plain JSON for the manifest. */
  readonly training: Readonly<Record<string, unknown>>
}

/** Random streams: order of the rows in each epoch. */
const orderStream = 0x0e90c4
const startIterations = 10
const warmupShare = 0.05
const lastRateShare = 0.01
/** Rows on which the network's float32 error is measured. */
const toleranceRows = 2048
/** Rows per run of the encoder or decoder. */
const runRows = 1024

/**
 * Trains an RQ-VAE.
 * @param vectors - row-major float32, shape [ids.length, dim]
 * @throws as `fitCodebooks`; SIDESTREAM_TRAINING_DIVERGED when the loss is no number any more; SIDESTREAM_SESSION_FAILED
 */
export async function fitRqVae(vectors: Float32Array, ids: readonly string[], dim: number, options: RqVaeOptions): Promise<RqVaeFit> {
  const settled = checked(options)
  const crew = new Crew(settled.threads)
  try {
    const training = new RqVaeTraining(vectors, ids, dim, options, settled, crew)
    return await training.run()
  } finally {
    await crew.close()
  }
}

type Settled = Omit<Required<RqVaeOptions>, 'onProgress' | 'resume' | 'signal'>

function checked(options: RqVaeOptions): Settled {
  const settled: Settled = { ...rqVaeDefaults, ...options }
  checkSizes(settled.sizes)
  const { hidden, latentDim, epochs, batch, resetEvery, resetRowsPerCode, learningRate, commitment, weightDecay, emaDecay } = settled
  const whole = [...hidden, latentDim, epochs, batch, resetEvery, resetRowsPerCode].every((value) => Number.isInteger(value) && value >= 1)
  const rates = learningRate > 0 && commitment >= 0 && weightDecay >= 0 && emaDecay >= 0 && emaDecay < 1
  if (!whole || !rates || !Number.isFinite(learningRate + commitment + weightDecay)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      'an RQ-VAE needs whole widths, epochs, batch and reset options from 1 on, a learningRate above 0, commitment and weightDecay of at least 0 and an emaDecay of at least 0 and below 1',
    )
  }
  return settled
}

class RqVaeTraining {
  readonly #vectors: Float32Array
  readonly #options: RqVaeOptions
  readonly #settled: Settled
  readonly #shape: RqVaeShape
  readonly #scale: InputScale
  /** Scaled rows in hash order. */
  readonly #rows: Float32Array
  readonly #order: Uint32Array
  readonly #items: Readonly<Record<string, unknown>>
  readonly #crew: Crew
  readonly #rule: ResidualRule
  readonly #fingerprint: string
  /** Of every level, whether a code was taken since codes were last given rows. */
  #taken: Uint8Array[]
  #revived = 0

  constructor(vectors: Float32Array, ids: readonly string[], dim: number, options: RqVaeOptions, settled: Settled, crew: Crew) {
    const sample = sampleOf(vectors, ids, dim, settled.seed, ids.length)
    this.#vectors = vectors
    this.#options = options
    this.#settled = settled
    this.#shape = { inputDim: dim, hidden: settled.hidden, latentDim: settled.latentDim, sizes: settled.sizes }
    this.#scale = InputScale.of(sample.vectors, dim)
    this.#rows = this.#scale.apply(sample.vectors)
    this.#order = sample.order
    this.#items = sample.items
    this.#crew = crew
    this.#rule = new ResidualRule(settled.latentDim, {}, crew)
    const { threads: _, ...deciding } = settled
    const about = JSON.stringify({ version: fitVersion, ...deciding, onProgress: undefined, resume: undefined, signal: undefined })
    this.#fingerprint = createHash('sha256').update(about).update(new Uint8Array(this.#rows.buffer)).digest('hex')
    this.#taken = settled.sizes.map((size) => new Uint8Array(size))
  }

  async run(): Promise<RqVaeFit> {
    const { seed, threads, weightDecay, resetEvery, epochs, learningRate } = this.#settled
    const { resume, signal, onProgress } = this.#options
    const before = resume && rqVaeStateFromBytes(resume, this.#fingerprint)
    const initial = initialParameters(this.#shape, seed, this.#settled)
    const step = stepGraph(this.#shape, initial, { ...this.#settled, weightDecay })
    const session = await TrainingSession.create(step, { threads, name: 'rq-vae', ...(before && { state: before.state }) })
    try {
      const encoder = await session.withGraph(layersGraph(this.#shape, 'encoder', initial), { threads })
      if (before === undefined) await this.#startCodebooks(session, encoder)
      this.#revived = before?.revived ?? 0
      const batch = Math.min(this.#settled.batch, this.#order.length)
      const stepsPerEpoch = Math.max(1, Math.floor(this.#order.length / batch))
      const steps = stepsPerEpoch * epochs
      const rate = cosineSchedule({
        totalSteps: steps,
        warmupSteps: Math.max(1, Math.round(warmupShare * steps)),
        max: learningRate,
        min: lastRateShare * learningRate,
      })
      let order = new Int32Array(0)
      let waiting: Promise<Scalars> | undefined
      for (let at = before?.step ?? 0; at < steps; at++) {
        signal?.throwIfAborted()
        const inEpoch = at % stepsPerEpoch
        if (inEpoch === 0 || order.length === 0) {
          order = shuffle(Int32Array.from(this.#order.keys()), seed, orderStream + Math.floor(at / stepsPerEpoch))
        }
        const x = this.#batchOf(order.subarray(inEpoch * batch, (inEpoch + 1) * batch))
        const next = session
          .step({ x, rate: tensorOf('float32', [], [rate(at)]) }, { transfer: true })
          .then((outputs) => this.#taking(at, outputs))
        // The next batch is gathered while this one is trained on.
        next.catch(() => undefined)
        await waiting
        waiting = next
        if ((at + 1) % resetEvery !== 0) continue
        const scalars = await waiting
        const revived = await this.#giveRows(session, encoder)
        this.#revived += revived
        await onProgress?.({
          step: at + 1,
          steps,
          ...scalars,
          revived,
          state: async () =>
            rqVaeStateToBytes({ fingerprint: this.#fingerprint, step: at + 1, revived: this.#revived, state: await session.state() }),
        })
      }
      await waiting
      return await this.#result(session, encoder, steps)
    } finally {
      await session.close()
    }
  }

  #batchOf(rows: Int32Array): Tensor<'float32'> {
    const dim = this.#shape.inputDim
    const out = new Float32Array(rows.length * dim)
    for (const [place, row] of rows.entries()) out.set(this.#rows.subarray(row * dim, (row + 1) * dim), place * dim)
    return tensor('float32', [rows.length, dim], out)
  }

  /** Notes the codes of a step. @throws SIDESTREAM_TRAINING_DIVERGED */
  #taking(step: number, outputs: Readonly<Record<string, Tensor>>): Scalars {
    const [loss, reconstruction, quantization] = ['loss', 'reconstruction', 'quantization'].map((name) => Number(outputs[name]!.data[0]))
    if (!Number.isFinite(loss)) {
      throw new SidestreamError(
        'SIDESTREAM_TRAINING_DIVERGED',
        `the loss of step ${step + 1} is ${loss}; train with a lower learningRate than ${this.#settled.learningRate}`,
      )
    }
    const codes = outputs['codes']!.data as Int32Array
    const levels = this.#taken.length
    for (let at = 0; at < codes.length; at++) this.#taken[at % levels]![codes[at]!] = 1
    return { loss: loss!, reconstruction: reconstruction!, quantization: quantization! }
  }

  /** Latent vectors of the first rows in hash order. */
  async #latents(encoder: TrainingSession, rows: number): Promise<Float32Array> {
    return throughLayers(encoder, this.#rows.subarray(0, rows * this.#shape.inputDim), this.#shape.inputDim, this.#shape.latentDim)
  }

  get #resetRows(): number {
    return Math.min(this.#order.length, Math.max(...this.#shape.sizes) * this.#settled.resetRowsPerCode)
  }

  /** Residual k-means over the first latent vectors. */
  async #startCodebooks(session: TrainingSession, encoder: TrainingSession): Promise<void> {
    const { latentDim, sizes } = this.#shape
    const latents = await this.#latents(encoder, this.#resetRows)
    const sample = { vectors: latents, order: new Uint32Array(0), rows: this.#resetRows, items: {} }
    const options = { sizes, seed: this.#settled.seed, iterations: startIterations, normalize: false }
    const { codebooks } = await fitSample(sample, latentDim, options, this.#crew)
    await this.#setCodebooks(session, await reviveCodes(latents, codebooks, this.#rule), true)
  }

  /** Gives rows to codes that no step took. @returns how many got some */
  async #giveRows(session: TrainingSession, encoder: TrainingSession): Promise<number> {
    const idle = this.#taken.some((codes) => codes.includes(0))
    this.#taken = this.#taken.map((codes) => new Uint8Array(codes.length))
    if (!idle) return 0
    const codebooks = codebooksIn(await session.state(), this.#shape)
    const revived = await reviveCodes(await this.#latents(encoder, this.#resetRows), codebooks, this.#rule)
    await this.#setCodebooks(session, revived, false)
    return revived.revived.reduce((sum, codes) => sum + codes.length, 0)
  }

  /** Writes codewords (`all`, or those given rows) with fresh moments and running means. */
  async #setCodebooks(session: TrainingSession, { codebooks, revived, counts }: Revived, all: boolean): Promise<void> {
    const { latentDim, sizes } = this.#shape
    const rows = counts[0]!.reduce((sum, count) => sum + count, 0)
    const batch = Math.min(this.#settled.batch, this.#order.length)
    const state = await session.state()
    const changed: Record<string, Tensor> = {}
    for (const [level, size] of sizes.entries()) {
      const codes = all ? Array.from({ length: size }, (_, code) => code) : revived[level]!
      if (codes.length === 0) continue
      const words = codebooks.levels[level]!
      changed[codebookName(level)] = tensor('float32', [size, latentDim], words.slice())
      for (const moment of ['m', 'v']) {
        const name = `${optimizerPrefix}${moment}/${codebookName(level)}`
        const values = state[name]?.data as Float32Array | undefined
        if (values === undefined) continue
        for (const code of codes) values.fill(0, code * latentDim, (code + 1) * latentDim)
        changed[name] = tensor('float32', [size, latentDim], values)
      }
      const means = state[meanName(level)]?.data as Float32Array | undefined
      if (means === undefined) continue
      for (const code of codes) {
        const mass = (counts[level]![code]! * batch) / rows
        for (let j = 0; j < latentDim; j++) means[code * (latentDim + 1) + j] = mass * words[code * latentDim + j]!
        means[code * (latentDim + 1) + latentDim] = mass
      }
      changed[meanName(level)] = tensor('float32', [size, latentDim + 1], means)
    }
    if (Object.keys(changed).length > 0) await session.setState(changed)
  }

  async #result(session: TrainingSession, encoder: TrainingSession, steps: number): Promise<RqVaeFit> {
    const { inputDim, latentDim, sizes } = this.#shape
    const rows = this.#order.length
    const latents = await this.#latents(encoder, rows)
    const state = await session.state()
    const last = await reviveCodes(latents, codebooksIn(state, this.#shape), this.#rule)
    const quantized = decode(last.codes, last.codebooks)
    const decoder = await session.withGraph(layersGraph(this.#shape, 'decoder', state as Record<string, Tensor>), {
      threads: this.#settled.threads,
    })
    const decoded = await throughLayers(decoder, quantized, latentDim, inputDim)
    const network = networkOf(this.#scale.intoEncoder(layersOf(state, 'encoder')))
    const measured = this.#vectors.subarray(0, toleranceRows * inputDim)
    const settings = { normalize: false, recheckTolerance: await networkTolerance(network, measured) }
    const quantizer = { codebooks: last.codebooks, settings, network }
    const codes = await (await CodebookWalk.like(quantizer, false, this.#crew)).run(this.#vectors, last.codebooks, settings)
    const fvu = unexplainedShare(this.#rows, decoded, inputDim)
    const latentFvu = unexplainedShare(latents, quantized, latentDim)
    const { threads: _, ...settled } = this.#settled
    const { hidden, latentDim: width, commitment, estimator, codebooks, emaDecay, epochs, batch, learningRate, weightDecay, seed } = settled
    return {
      ...quantizer,
      decoder: networkOf(this.#scale.intoDecoder(layersOf(state, 'decoder'))),
      codes,
      fvu,
      latentFvu,
      training: {
        algorithm: 'rq-vae',
        generator: 'philox4x32-10',
        init: 'residual k-means over the first latent vectors',
        ...{ seed, hidden, latentDim: width, commitment, estimator, codebooks, emaDecay, epochs, batch, learningRate, weightDecay },
        steps,
        rows,
        ...this.#items,
        revived: this.#revived,
        fvu,
        latentFvu,
        levels: sizes.map((size, level) => ({ size, dead: unusedCodes(codes, level, sizes) })),
      },
    }
  }
}

interface Scalars {
  readonly loss: number
  readonly reconstruction: number
  readonly quantization: number
}

function codebooksIn(state: Readonly<Record<string, Tensor>>, { latentDim, sizes }: RqVaeShape): Codebooks {
  return codebooksOf(
    latentDim,
    sizes.map((_, level) => state[codebookName(level)]!.data as Float32Array),
  )
}

/** Layers as they stand in the state, weights turned to [out, in]. */
function layersOf(state: Readonly<Record<string, Tensor>>, part: 'encoder' | 'decoder'): NetworkLayer[] {
  const layers: NetworkLayer[] = []
  for (let layer = 0; ; layer++) {
    const weights = state[`${part}/${layer}/weights`]
    if (weights === undefined) return layers
    const [from, to] = weights.dims as [number, number]
    const turned = new Float32Array(from * to)
    for (let i = 0; i < from; i++) for (let o = 0; o < to; o++) turned[o * from + i] = weights.data[i * to + o] as number
    layers.push({ weights: turned, bias: (state[`${part}/${layer}/bias`]!.data as Float32Array).slice() })
  }
}

async function throughLayers(session: TrainingSession, x: Float32Array, from: number, to: number): Promise<Float32Array> {
  const rows = x.length / from
  const out = new Float32Array(rows * to)
  for (let start = 0; start < rows; start += runRows) {
    const end = Math.min(rows, start + runRows)
    const batch = tensor('float32', [end - start, from], x.slice(start * from, end * from))
    out.set((await session.step({ x: batch }, { transfer: true }))['y']!.data as Float32Array, start * to)
  }
  return out
}

function unusedCodes(codes: Uint16Array, level: number, sizes: readonly number[]): number {
  const used = new Set<number>()
  for (let at = level; at < codes.length; at += sizes.length) used.add(codes[at]!)
  return sizes[level]! - used.size
}

/** Squared error over squared distance from the mean; over squared norms where all rows are equal. */
function unexplainedShare(x: Float32Array, y: Float32Array, dim: number): number {
  const { variance, energy } = spreadOf(x, dim)
  let error = 0
  for (let at = 0; at < x.length; at++) error += (x[at]! - y[at]!) ** 2
  return unexplained(error, variance, energy)
}
