/** The arms of `eval.ts`: what is compared on the tiktok-mm test pairs. */
import type { VectorSet } from '../../distill/index.ts'
import { contentPart, linearOnly, type Ablation } from '../ablations.ts'
import { trainVectors, type TrainingSetup } from '../training.ts'
import { centered, fullyWhitened, halfWhitened, modalities, modalityDim, reference, sideBySide } from './protocol.ts'
import type { TikTok } from './protocol.ts'
import { tiktokSetup } from './setup.ts'

/** One way to make item vectors, and what it should measure. */
export interface Arm {
  readonly name: string
  readonly reference?: readonly number[]
  /** Whether the command fails when it stays below its reference; the other rows are there for comparison. */
  readonly toReach?: true
  /** Seeds to train with; one run when nothing is trained. */
  readonly seeds: readonly number[]
  /** Vectors of all items by item number. */
  vectors(tiktok: TikTok, seed: number): Promise<VectorSet> | VectorSet
}

const untrained = (name: string, vectors: Arm['vectors'], figures?: readonly number[]): Arm => ({
  name,
  ...(figures ? { reference: figures } : {}),
  seeds: [0],
  vectors,
})

/** A content part of all dims with this share. */
export const contentBeside = (contentShare: number): Ablation =>
  contentPart(`+ a content part of all 256 dims, share ${contentShare}`, { contentDims: modalities.length * modalityDim, contentShare })

/** As the reference trained it: at a rate of 1e-3 and a temperature of .1. */
function asReference(setup: TrainingSetup): TrainingSetup {
  return { ...linearOnly(setup), learningRate: 1e-3, trainer: { ...setup.trainer, tau: 0.1 } }
}

/** Both modalities as one, half-whitened beforehand; nothing more is done to them. */
export function concatenated(tiktok: TikTok): TrainingSetup {
  const { vectors, dim } = sideBySide(modalities.map((name) => halfWhitened(tiktok, name)))
  const axes = new Float32Array(dim * dim)
  for (let i = 0; i < dim; i++) axes[i * dim + i] = 1
  const setup = tiktokSetup(tiktok)
  return {
    ...setup,
    head: { ...setup.head, modalities: [{ name: 'both', dim }] },
    statistics: [{ name: 'both', dim, rows: tiktok.items, mean: new Float32Array(dim), axes, sd: new Float32Array(dim).fill(1) }],
    content: new Map(Array.from({ length: tiktok.items }, (_, i) => [String(i), { both: vectors.subarray(i * dim, (i + 1) * dim) }])),
  }
}

export const arms: readonly Arm[] = [
  untrained('image, raw', ({ vectors }) => ({ vectors: vectors.image, dim: modalityDim }), reference.image),
  untrained('image, centered', (tiktok) => ({ vectors: centered(tiktok, 'image'), dim: modalityDim }), reference.imageCentered),
  untrained('audio, raw', ({ vectors }) => ({ vectors: vectors.audio, dim: modalityDim }), reference.audio),
  untrained('audio, centered', (tiktok) => ({ vectors: centered(tiktok, 'audio'), dim: modalityDim }), reference.audioCentered),
  untrained(
    'side by side, centered (baseline)',
    (tiktok) => sideBySide(modalities.map((name) => centered(tiktok, name))),
    reference.concatenated,
  ),
  untrained(
    'side by side, whitened',
    (tiktok) => sideBySide(modalities.map((name) => fullyWhitened(tiktok, name))),
    reference.fullyWhitened,
  ),
  untrained('side by side, half-whitened', (tiktok) => sideBySide(modalities.map((name) => halfWhitened(tiktok, name)))),
  {
    name: 'linear map of both side by side',
    reference: reference.linear,
    seeds: [0],
    vectors: (tiktok, seed) => trainVectors(asReference(concatenated(tiktok)), seed),
  },
  {
    name: 'gate over linear projections',
    reference: reference.linearGate,
    seeds: [0],
    vectors: (tiktok, seed) => trainVectors(asReference(tiktokSetup(tiktok)), seed),
  },
  {
    name: 'gate over linear projections with a GELU branch (reach)',
    reference: reference.reach,
    toReach: true,
    seeds: [0, 1, 2],
    vectors: (tiktok, seed) => trainVectors(tiktokSetup(tiktok), seed),
  },
]
