/** Several sources train one head: one source a step, each with its temperature; stopped and gone on, to the bit. */
import { deepStrictEqual, ok, rejects, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { constantAfterWarmup, type Tensor } from '../../compute/index.ts'
import {
  decodeCheckpoint,
  encodeCheckpoint,
  idRow,
  pairRow,
  stepOrder,
  stepsPerPass,
  Trainer,
  trainingSources,
  type Checkpoint,
  type ContentVectors,
  type NegativesOfBatches,
  type SourceRows,
  type StepResult,
  type TeacherRows,
  type TrainerOptions,
  type TrainingPlan,
  type TrainingRow,
} from '../../distill/index.ts'
import { worldHead, worldItems, worldRows } from './head-world.ts'

const items = worldItems(40)
const content = (id: string): ContentVectors | undefined => items.get(id)
const sequences = worldRows(70, items.size)
const pairs = Array.from({ length: 50 }, (_, i) => pairRow({ queryId: `i${i % 40}`, targetId: `i${(i * 7 + 3) % 40}` }))
const options: TrainerOptions = {
  batchSize: 16,
  historyLength: 4,
  sources: [
    { name: 'seq2item', kind: 'sequences' },
    { name: 'tags', kind: 'pairs', tau: 0.1, tauMode: 'learned' },
  ],
}
const position = { trainedUntil: 0, round: 0, offsets: {}, seeds: {}, metrics: {} }
const schedule = constantAfterWarmup({ max: 5e-3, warmupSteps: 2 })

async function withTrainer<T>(body: (trainer: Trainer) => Promise<T>, from?: Checkpoint): Promise<T> {
  const trainer = await Trainer.create(from?.head ?? worldHead(items), options, from?.training)
  try {
    return await body(trainer)
  } finally {
    await trainer.close()
  }
}

function bits(checkpoint: Checkpoint): Record<string, Tensor['data']> {
  const all = [...checkpoint.head.parameters, ...(checkpoint.training?.tensors ?? [])]
  return Object.fromEntries(all.map(([name, { data }]) => [name, data]))
}

const plan: TrainingPlan = { schedule, passes: 2, shuffleSeed: 4 }

test('each step is of one source, and a pass takes every batch of every source once, mixed', async () => {
  const steps: StepResult[] = []
  const result = await withTrainer((trainer) =>
    trainer.train({ seq2item: sequences, tags: pairs }, content, { ...plan, onStep: (_, step) => void steps.push(step) }),
  )
  const perPass = Math.ceil(result.sources['seq2item']!.rows / 16) + Math.ceil(50 / 16)
  strictEqual(result.steps, 2 * perPass)
  const names = steps.map(({ source }) => source)
  for (const half of [names.slice(0, perPass), names.slice(perPass)]) strictEqual(half.filter((name) => name === 'tags').length, 4)
  ok(names.indexOf('tags') < names.lastIndexOf('seq2item') && names.indexOf('seq2item') < names.lastIndexOf('tags'), names.join(' '))
  strictEqual(result.sources['tags']!.steps, 8)
  ok(steps.filter(({ source }) => source === 'seq2item').every(({ tau }) => Math.abs(tau - 0.2) < 1e-6))
  ok(Math.abs(steps.findLast(({ source }) => source === 'tags')!.tau - 0.1) > 1e-5)
})

test('a plan that was stopped goes on at its step and ends with the same bits', async () => {
  const rows = { seq2item: sequences, tags: pairs }
  const through = await withTrainer(async (trainer) => {
    await trainer.train(rows, content, plan)
    return trainer.checkpoint(position)
  })
  const stopped = await withTrainer(async (trainer) => {
    await trainer.train(rows, content, { ...plan, shouldStop: () => trainer.step === 7 })
    return encodeCheckpoint(await trainer.checkpoint(position))
  })
  const resumed = await withTrainer(async (trainer) => {
    strictEqual(trainer.step, 7)
    await trainer.train(rows, content, { ...plan, skip: 7 })
    return trainer.checkpoint(position)
  }, decodeCheckpoint(stopped))
  deepStrictEqual(bits(resumed), bits(through))
})

test('sources are drawn as the plan says', async () => {
  const drawn: string[] = []
  const onStep = (_: number, { source }: StepResult): void => void drawn.push(source)
  const draw = (step: number, sources: readonly SourceRows[]): number => (step % 3 === 0 ? 0 : sources.length - 1)
  await withTrainer((trainer) => trainer.train({ seq2item: sequences, tags: pairs }, content, { ...plan, steps: 6, draw, onStep }))
  deepStrictEqual(drawn, ['seq2item', 'tags', 'tags', 'seq2item', 'tags', 'tags'])
})

test('pairs with scores train by CoSENT too, and inside each modality, also where one is missing', async () => {
  const scored = pairs.map((row, i) => ({ ...row, score: i % 3 }))
  const steps: StepResult[] = []
  const trainer = await Trainer.create(worldHead(items), { ...options, sources: [{ name: 'graded', kind: 'pairs', scored: true }] })
  try {
    await trainer.train(scored, content, { ...plan, passes: 8, onStep: (_, step) => void steps.push(step) })
  } finally {
    await trainer.close()
  }
  deepStrictEqual(Object.keys(steps[0]!.terms).sort(), ['cosent', 'lateFusion', 'modality', 'nce'])
  const total = ({ terms: { nce, cosent, modality, lateFusion } }: StepResult): number =>
    nce! + 0.5 * cosent! + 0.2 * modality! + 0.2 * lateFusion!
  for (const step of steps) ok(Math.abs(total(step) - step.loss) < 1e-4 * step.loss)
  const mean = (part: readonly StepResult[], term: string): number => part.reduce((sum, { terms }) => sum + terms[term]!, 0) / part.length
  for (const term of ['nce', 'cosent', 'modality', 'lateFusion']) ok(mean(steps.slice(-4), term) < mean(steps.slice(0, 4), term), term)
})

test('ID embeddings teach the head where items belong: taught items that share a teacher come closer', async () => {
  const ids = [...items.keys()]
  const group = (id: string): number => Number(id.slice(1)) % 4
  const teachers = (_: unknown, itemIds: readonly string[]): TeacherRows => ({
    vectors: [Float32Array.from(itemIds.flatMap((id) => [0, 1, 2, 3].map((k) => (k === group(id) ? 1 : 0.1))))],
    presence: new Float32Array(itemIds.length).fill(1),
    weights: new Float32Array(itemIds.length).fill(1),
  })
  const own: TrainerOptions = {
    ...options,
    batchSize: 10,
    sources: [{ name: 'ids', kind: 'ids', entities: [{ name: 'item', dim: 4 }], tau: 0.5 }],
  }
  const trainer = await Trainer.create(worldHead(items), own)
  try {
    const result = await trainer.train({ ids: ids.map(idRow) }, content, { schedule: () => 1e-2, passes: 60, shuffleSeed: 2, teachers })
    ok(result.losses.at(-1)! < result.losses[0]! - 0.5, `${result.losses[0]} to ${result.losses.at(-1)}`)
    ok([...(await trainer.checkpoint(position)).training!.tensors.keys()].includes('teacher.item.W'))
    await rejects(trainer.train({ ids: ids.map(idRow) }, content, plan), {
      code: 'SIDESTREAM_USAGE_INVALID',
      message: /needs ID embeddings/,
    })
  } finally {
    await trainer.close()
  }
})

test('a transformer that pools histories starts from the mean and lowers the loss further', async () => {
  const losses = async (pooler: 'mean' | 'transformer'): Promise<readonly number[]> => {
    const trainer = await Trainer.create(worldHead(items), { ...options, sources: [{ name: 'seq2item', kind: 'sequences', pooler }] })
    try {
      const steps: number[] = []
      const onStep = (_: number, { loss }: StepResult): void => void steps.push(loss)
      await trainer.train(sequences, content, { ...plan, passes: 12, onStep })
      return steps
    } finally {
      await trainer.close()
    }
  }
  const [mean, transformer] = [await losses('mean'), await losses('transformer')]
  ok(Math.abs(mean[0]! - transformer[0]!) < 1e-5)
  ok(transformer.at(-1)! < mean.at(-1)!, `${transformer.at(-1)} against ${mean.at(-1)}`)
})

test('a pooler of another shape than the checkpoint holds is refused, and one of the same shape goes on', async () => {
  const shape = { layers: 2, width: 12, heads: 3 }
  const pooled: TrainerOptions = { ...options, pooler: shape, sources: [{ name: 'seq2item', kind: 'sequences', pooler: 'transformer' }] }
  const first = await Trainer.create(worldHead(items), pooled)
  await first.train(sequences, content, { ...plan, steps: 2 })
  const { head, training } = await first.checkpoint(position)
  await first.close()
  for (const changed of [{ layers: 1 }, { layers: 3 }, { width: 6 }, { width: null, heads: 4 }, { heads: 4 }]) {
    await rejects(Trainer.create(head, { ...pooled, pooler: { ...shape, ...changed } }, training), {
      code: 'SIDESTREAM_SHAPE_MISMATCH',
      message: /width 12, layers 2, heads 3, and width .* is asked for: set `training\.pooler` back/,
    })
  }
  const again = await Trainer.create(head, pooled, training)
  strictEqual(again.step, 2)
  await again.close()
  await rejects(Trainer.create(head, { ...pooled, pooler: { ...shape, heads: 5 } }), { message: /width 12 must be a multiple of 5 heads/ })
})

test('a pooler or a learned temperature that was turned on since the checkpoint begins at its start', async () => {
  const plainly: TrainerOptions = { ...options, sources: [{ name: 'seq2item', kind: 'sequences' }] }
  const first = await Trainer.create(worldHead(items), plainly)
  await first.train(sequences, content, { ...plan, steps: 3 })
  const { head, training } = await first.checkpoint(position)
  const stepAfter = async (trainer: Trainer): Promise<number> => {
    let loss = NaN
    await trainer.train(sequences, content, { ...plan, steps: 4, skip: 3, onStep: (_, result) => void (loss = result.loss) })
    return loss
  }
  const expected = await stepAfter(first)
  await first.close()
  const later = await Trainer.create(
    head,
    { ...options, sources: [{ name: 'seq2item', kind: 'sequences', pooler: 'transformer', tauMode: 'learned' }] },
    training,
  )
  strictEqual(later.step, 3)
  ok(Math.abs((await stepAfter(later)) - expected) < 1e-5 * expected, 'it pools as the mean did')
  await later.close()
  const withoutMoments = new Map([...training!.tensors].filter(([name]) => !name.startsWith('optimizer/m/')))
  await rejects(Trainer.create(head, plainly, { ...training!, tensors: withoutMoments }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('weights of prefixes that are not one for each are refused', async () => {
  for (const prefixWeights of [[1], [1, -1], [0, 0], [1, NaN]])
    await rejects(Trainer.create(worldHead(items), { ...options, prefixWeights }), {
      code: 'SIDESTREAM_USAGE_INVALID',
      message: /one number from 0 on for each of the prefixes 4, 8/,
    })
})

test('a source that dried up takes no step, and the others go on', async () => {
  const result = await withTrainer((trainer) => trainer.train({ seq2item: sequences, tags: [] }, content, plan))
  deepStrictEqual(result.sources['tags'], { rows: 0, dropped: 0, steps: 0, withoutNegatives: 0, loss: NaN })
  ok(result.sources['seq2item']!.steps > 0)
})

test('hard negatives are mined with the head as it is, again after every stretch, and raise the loss of a batch', async () => {
  const mined: number[][] = []
  const after = (id: string, by: number): string => `i${(Number(id.slice(1)) + by) % 40}`
  const losses = async (hardNegatives: number): Promise<number[]> => {
    const seen: number[] = []
    await withTrainer((trainer) =>
      trainer.train({ seq2item: sequences }, content, {
        schedule: () => 0,
        steps: 5,
        mining: {
          hardNegatives,
          maskInBatch: false,
          every: 2,
          mine: async (_, batches) => {
            mined.push([trainer.step, batches.length])
            return {
              lambda: () => Infinity,
              hard: (at) => batches[at]!.rows.map(({ targetId }) => [after(targetId, 1), after(targetId, 2)]),
            }
          },
        },
        onStep: (_, { loss }) => void seen.push(loss),
      }),
    )
    return seen
  }
  const [without, with2] = [await losses(0), await losses(2)]
  const stretches = [0, 2, 4].map((step) => [step, step === 4 ? 1 : 2])
  deepStrictEqual(mined, [...stretches, ...stretches])
  ok(
    with2.every((loss, i) => loss > without[i]!),
    `${with2.join(' ')} against ${without.join(' ')}`,
  )
})

test('an in-batch negative at or above lambda* is left out', async () => {
  const loss = async (lambda: number): Promise<number> => {
    let seen = NaN
    const mine = async (): Promise<NegativesOfBatches> => ({ lambda: () => lambda, hard: () => [] })
    await withTrainer((trainer) =>
      trainer.train({ seq2item: sequences }, content, {
        schedule: () => 0,
        steps: 1,
        mining: { hardNegatives: 0, maskInBatch: true, every: 10, mine },
        onStep: (_, result) => void (seen = result.loss),
      }),
    )
    return seen
  }
  ok((await loss(0.2)) < (await loss(2)))
  ok(Math.abs(await loss(-2)) < 1e-5, 'nothing is left but the positive')
})

test('rows of a source the trainer was not told of are refused by name', async () => {
  await withTrainer((trainer) =>
    rejects(trainer.train({ other: sequences }, content, plan), { code: 'SIDESTREAM_USAGE_INVALID', message: /other.*seq2item, tags/ }),
  )
})

test('sources that cannot be are refused, and say why', () => {
  const defaults = { tau: 0.2, tauMode: 'fixed' } as const
  const refused = (sources: Parameters<typeof trainingSources>[0], message: RegExp): void =>
    throws(() => trainingSources(sources, defaults), { code: 'SIDESTREAM_USAGE_INVALID', message })
  refused([], /at least one source/)
  refused([{ name: 'a b', kind: 'pairs' }], /source name "a b"/)
  refused([{ name: 'ids', kind: 'ids' }], /at least one kind/)
  refused([{ name: 's', kind: 'sequences', scored: true }], /only pairs have scores/)
  refused([{ name: 's', kind: 'pairs', tau: 0 }], /tau of source s/)
  refused(
    [
      { name: 's', kind: 'pairs' },
      { name: 's', kind: 'sequences' },
    ],
    /two sources are named s/,
  )
  strictEqual(trainingSources([{ name: 'ids', kind: 'ids', entities: [{ name: 'item', dim: 4 }] }], defaults)[0]!.tau, 0.1)
})

test('the order of steps depends on rows and seed alone, and every row stands in a pass once', () => {
  const sources: SourceRows[] = [
    { source: 'a', rows: sequences },
    { source: 'b', rows: pairs },
  ]
  const take = (seed: number, count: number): { at: number; rows: readonly TrainingRow[] }[] => {
    const order = stepOrder(sources, { batchSize: 16, shuffleSeed: seed, mixSeed: seed, mixStream: 0 })
    return Array.from({ length: count }, () => order.next().value!())
  }
  const perPass = stepsPerPass(sources, 16)
  const pass = take(1, perPass)
  deepStrictEqual(take(1, perPass), pass)
  const seen = pass.flatMap(({ rows }) => rows)
  strictEqual(seen.length, sequences.length + pairs.length)
  strictEqual(new Set(seen).size, seen.length)
  ok(take(2, perPass).some(({ at }, i) => at !== pass[i]!.at))
})
