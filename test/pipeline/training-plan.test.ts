/** What the groups `training.sources` and `training.stages` ask of the trainer. */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { configuredTraining } from '../../pipeline/index.ts'
import { checkConfig } from '../../schemas/index.ts'

const stagesOf = (training: object) =>
  checkConfig({ content: { modalities: { text: { dim: 8 } } }, interactions: { positiveBehaviors: ['click'] }, training })

test('a configuration without sources and stages trains one source in one stage, with the rates of `training`', () => {
  const { sources, start, round } = configuredTraining(stagesOf({ epochs: 4, learningRate: 0.003 }), 'files')
  deepStrictEqual(sources, [
    { name: 'seq2item', kind: 'sequences', tauMode: 'fixed', modalityDropout: 0, pooler: 'mean', maskHistory: true },
  ])
  deepStrictEqual(start, [])
  deepStrictEqual(round, [
    {
      name: 'collaboration',
      sources: ['seq2item'],
      balance: { by: 'rows' },
      passes: 4,
      learningRate: 0.003,
      schedule: 'one-cycle',
      dropFarthest: 0,
    },
  ])
  const [inRounds] = configuredTraining(stagesOf({ epochs: 4 }), 'rounds').round
  deepStrictEqual([inRounds?.passes, inRounds?.schedule], [1, 'constant'])
})

test('sources and stages become the options that were asked for, and ID embeddings that nobody sent teach nothing', () => {
  const training = {
    sources: {
      seq2item: { pooler: 'transformer', maskHistory: false, modalityDropout: 0.1 },
      tags: { kind: 'pairs', scored: true, temperature: 0.07, learnTemperature: true, losses: { modality: 0 } },
      ids: { kind: 'ids', entities: ['item', 'author'] },
      brands: { kind: 'ids', entities: ['brand'] },
    },
    teachers: { item: {}, author: { by: 'author' }, brand: { by: 'label', labelPrefix: 'brand:' } },
    stages: [
      { name: 'base', when: 'start', sources: ['tags'], balance: 'tasks', balanceTemperature: 1, steps: 40, schedule: 'cosine' },
      { name: 'refined', when: 'start', sources: ['tags'], hardNegatives: 4, maskInBatch: true, mineEvery: 20, dropFarthest: 0.1 },
      { name: 'both', balance: 'shares', shares: { seq2item: 11, tags: 1 }, learningRate: 1e-4 },
    ],
  }
  const { sources, start, round } = configuredTraining(stagesOf(training), 'rounds', new Map([['item', 3]]))
  deepStrictEqual(sources, [
    { name: 'seq2item', kind: 'sequences', tauMode: 'fixed', modalityDropout: 0.1, pooler: 'transformer', maskHistory: false },
    {
      name: 'tags',
      kind: 'pairs',
      tauMode: 'learned',
      tau: 0.07,
      modalityDropout: 0,
      losses: { cosent: 0.5, modality: 0, lateFusion: 0.2, patterns: 0.2 },
      scored: true,
      positiveFrom: null,
      cosentTau: 0.05,
      patterns: [],
    },
    { name: 'ids', kind: 'ids', tauMode: 'fixed', modalityDropout: 0, entities: [{ name: 'item', dim: 3 }] },
  ])
  deepStrictEqual(start[0]?.balance, {
    by: 'tasks',
    temperature: 1,
    vectors: 10_000,
    clusters: 64,
    epsilon: 0.05,
    maxIterations: 2000,
    tolerance: 1e-6,
    floor: 0.02,
  })
  deepStrictEqual([start[0]?.steps, start[0]?.passes, start[0]?.mining], [40, undefined, undefined])
  deepStrictEqual(start[1]?.mining, { perQuery: 4, maskInBatch: true, every: 20, sampleRows: 2048, poolItems: 2048 })
  deepStrictEqual([start[1]?.dropFarthest, start[1]?.schedule], [0.1, 'one-cycle'])
  deepStrictEqual(round[0]?.balance, { by: 'shares', shares: { seq2item: 11, tags: 1 } })
  deepStrictEqual(round[0]?.sources, ['seq2item', 'tags', 'ids'])
  strictEqual(round.length, 1)
})
