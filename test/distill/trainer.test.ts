/** Training: learns, repeats itself to the bit, goes on after a stop, and says so when it diverges. */
import { deepStrictEqual, match, notDeepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { constantAfterWarmup, type Tensor } from '../../compute/index.ts'
import {
  batchFeeds,
  buildBatch,
  contentPairs,
  decodeCheckpoint,
  encodeCheckpoint,
  Trainer,
  trainerDefaults,
  usableRows,
  type Batch,
  type Checkpoint,
  type ContentVectors,
  type Head,
  type TrainerOptions,
  type TrainingPlan,
  type TrainingRow,
} from '../../distill/index.ts'
import { modalities, worldHead, worldItems, worldRows } from './head-world.ts'

const items = worldItems(30)
const content = (id: string): ContentVectors | undefined => items.get(id)
const rows = worldRows(60, items.size)
const options: TrainerOptions = { batchSize: 16, historyLength: 4 }
const position = { trainedUntil: 0, round: 0, offsets: {}, seeds: {}, metrics: {} }
const schedule = constantAfterWarmup({ max: 1e-2, warmupSteps: 3 })

async function withTrainer<T>(
  head: Head,
  body: (trainer: Trainer) => Promise<T>,
  from?: Checkpoint,
  own: TrainerOptions = options,
): Promise<T> {
  const trainer = await Trainer.create(from?.head ?? head, own, from?.training)
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

test('training lowers the loss and moves every parameter, the same way twice', async () => {
  const head = worldHead(items)
  const run = () =>
    withTrainer(head, async (trainer) => {
      const result = await trainer.train(rows, content, { schedule, passes: 5, shuffleSeed: 1 })
      return { result, checkpoint: await trainer.checkpoint(position) }
    })
  const [first, second] = [await run(), await run()]
  ok(first.result.losses.at(-1)! < first.result.losses[0]! - 0.05, first.result.losses.join(' '))
  strictEqual(first.result.steps, 5 * Math.ceil(first.result.rows / 16))
  deepStrictEqual(second, first)
  for (const [name, { data }] of first.checkpoint.head.parameters)
    ok(
      data.some((x, i) => x !== head.parameters.get(name)!.data[i]),
      name,
    )
})

test('stopped, written, read and gone on equals never stopped, to the bit', async () => {
  const head = worldHead(items)
  const own = { ...options, tauMode: 'learned' } as const
  const plan: TrainingPlan = { schedule }
  const through = await withTrainer(
    head,
    async (trainer) => {
      await trainer.train(rows.slice(0, 30), content, plan)
      await trainer.train(rows.slice(30), content, plan)
      return trainer.checkpoint(position)
    },
    undefined,
    own,
  )
  const stopped = await withTrainer(
    head,
    async (trainer) => {
      await trainer.train(rows.slice(0, 30), content, plan)
      return encodeCheckpoint(await trainer.checkpoint(position))
    },
    undefined,
    own,
  )
  const resumed = await withTrainer(
    head,
    async (trainer) => {
      await trainer.train(rows.slice(30), content, plan)
      return trainer.checkpoint(position)
    },
    decodeCheckpoint(stopped),
    own,
  )
  deepStrictEqual(bits(resumed), bits(through))
  strictEqual(resumed.position.step, through.position.step)
  ok(bits(through)['logTau.seq2item']![0] !== Math.fround(Math.log(0.2)))
})

/** The same batch with every history place and target holding its own copy of its item. */
function expanded(batch: Batch): Batch {
  const inHistory = [...batch.pool.keys()].filter((at) => batch.pool[at]! > 0)
  const places = [...Array.from(batch.targets, Number), ...inHistory.map((at) => at % batch.items)]
  const vectors = modalities.map(({ dim }, m) =>
    Float32Array.from(places.flatMap((at) => [...batch.vectors[m]!.subarray(at * dim, (at + 1) * dim)])),
  )
  const presence = Float32Array.from(places.flatMap((at) => [...batch.presence.subarray(at * 2, at * 2 + 2)]))
  const targets = batch.targets.map((_, i) => BigInt(i))
  const pool = new Float32Array(batch.rows * places.length)
  for (const [k, at] of inHistory.entries()) pool[Math.floor(at / batch.items) * places.length + batch.rows + k] = batch.pool[at]!
  return { ...batch, items: places.length, vectors, presence, targets, pool }
}

test('encoding each distinct item once gives the weights of encoding every place', async () => {
  const head = worldHead(items)
  const usable = usableRows(rows, content).rows.slice(0, 24)
  const weights = async (shape: (batch: Batch) => Batch) =>
    withTrainer(head, async (trainer) => {
      for (let step = 0; step < 15; step++) {
        const batch = shape(buildBatch(usable, content, { modalities, historyLength: 4 }))
        await trainer.trainBatch(batch, 1e-3)
      }
      return trainer.head()
    })
  const [once, each] = [await weights((batch) => batch), await weights(expanded)]
  for (const [name, { data }] of once.parameters) {
    data.forEach((x, i) => ok(Math.abs(x - each.parameters.get(name)!.data[i]!) < 2e-5, `${name}[${i}]`))
  }
})

test('rows of weight 0 change nothing but the denominators they are masked from', async () => {
  const head = worldHead(items)
  const usable = usableRows(rows, content).rows.slice(0, 12)
  const whole = buildBatch(usable, content, { modalities, historyLength: 4 })
  const [n, kept] = [12, 8]
  const without = buildBatch(usable.slice(0, kept), content, { modalities, historyLength: 4 })
  const masked = {
    ...whole,
    weights: whole.weights.map((_, i) => (i < kept ? 1 : 0)),
    allowed: whole.allowed.map((flag, at) => (at % n >= kept && at % n !== Math.floor(at / n) ? 0 : flag)),
  }
  const losses = await Promise.all([masked, without].map((batch) => withTrainer(head, (trainer) => trainer.trainBatch(batch, 0))))
  ok(Math.abs(losses[0]!.loss - losses[1]!.loss) < 1e-5)
})

test('one user alone has no negatives: such steps move no weight, not even by what came before, and their rows are counted', async () => {
  const alone: TrainingRow[] = ['i4', 'i5', 'i6'].map((targetId) => ({ userId: 'u', targetId, history: ['i7'] }))
  await withTrainer(worldHead(items), async (trainer) => {
    const busy = await trainer.train(rows, content, { schedule })
    strictEqual(busy.sources['seq2item']!.withoutNegatives, 0)
    const before = (await trainer.head()).parameters
    const result = await trainer.train(alone, content, { schedule, passes: 2 })
    ok(Math.abs(result.losses[0]!) < 1e-5)
    deepStrictEqual([result.sources['seq2item']!.steps, result.sources['seq2item']!.withoutNegatives], [2, 6])
    deepStrictEqual((await trainer.head()).parameters, before)
    // Beside other users they are counted for themselves, and the others learn.
    const others: TrainingRow[] = [
      { userId: 'v', targetId: 'i7', history: ['i8'] },
      { userId: 'w', targetId: 'i9', history: ['i8'] },
    ]
    const mixed = await trainer.train([alone[0]!, ...others], content, { schedule })
    strictEqual(mixed.sources['seq2item']!.withoutNegatives, 0)
    const apart: TrainingRow = { userId: 'x', targetId: 'i8', history: ['i7', 'i9'] }
    const one = await trainer.train([...others, apart], content, { schedule })
    strictEqual(one.sources['seq2item']!.withoutNegatives, 1)
    notDeepStrictEqual((await trainer.head()).parameters, before)
  })
})

test('a round without usable rows makes no step', async () => {
  const result = await withTrainer(worldHead(items), (trainer) =>
    trainer.train([{ userId: 'u', targetId: 'gone', history: ['i1'] }], content, { schedule }),
  )
  deepStrictEqual(result, {
    steps: 0,
    rows: 0,
    dropped: 1,
    losses: [NaN],
    sources: { seq2item: { rows: 0, dropped: 1, steps: 0, withoutNegatives: 0, loss: NaN } },
  })
})

test('when training diverges it stops, says so, and keeps the state before the pass', async () => {
  const head = worldHead(items)
  await withTrainer(head, async (trainer) => {
    await trainer.train(rows, content, { schedule })
    const before = await trainer.checkpoint(position)
    const blowUp = trainer.train(rows, content, { schedule: (step) => (step < before.position.step + 2 ? 1e-2 : Number.MAX_VALUE) })
    await rejects(blowUp, { code: 'SIDESTREAM_TRAINING_DIVERGED' })
    const after = await trainer.checkpoint(position)
    deepStrictEqual(bits(after), bits(before))
    strictEqual(after.position.step, before.position.step)
    await rejects(trainer.train(rows, content, { schedule }), { code: 'SIDESTREAM_TRAINING_DIVERGED' })
  })
})

test('weights that the very last step breaks are said once; then the state before the stretch answers', async () => {
  await withTrainer(worldHead(items), async (trainer) => {
    await trainer.train(rows, content, { schedule })
    const before = await trainer.checkpoint(position)
    const steps = 3
    const last = before.position.step + steps - 1
    await trainer.train(rows, content, { schedule: (step) => (step < last ? 1e-2 : Number.MAX_VALUE), steps })
    await rejects(trainer.checkpoint(position), {
      code: 'SIDESTREAM_TRAINING_DIVERGED',
      message: /not finite after it.*last good state is kept/,
    })
    deepStrictEqual(bits(await trainer.checkpoint(position)), bits(before))
    deepStrictEqual((await trainer.head()).parameters, before.head.parameters)
  })
})

test('weights that the last step of a stretch breaks never become the good state', async () => {
  await withTrainer(worldHead(items), async (trainer) => {
    const start = await trainer.checkpoint(position)
    const plan = { schedule: (step: number) => (step === 1 ? Number.MAX_VALUE : 1e-2), steps: 6, keepEvery: 2 }
    await rejects(trainer.train(rows, content, plan), { code: 'SIDESTREAM_TRAINING_DIVERGED', message: /step 1: .* not finite after it/ })
    deepStrictEqual(bits(await trainer.checkpoint(position)), bits(start))
  })
})

test('a loss that runs away at rates that a file may ask for stops training; the state before it rose is kept', async () => {
  const few = worldRows(20, items.size)
  const own: TrainerOptions = { ...options, clipNorm: 1e6, tau: 0.05 }
  const settled = await withTrainer(
    worldHead(items),
    async (trainer) => {
      await trainer.train(few, content, { schedule, steps: 200 })
      return trainer.checkpoint(position)
    },
    undefined,
    own,
  )
  const run = (maxLossRise: number | null) =>
    withTrainer(
      settled.head,
      async (trainer) => {
        const schedule = (step: number): number => (step < 300 ? 1e-2 : 1)
        const error = await trainer.train(few, content, { schedule, steps: 300, keepEvery: 50 }).then(
          () => undefined,
          (thrown: Error & { code: string }) => thrown,
        )
        return { error, step: (await trainer.checkpoint(position)).position.step }
      },
      settled,
      { ...own, maxLossRise },
    )
  const { error, step } = await run(2)
  strictEqual(error?.code, 'SIDESTREAM_TRAINING_DIVERGED')
  ok(/by step 399: .* source seq2item rose from .*more than 2 times.*lower the learning rate/.test(error.message), error.message)
  strictEqual(step, 300)
  deepStrictEqual(await run(null), { error: undefined, step: 500 })
})

/** Items and, for each, the one nearest to it: a head without training knows them already. */
async function neighbors(): Promise<{ readonly all: Map<string, ContentVectors>; readonly near: readonly TrainingRow[] }> {
  const all = worldItems(200)
  return { all, near: await contentPairs(worldHead(all), [...all.keys()], (id) => all.get(id)) }
}

test('a head that is left worse at its own rows than it was, and than without training, is not kept, however short the stage', async () => {
  const { all, near } = await neighbors()
  const head = worldHead(all)
  const run = (learningRate: number, own: Partial<TrainingPlan> = {}, maxLossRise: number | null = 2) =>
    withTrainer(
      head,
      async (trainer) => {
        const plan = { schedule: () => learningRate, steps: 24, shuffleSeed: 1, keepEvery: 100, ...own }
        const error = await trainer
          .train(near, (id) => all.get(id), plan)
          .then(
            () => undefined,
            (thrown: Error & { code: string }) => thrown,
          )
        return { error, checkpoint: await trainer.checkpoint(position) }
      },
      undefined,
      { ...options, maxLossRise },
    )
  const ruined = await run(1)
  strictEqual(ruined.error?.code, 'SIDESTREAM_TRAINING_DIVERGED')
  match(ruined.error.message, /by step 23: on rows of its last 8 steps .*lower the learning rate.* state of step 0 is kept/)
  deepStrictEqual(ruined.checkpoint.head.parameters, head.parameters)
  // It is told before such a state is kept as a checkpoint.
  let kept = 0
  const early = await run(1, { keepEvery: 12, keep: async () => void kept++ })
  match(early.error!.message, /by step 11: /)
  strictEqual(kept, 0)
  for (const [rate, maxLossRise] of [
    [1e-3, 2],
    [1, null],
  ] as const) {
    const { error, checkpoint } = await run(rate, {}, maxLossRise)
    strictEqual(error, undefined)
    strictEqual(checkpoint.position.step, 24)
  }
})

test('a head that learns is kept, though it was better without the training that came before', async () => {
  const { all, near } = await neighbors()
  const content = (id: string): ContentVectors | undefined => all.get(id)
  const other = worldRows(200, all.size)
  await withTrainer(
    worldHead(all),
    async (trainer) => {
      const first = await trainer.train(near, content, { schedule: () => 0, steps: 12, shuffleSeed: 1 })
      await trainer.train(other, content, { schedule: () => 2e-2, passes: 10, shuffleSeed: 1 })
      const last = await trainer.train(near, content, { schedule: () => 1e-3, steps: 12, shuffleSeed: 1 })
      ok(last.losses.at(-1)! > first.losses.at(-1)! + 0.5, `${last.losses.at(-1)} after ${first.losses.at(-1)}`)
    },
    undefined,
    options,
  )
})

test('training state of another head is refused', async () => {
  const checkpoint = await withTrainer(worldHead(items), (trainer) => trainer.checkpoint(position))
  await rejects(Trainer.create(worldHead(items, { hidden: 5 }), options, checkpoint.training!), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('the feeds of a batch are its own arrays and one learning rate', () => {
  const batch = buildBatch(usableRows(rows, content).rows.slice(0, 4), content, { modalities, historyLength: 4 })
  const feeds = batchFeeds(batch, worldHead(items), { kind: 'sequences', scored: false, entities: [] }, 0.5)
  strictEqual(feeds['allowed']!.data, batch.allowed)
  strictEqual(feeds['learningRate']!.data[0], 0.5)
  strictEqual(trainerDefaults.tau, 0.2)
})
