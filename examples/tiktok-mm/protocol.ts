/**
 * The tiktok-mm protocol: pairs of users and items without any time, image and audio vectors of 128 dims each; recall@20 and
 * AUC of held-out pairs. Loads the files, fixes what is ranked against what, and holds the reference figures.
 * Invariant: statistics, training and users see train pairs alone; valid pairs choose settings, test pairs are scored once.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'csv-parse/sync'
import { halfWhiten, modalityStatistics, openSimilarity } from '../../distill/index.ts'
import type { ModalityStatistics, VectorSet } from '../../distill/index.ts'
import { normalizeRows } from '../../compute/index.ts'
import { readFloats } from '../read-floats.ts'

export const modalities = ['image', 'audio'] as const
export type ModalityName = (typeof modalities)[number]

/** Dims of each modality. */
export const modalityDim = 128

export interface TikTok {
  readonly items: number
  /** Items of each user, without repetition, in the order of the file. */
  readonly train: ReadonlyMap<number, readonly number[]>
  readonly valid: ReadonlyMap<number, readonly number[]>
  readonly test: ReadonlyMap<number, readonly number[]>
  /** Raw vectors, row-major float32 [items, 128]; row = item number. */
  readonly vectors: Readonly<Record<ModalityName, Float32Array>>
  /** Train pairs of each item, shape [items]; an item with none is cold. */
  readonly counts: Int32Array
  /** Statistics over warm items. */
  readonly statistics: Readonly<Record<ModalityName, ModalityStatistics>>
}

/** Reads `train.csv`, `valid.csv`, `test.csv`, `image128.f32` and `audio128.f32`. */
export async function loadTikTok(dir: string): Promise<TikTok> {
  const [train, valid, test] = await Promise.all(['train.csv', 'valid.csv', 'test.csv'].map((name) => readPairs(join(dir, name))))
  const [image, audio] = await Promise.all(modalities.map((name) => readFloats(join(dir, `${name}${modalityDim}.f32`))))
  const vectors = { image: image!, audio: audio! }
  const items = image!.length / modalityDim
  const counts = new Int32Array(items)
  for (const own of train!.values()) for (const item of own) counts[item]!++
  const statisticsOf = (name: ModalityName): ModalityStatistics => {
    const warm = vectors[name].filter((_, at) => counts[Math.floor(at / modalityDim)]! > 0)
    return modalityStatistics({ name, dim: modalityDim }, warm)
  }
  const statistics = { image: statisticsOf('image'), audio: statisticsOf('audio') }
  return { items, train: train!, valid: valid!, test: test!, vectors, counts, statistics }
}

async function readPairs(file: string): Promise<Map<number, number[]>> {
  const rows = parse(await readFile(file), { columns: false, from_line: 2 }) as string[][]
  const items = new Map<number, number[]>()
  for (const [user, item] of rows) {
    const own = items.get(Number(user))
    if (own === undefined) items.set(Number(user), [Number(item)])
    else own.push(Number(item))
  }
  return items
}

/** Vectors of a modality minus their mean over warm items. */
export function centered({ vectors, statistics }: TikTok, name: ModalityName): Float32Array {
  const { mean } = statistics[name]
  return vectors[name].map((x, at) => x - mean[at % modalityDim]!)
}

/** On PCA axes of warm items, divided by sd^.5, unit length: what the head reads. */
export function halfWhitened({ vectors, statistics }: TikTok, name: ModalityName): Float32Array {
  return halfWhiten(statistics[name], vectors[name])
}

/** On PCA axes of warm items, divided by sd, unit length: the whitening of the reference's untrained row. */
export function fullyWhitened({ vectors, statistics }: TikTok, name: ModalityName): Float32Array {
  const { sd, ...modality } = statistics[name]
  return halfWhiten({ ...modality, sd: sd.map((x) => x * x) }, vectors[name])
}

/** Modalities side by side, each brought to unit length. */
export function sideBySide(parts: readonly Float32Array[]): VectorSet {
  const dim = parts.length * modalityDim
  const vectors = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  for (const [p, part] of parts.entries()) {
    const units = part.slice()
    normalizeRows(units, modalityDim)
    for (let at = 0; at < units.length; at += modalityDim) {
      vectors.set(units.subarray(at, at + modalityDim), Math.floor(at / modalityDim) * dim + p * modalityDim)
    }
  }
  return { vectors, dim }
}

/** What is measured on the held-out pairs. */
export interface TikTokScores {
  /** Share of a user's held-out items among the first 20, mean over users. */
  readonly recall20: number
  /** Held-out pair against every item that the user never has, weighted by train pairs, mean over pairs. */
  readonly pop: number
  /** The same over pairs whose item is cold; NaN without one. */
  readonly popCold: number
}

/** Score of every item for a user, shape [items]; written over. */
export type ScoreUser = (user: number) => Float32Array

/** Users that are scored at once. */
const block = 128

/** Scores held-out pairs by the cosine of an item with its user, the mean of the user's train items as unit vectors. */
export async function evaluateTikTok(tiktok: TikTok, { vectors, dim }: VectorSet, held: 'valid' | 'test'): Promise<TikTokScores> {
  const units = vectors.slice()
  normalizeRows(units, dim)
  const users = [...tiktok[held].keys()]
  const tally = new Tally(tiktok, held)
  const { similarity, close } = await openSimilarity(units, dim, block)
  try {
    for (let first = 0; first < users.length; first += block) {
      const some = users.slice(first, first + block)
      const queries = new Float32Array(some.length * dim)
      for (const [q, user] of some.entries()) {
        for (const item of tiktok.train.get(user) ?? []) for (let d = 0; d < dim; d++) queries[q * dim + d]! += units[item * dim + d]!
      }
      normalizeRows(queries, dim)
      const scores = await similarity(queries, some.length)
      some.forEach((user, q) => tally.add(user, scores.subarray(q * tiktok.items, (q + 1) * tiktok.items)))
    }
  } finally {
    await close()
  }
  return tally.result()
}

/** The same figures when items are ranked by their train pairs: what anything learned has to be seen beside. */
export function evaluatePopularity(tiktok: TikTok, held: 'valid' | 'test'): TikTokScores {
  const tally = new Tally(tiktok, held)
  for (const user of tiktok[held].keys()) tally.add(user, Float32Array.from(tiktok.counts))
  return tally.result()
}

class Tally {
  readonly #tiktok: TikTok
  readonly #held: 'valid' | 'test'
  readonly #recalls: number[] = []
  readonly #warm: number[] = []
  readonly #cold: number[] = []

  constructor(tiktok: TikTok, held: 'valid' | 'test') {
    this.#tiktok = tiktok
    this.#held = held
  }

  /** @param scores - of every item, shape [items]; written over */
  add(user: number, scores: Float32Array): void {
    const { train, valid, test, counts } = this.#tiktok
    const wanted = this.#tiktok[this.#held].get(user)!
    const wantedScores = wanted.map((item) => scores[item]!)
    // Valid items are ranked when they are what is asked for; test items are never known.
    for (const item of train.get(user) ?? []) scores[item] = NaN
    if (this.#held === 'test') for (const item of valid.get(user) ?? []) scores[item] = NaN
    const found = wanted.filter((item, i) => rankOf(item, wantedScores[i]!, scores) < 20)
    this.#recalls.push(found.length / wanted.length)
    for (const own of [train, valid, test]) for (const item of own.get(user) ?? []) scores[item] = NaN
    for (const [i, item] of wanted.entries()) {
      const area = popularityAuc(wantedScores[i]!, scores, counts)
      ;(counts[item] === 0 ? this.#cold : this.#warm).push(area)
    }
  }

  result(): TikTokScores {
    const mean = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length
    return { recall20: mean(this.#recalls), pop: mean([...this.#warm, ...this.#cold]), popCold: mean(this.#cold) }
  }
}

/** Rank from 0; equal scores go by item number. NaN is not ranked. */
function rankOf(item: number, score: number, scores: Float32Array): number {
  let above = 0
  for (let other = 0; other < scores.length; other++) {
    if (scores[other]! > score || (scores[other] === score && other < item)) above++
  }
  return above
}

/** Chance that a draw by train pairs scores lower, ties one half. */
function popularityAuc(score: number, scores: Float32Array, counts: Int32Array): number {
  let weight = 0
  let below = 0
  for (let other = 0; other < scores.length; other++) {
    const theirs = scores[other]!
    if (Number.isNaN(theirs)) continue
    weight += counts[other]!
    if (theirs < score) below += counts[other]!
    else if (theirs === score) below += counts[other]! / 2
  }
  return below / weight
}

export const columns = ['recall20', 'pop', 'popCold'] as const satisfies readonly (keyof TikTokScores)[]
export type Column = (typeof columns)[number]

/** What an independent implementation measured under the same protocol. By popularity alone it had .0596, .418 and 0. */
export const reference = {
  image: [0.0175, 0.57, 0.558],
  imageCentered: [0.0201, 0.594, 0.643],
  audio: [0.0106, 0.538, 0.526],
  audioCentered: [0.0101, 0.54, 0.548],
  concatenated: [0.0188, 0.568, 0.603],
  fullyWhitened: [0.0253, 0.575, 0.623],
  linearGate: [0.0347, 0.646, 0.674],
  linear: [0.0393, 0.65, 0.672],
  reach: [0.0504, 0.669, 0.661],
} as const

/** How far a figure may be from the reference. */
export function tolerance(column: Column): number {
  return column === 'recall20' ? 0.003 : 0.006
}
