/**
 * Training under the protocol: the target is a train pair, its history up to 10 random other items of the user, drawn anew for
 * every pass.
 * Invariant: a row's negatives never hold an item that its user has.
 */
import { shuffle } from '../../compute/index.ts'
import type { TrainingRow } from '../../distill/index.ts'
import type { TrainingSetup } from '../training.ts'
import { modalities, modalityDim } from './protocol.ts'
import type { TikTok } from './protocol.ts'

/**
 * The product's head without its content part. Learning rate and temperature were chosen without the test pairs, on valid pairs and on a
 * tenth of the warm items hidden from training: docs/ablations.md, "How settings were chosen". The rest is the protocol's.
 */
export function tiktokSetup(tiktok: TikTok): TrainingSetup {
  const content = Array.from({ length: tiktok.items }, (_, i) => {
    const vector = (name: (typeof modalities)[number]): Float32Array =>
      tiktok.vectors[name].subarray(i * modalityDim, (i + 1) * modalityDim)
    return [String(i), { image: vector('image'), audio: vector('audio') }] as const
  })
  return {
    head: {
      modalities: modalities.map((name) => ({ name, dim: modalityDim })),
      prefixes: [32, 128],
      contentShare: 0,
    },
    statistics: modalities.map((name) => tiktok.statistics[name]),
    content: new Map(content),
    trainer: {
      sources: [{ name: 'seq2item', kind: 'sequences', maskHistory: false }],
      tau: 0.5,
      batchSize: 1024,
      historyLength: 10,
    },
    passes: 5,
    learningRate: 2e-2,
    rows: (seed, pass) => trainingRows(tiktok, seed, pass),
  }
}

/** Random streams: one per pass and user. */
const usersPerPass = 1_000_000

/**
 * One row per train pair of a user with two items or more. The history holds all other items of the user in random order: the
 * last ten are pooled, and all are kept from the negatives.
 */
export function trainingRows({ train }: Pick<TikTok, 'train'>, seed: number, pass: number): TrainingRow[] {
  const rows: TrainingRow[] = []
  for (const [user, own] of train) {
    if (own.length < 2) continue
    for (const [i, target] of own.entries()) {
      const others = Int32Array.from(own.filter((item) => item !== target))
      shuffle(others, seed * own.length + i, pass * usersPerPass + user)
      rows.push({ userId: String(user), targetId: String(target), history: Array.from(others, String) })
    }
  }
  return rows
}
