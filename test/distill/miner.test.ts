/** What is mined is what the loss of a source looks at: pooled histories, projected teachers, pairs whichever way they were told. */
import { deepStrictEqual, notDeepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { Tensor } from '../../compute/index.ts'
import {
  allowedNegatives,
  createMiner,
  createPooler,
  HeadEncoder,
  idRow,
  lambdaStarOfPairs,
  mineHardNegatives,
  pairRow,
  partnersOf,
  plainSimilarity,
  Trainer,
  usableRows,
  type ContentVectors,
  type MinerOptions,
  type MiningReport,
  type NegativesOfBatches,
  type SourceOptions,
  type SourceRows,
  type StepResult,
  type TeacherRows,
  type Trained,
  type TrainingPlan,
  type TrainingRow,
} from '../../distill/index.ts'
import { worldHead, worldItems, worldRows } from './head-world.ts'
import { plainPool } from './pooler-reference.ts'

const items = worldItems(40)
const content = (id: string): ContentVectors | undefined => items.get(id)
const [dims, prefixes] = [8, [4, 8]]
const pooler = { width: 12, layers: 2, heads: 3 }

interface Mined {
  readonly trained: Trained
  readonly batches: readonly SourceRows[]
  readonly negatives: NegativesOfBatches
}

interface Run {
  readonly steps: StepResult[]
  readonly reports: MiningReport[]
  readonly mined: Mined[]
  /** Distilled vectors as they are at the end, by item. */
  readonly vectors: ReadonlyMap<string, Float32Array>
}

/** Trains one source, with a look at what was mined. */
async function run(source: SourceOptions, rows: readonly TrainingRow[], plan: TrainingPlan, mining?: MinerOptions): Promise<Run> {
  const trainer = await Trainer.create(worldHead(items), { batchSize: 16, historyLength: 4, sources: [source], pooler })
  const [steps, reports, mined]: [StepResult[], MiningReport[], Mined[]] = [[], [], []]
  try {
    const miner = mining && createMiner({ content, trainer, teachers: plan.teachers }, mining, (report) => void reports.push(report))
    await trainer.train(rows, content, {
      ...plan,
      ...(miner && {
        mining: {
          ...miner,
          mine: async (trained, batches) => {
            const negatives = await miner.mine(trained, batches)
            mined.push({ trained, batches, negatives })
            return negatives
          },
        },
      }),
      onStep: (_, result) => void steps.push(result),
    })
    const encoder = await HeadEncoder.create(await trainer.head())
    const { distilled } = await encoder.encode([...items.values()])
    await encoder.close()
    const vectors = new Map([...items.keys()].map((id, i) => [id, distilled.subarray(i * dims, (i + 1) * dims)]))
    return { steps, reports, mined, vectors }
  } finally {
    await trainer.close()
  }
}

const numbersOf = (parameters: ReadonlyMap<string, Tensor>, name: string): number[] => Array.from(parameters.get(name)!.data, Number)

function cosine(a: ArrayLike<number>, b: ArrayLike<number>, length = dims): number {
  let [product, left, right] = [0, 0, 0]
  for (let d = 0; d < length; d++) {
    product += a[d]! * b[d]!
    left += a[d]! ** 2
    right += b[d]! ** 2
  }
  return product / Math.sqrt(left * right)
}

test('with a transformer lambda* and hard negatives are those of the vectors that it pools, not of their mean', async () => {
  const { rows } = usableRows(worldRows(60, items.size), content)
  // Trained hard, then looked at where nothing moves any more.
  const schedule = (step: number): number => (step < 60 ? 2e-2 : 0)
  const mining = { perQuery: 3, every: 60, sampleRows: 1000, poolItems: 1000 }
  const source: SourceOptions = { name: 'seq2item', kind: 'sequences', pooler: 'transformer' }
  const { mined, reports, vectors } = await run(source, rows, { schedule, steps: 64, shuffleSeed: 1 }, mining)
  const { trained, batches, negatives } = mined[1]!
  const spec = { ...createPooler({ dims, historyLength: 4, ...pooler }).spec, seed: 3 }
  const numbers = new Map([...trained.parameters.keys()].map((name) => [name, numbersOf(trained.parameters, name)]))
  const asked = batches.flatMap((batch) => batch.rows)
  const pairs = {
    queryIds: asked.map(({ userId }) => userId),
    targetIds: asked.map(({ targetId }) => targetId),
    excluded: (row: number) => asked[row]!.history,
  }
  const of = (ids: readonly string[]): Float32Array => Float32Array.from(ids.flatMap((id) => [...vectors.get(id)!]))
  const poolIds = [...new Set(pairs.targetIds)]
  const expected = async (pool: (history: number[][]) => number[]) => {
    const queries = Float32Array.from(asked.flatMap(({ history }) => pool(history.slice(-4).map((id) => [...vectors.get(id)!]))))
    const { lambda } = await lambdaStarOfPairs({ queries, targets: of(pairs.targetIds), dim: dims }, pairs, plainSimilarity)
    const found = await mineHardNegatives(
      { queries, pool: of(poolIds), dim: dims, pairs, poolIds, lambda },
      { perQuery: 3 },
      plainSimilarity,
    )
    return {
      lambda,
      hard: asked.map((_, i) => [...found.rows.subarray(i * 3, i * 3 + 3)].filter((at) => at >= 0).map((at) => poolIds[at]!)),
    }
  }
  const pooled = await expected((history) => plainPool(history, spec, numbers))
  const mean = await expected((history) => history[0]!.map((_, d) => history.reduce((sum, item) => sum + item[d]!, 0)))
  ok(Math.abs(reports[1]!.lambda.lambda - pooled.lambda) < 1e-5, `${reports[1]!.lambda.lambda}, expected ${pooled.lambda}`)
  ok(Math.abs(pooled.lambda - mean.lambda) > 1e-3, 'the transformer has learned nothing of its own')
  deepStrictEqual(
    batches.flatMap((_, at) => negatives.hard(at)),
    pooled.hard,
  )
  notDeepStrictEqual(pooled.hard, mean.hard)
})

const ids = [...items.keys()].map(idRow)
const idsSource: SourceOptions = { name: 'ids', kind: 'ids', entities: [{ name: 'item', dim: 3 }], tau: 0.2 }
const place = (id: string): number => Number(id.slice(1))
/** Item 5 has no ID embedding, item 6 one that nobody trusts. */
const teachers = (_: unknown, itemIds: readonly string[]): TeacherRows => ({
  vectors: [Float32Array.from(itemIds.flatMap((id) => [0, 1, 2].map((k) => Math.sin((place(id) + 1) * (k + 1)))))],
  presence: Float32Array.from(itemIds, (id) => (id === 'i5' ? 0 : 1)),
  weights: Float32Array.from(itemIds, (id) => (id === 'i6' ? 0 : 1)),
})

test('a source of ids leaves out teachers at or above lambda*, and takes the most similar ones below it as hard negatives', async () => {
  const mining = { perQuery: 2, every: 30, sampleRows: 1000, poolItems: 1000 }
  const schedule = (step: number): number => (step < 30 ? 1e-2 : 0)
  const { mined, reports, steps, vectors } = await run(idsSource, ids, { schedule, steps: 33, teachers, shuffleSeed: 1 }, mining)
  const { trained, batches, negatives } = mined[1]!
  const [w, b] = ['teacher.item.W', 'teacher.b'].map((name) => numbersOf(trained.parameters, name))
  const teacher = (id: string): number[] => {
    const { vectors: all } = teachers(undefined, [id])
    const length = Math.hypot(...all[0]!)
    return b!.map((shift, d) => shift + [0, 1, 2].reduce((sum, k) => sum + (all[0]![k]! / length) * w![k * dims + d]!, 0))
  }
  const { lambda, positives } = reports[1]!.lambda
  strictEqual(positives, 38)
  strictEqual(negatives.lambda('ids'), lambda)
  const trusted = batches.flatMap(({ rows }) => rows.map(({ targetId }) => targetId)).filter((id) => id !== 'i5' && id !== 'i6')
  for (const [at, { rows }] of batches.entries()) {
    for (const [i, { targetId }] of rows.entries()) {
      const hardest = trusted
        .filter((id) => id !== targetId && cosine(vectors.get(targetId)!, teacher(id)) < lambda)
        .sort((x, y) => cosine(vectors.get(targetId)!, teacher(y)) - cosine(vectors.get(targetId)!, teacher(x)))
      deepStrictEqual(negatives.hard(at)[i], hardest.slice(0, 2), targetId)
    }
  }
  // The step itself, written out.
  for (const [at, { rows }] of batches.entries()) {
    const names = rows.map(({ targetId }) => targetId)
    const taught = names.filter((id) => id !== 'i5' && id !== 'i6')
    let expected = 0
    for (const prefix of prefixes) {
      for (const id of taught) {
        const student = vectors.get(id)!
        const inBatch = names.filter((other) => other !== id && other !== 'i5' && cosine(student, teacher(other)) < lambda)
        const logits = [...inBatch, ...negatives.hard(at)[names.indexOf(id)]!].map((other) => cosine(student, teacher(other), prefix) / 0.2)
        const own = cosine(student, teacher(id), prefix) / 0.2
        expected += Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - own), 1)) / taught.length
      }
    }
    ok(Math.abs(steps[30 + at]!.loss - expected) < 1e-4, `step ${30 + at}: ${steps[30 + at]!.loss}, expected ${expected}`)
  }
  const without = await run(idsSource, ids, { schedule, steps: 33, teachers, shuffleSeed: 1 })
  notDeepStrictEqual(
    steps.map(({ loss }) => loss),
    without.steps.map(({ loss }) => loss),
  )
})

test('a source of ids that is mined without its ID embeddings is refused by name', async () => {
  await rejects(run(idsSource, ids, { schedule: () => 0 }, { every: 10 }), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /source ids needs ID embeddings/,
  })
})

const pair = (queryId: string, targetId: string): TrainingRow => pairRow({ queryId, targetId })

test('two items that are known to belong together are no negatives of each other in a batch, whichever of them asks', async () => {
  const rows = [pair('i10', 'i11'), pair('i11', 'i12'), pair('i13', 'i10')]
  const [, ...batch] = rows
  deepStrictEqual([...allowedNegatives(batch)], [1, 1, 1, 1])
  deepStrictEqual([...allowedNegatives(batch, partnersOf(rows))], [1, 0, 1, 1])
  // More partners than rows: a hub.
  const hub = Array.from({ length: 9 }, (_, i) => pair('i11', `i${20 + i}`))
  deepStrictEqual([...allowedNegatives(batch, partnersOf([...rows, ...hub]))], [1, 0, 1, 1])
  // In training: the pair that tells so stands in another batch.
  const none = { modality: 0, lateFusion: 0, cosent: 0 }
  const trainer = await Trainer.create(worldHead(items), { batchSize: 2, sources: [{ name: 'tags', kind: 'pairs', losses: none }] })
  const losses: number[] = []
  await trainer.train(rows, content, { schedule: () => 0, passes: 1, onStep: (_, { loss }) => void losses.push(loss) })
  await trainer.close()
  const { vectors } = await run({ name: 'tags', kind: 'pairs' }, rows, { schedule: () => 0, steps: 1 })
  const expected = prefixes.map((prefix) => {
    const [own, other] = ['i10', 'i12'].map((id) => cosine(vectors.get('i13')!, vectors.get(id)!, prefix) / 0.2)
    return Math.log(1 + Math.exp(other! - own!)) / 2
  })
  strictEqual(losses.length, 2)
  ok(
    Math.abs(losses.find((loss) => loss > 1e-4)! - expected[0]! - expected[1]!) < 1e-4,
    `${losses.join(' ')}, expected ${expected.join(' ')}`,
  )
})

test('hard negatives of a pair never are partners of its query, also of pairs in other batches', async () => {
  const rows = Array.from({ length: 60 }, (_, i) => pair(`i${i % 40}`, `i${(i * 7 + 3) % 40}`))
  const partners = partnersOf(rows)
  const mining = { perQuery: 4, every: 1, poolItems: 1000, maskInBatch: false }
  const { mined } = await run({ name: 'tags', kind: 'pairs' }, rows, { schedule: () => 1e-2, steps: 6, shuffleSeed: 1 }, mining)
  let others = 0
  for (const { batches, negatives } of mined) {
    const told = new Set(batches.flatMap((batch) => batch.rows.map(({ userId, targetId }) => `${userId} ${targetId}`)))
    for (const [i, { userId }] of batches[0]!.rows.entries()) {
      for (const id of negatives.hard(0)[i]!) {
        ok(!partners.get(userId)!.has(id), `${id} for ${userId}`)
        if (!told.has(`${userId} ${id}`)) others++
      }
    }
  }
  ok(others > 100)
})
