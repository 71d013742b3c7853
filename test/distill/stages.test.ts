/** Training in stages: each with its own sources, rates and negatives; stopped where it is kept, it ends with the same bits. */
import { deepStrictEqual, notDeepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { optimizerPrefix, type Tensor } from '../../compute/index.ts'
import {
  contentPairs,
  decodeCheckpoint,
  encodeCheckpoint,
  idRow,
  pairRow,
  runStages,
  Trainer,
  type Checkpoint,
  type CheckpointParts,
  type ContentVectors,
  type MiningReport,
  type SourceBalance,
  type StageOptions,
  type StagePosition,
  type StagesInput,
  type TeacherRows,
  type TrainerOptions,
} from '../../distill/index.ts'
import { worldHead, worldItems, worldRows } from './head-world.ts'

const items = worldItems(40)
const content = (id: string): ContentVectors | undefined => items.get(id)
const rows = {
  seq2item: worldRows(60, items.size),
  tags: Array.from({ length: 50 }, (_, i) => pairRow({ queryId: `i${i % 40}`, targetId: `i${(i * 7 + 3) % 40}` })),
  ids: [...items.keys()].map(idRow),
}
const teachers = (_: unknown, itemIds: readonly string[]): TeacherRows => ({
  vectors: [Float32Array.from(itemIds.flatMap((id) => [0, 1, 2].map((k) => (Number(id.slice(1)) % 3 === k ? 1 : 0))))],
  presence: new Float32Array(itemIds.length).fill(1),
  weights: new Float32Array(itemIds.length).fill(1),
})
const options: TrainerOptions = {
  batchSize: 16,
  historyLength: 4,
  sources: [
    { name: 'seq2item', kind: 'sequences' },
    { name: 'tags', kind: 'pairs', tauMode: 'learned' },
    { name: 'ids', kind: 'ids', entities: [{ name: 'item', dim: 3 }] },
  ],
}
const stages: StageOptions[] = [
  { name: 'content', sources: ['tags'], passes: 2, learningRate: 5e-3 },
  {
    name: 'refined',
    sources: ['tags', 'seq2item'],
    steps: 9,
    learningRate: 2e-3,
    balance: { by: 'shares', shares: { tags: 1, seq2item: 3 } },
    mining: { perQuery: 2, every: 3, sampleRows: 30, poolItems: 20 },
    overrides: { tags: { tau: 0.05, losses: { modality: 0 } }, seq2item: { tau: 0.1 } },
  },
  { name: 'collaboration', sources: ['seq2item', 'ids'], passes: 1, learningRate: 1e-3, schedule: 'cosine' },
]
const position = { trainedUntil: 0, round: 0, offsets: {}, seeds: {}, metrics: {} }

function bits(checkpoint: Checkpoint): Record<string, Tensor['data']> {
  const all = [...checkpoint.head.parameters, ...(checkpoint.training?.tensors ?? [])]
  return Object.fromEntries(all.map(([name, { data }]) => [name, data]))
}

async function run(own: Partial<StagesInput> = {}, from?: Checkpoint) {
  const trainer = await Trainer.create(from?.head ?? worldHead(items), options, from?.training)
  const kept: { readonly at: StagePosition; readonly parts: CheckpointParts }[] = []
  const input = { stages, rows, content, seed: 5, historyLength: 4, teachers, keepEvery: 3, ...own, trainer }
  try {
    const keep = async (at: StagePosition): Promise<void> =>
      void kept.push({ at, parts: encodeCheckpoint(await trainer.checkpoint(position)) })
    const ran = await runStages({ ...input, keep })
    return { ...ran, kept, checkpoint: await trainer.checkpoint(position) }
  } finally {
    await trainer.close()
  }
}

test('stages run in order on their own sources, and say what became of them', async () => {
  const mined: { readonly at: StagePosition; readonly report: MiningReport }[] = []
  const seen: string[] = []
  const { results, position: end } = await run({
    onMined: (at, report) => void mined.push({ at, report }),
    onStep: (at, total, { source }) => void seen.push(`${at.name} ${at.done}/${total} ${source}`),
  })
  deepStrictEqual(
    results.map(({ name, steps, stopped }) => [name, steps, stopped]),
    [
      ['content', 8, false],
      ['refined', 9, false],
      ['collaboration', 4 + 3, false],
    ],
  )
  deepStrictEqual(end, { stage: 3, name: '', done: 0 })
  strictEqual(seen[0], 'content 1/8 tags')
  ok(seen.slice(8, 17).some((line) => line.endsWith('seq2item')) && seen.slice(8, 17).some((line) => line.endsWith('tags')))
  deepStrictEqual(new Set(mined.map(({ at }) => at.name)), new Set(['refined']))
  for (const { report } of mined) ok(report.lambda.f1 > 0 && report.lambda.positives <= 30, JSON.stringify(report))
  ok(results[2]!.sources['ids']!.steps === 3)
})

test('a run that was stopped goes on from what was kept, mid-stage too, and ends with the same bits', async () => {
  const through = await run()
  const places = through.kept.map(({ at }) => `${at.stage}:${at.done}`)
  ok(places.includes('0:3') && places.includes('1:3') && places.includes('2:0'), places.join(' '))
  for (const { at, parts } of through.kept.filter((one) =>
    ['0:3', '1:3', '1:6', '2:0', '2:3'].includes(`${one.at.stage}:${one.at.done}`),
  )) {
    const resumed = await run({ from: at }, decodeCheckpoint(parts))
    deepStrictEqual(bits(resumed.checkpoint), bits(through.checkpoint), `from ${at.stage}:${at.done}`)
  }
})

test('stages can be skipped and repeated', async () => {
  const all = await run({ stages: [stages[0]!, stages[0]!] })
  deepStrictEqual(
    all.results.map(({ name }) => name),
    ['content', 'content'],
  )
  const second = await run({ from: { stage: 1, name: 'refined', done: 0 } })
  deepStrictEqual(
    second.results.map(({ name }) => name),
    ['refined', 'collaboration'],
  )
})

test('a stage leaves out the share of pairs that lie farthest apart, the same ones whatever was trained before', async () => {
  const clean: StageOptions = { name: 'clean', sources: ['tags'], passes: 1, learningRate: 1e-3, dropFarthest: 0.2 }
  const [first, later] = [await run({ stages: [clean] }), await run({ stages: [stages[0]!, clean] })]
  strictEqual(first.results[0]!.farthest, 10)
  strictEqual(later.results[1]!.farthest, 10)
  strictEqual(first.results[0]!.rows, 40)
})

test('a stage of an unknown source, or balanced by tasks that are not there, is refused by name', async () => {
  const stage = { name: 'odd', sources: ['nothing'], learningRate: 1e-3 }
  await rejects(run({ stages: [stage] }), { code: 'SIDESTREAM_USAGE_INVALID', message: /odd.*nothing/ })
  const balanced: StageOptions = {
    name: 'tasks',
    sources: ['tags', 'seq2item'],
    learningRate: 1e-3,
    balance: { by: 'tasks', temperature: 0.1 },
  }
  const seen: string[] = []
  const onStep = ({ name }: StagePosition): void => void seen.push(name)
  await rejects(run({ stages: [stages[0]!, balanced], onStep }), { code: 'SIDESTREAM_ITEMS_TOO_FEW', message: /no task has rows/ })
  await rejects(run({ stages: [stages[0]!, stage], onStep }), { code: 'SIDESTREAM_USAGE_INVALID', message: /odd.*nothing/ })
  deepStrictEqual(seen, [], 'refused before the first step of any stage')
})

test('sources with a share of 0 are never trained on; a stage without any other takes no step, and the next one begins', async () => {
  const shares = { tags: 0, ids: 1 }
  const stage: StageOptions = {
    name: 'shared',
    sources: ['seq2item', 'tags'],
    steps: 9,
    learningRate: 1e-3,
    balance: { by: 'shares', shares },
  }
  const alone: StageOptions = { ...stage, name: 'alone', sources: ['tags'] }
  const left: StageOptions = { ...stage, name: 'left', sources: ['seq2item', 'ids'], steps: 4 }
  const empty: StageOptions = { ...stage, name: 'empty', balance: { by: 'rows' } }
  const { results, position: end } = await run({ stages: [stage, alone, left] })
  deepStrictEqual(
    results.map(({ name, steps, stopped }) => [name, steps, stopped]),
    [
      ['shared', 0, false],
      ['alone', 0, false],
      ['left', 4, false],
    ],
  )
  deepStrictEqual(Object.keys(results[2]!.sources), ['ids'])
  strictEqual(end.stage, 3)
  strictEqual((await run({ stages: [empty], rows: {} })).results[0]!.steps, 0)
})

test('a stage balanced by tasks draws the source that is like them more often, and goes on with the same shares', async () => {
  const near = rows.tags.slice(0, 20)
  const stage: StageOptions = {
    name: 'task',
    sources: ['tags', 'seq2item'],
    steps: 12,
    learningRate: 1e-3,
    balance: { by: 'tasks', temperature: 0.02 },
  }
  const balances: SourceBalance[] = []
  const onBalanced = (_: StagePosition, balance: SourceBalance): void => void balances.push(balance)
  const through = await run({ stages: [stage], tasks: { held: near }, onBalanced })
  const [balance] = balances
  ok(balance!.weights[0]! > balance!.weights[1]!, JSON.stringify(balance))
  const shares = through.results[0]!.shares!
  ok(Math.abs(shares['tags']! + shares['seq2item']! - 1) < 1e-9)
  ok(through.results[0]!.sources['tags']!.steps > through.results[0]!.sources['seq2item']!.steps)
  const { at, parts } = through.kept.find((one) => one.at.done === 6)!
  const resumed = await run({ stages: [stage], tasks: { held: near }, from: at, onBalanced }, decodeCheckpoint(parts))
  strictEqual(balances.length, 1)
  deepStrictEqual(bits(resumed.checkpoint), bits(through.checkpoint))
})

test('a stage compares its sources by the head at its own start', async () => {
  const first: StageOptions = { name: 'first', sources: ['seq2item'], passes: 3, learningRate: 1e-2 }
  const task: StageOptions = {
    name: 'task',
    sources: ['tags', 'seq2item'],
    steps: 1,
    learningRate: 1e-3,
    balance: { by: 'tasks', temperature: 0.1 },
  }
  const balancesOf = async (own: readonly StageOptions[], from?: Checkpoint): Promise<SourceBalance[]> => {
    const balances: SourceBalance[] = []
    const onBalanced = (_: StagePosition, balance: SourceBalance): void => void balances.push(balance)
    await run({ stages: own, tasks: { held: rows.tags.slice(0, 20) }, onBalanced }, from)
    return balances
  }
  const { head } = (await run({ stages: [first] })).checkpoint
  const [[untrained, later], [ofEnd]] = [
    await balancesOf([task, first, { ...task, name: 'again' }]),
    await balancesOf([task], { head, position: { ...position, step: 0 } }),
  ]
  notDeepStrictEqual(later, untrained)
  const [[inOrder]] = [await balancesOf([first, task])]
  deepStrictEqual(inOrder, ofEnd, 'as if that head had been begun from')
})

test('a stage begins with fresh moments, unless it goes on where training was', async () => {
  const first: StageOptions = { name: 'first', sources: ['seq2item'], passes: 2, learningRate: 1e-2 }
  const second: StageOptions = { ...first, name: 'second' }
  const going: StageOptions = { ...second, continues: { warmupSteps: 1 } }
  const forgotten = ({ training, ...checkpoint }: Checkpoint): Checkpoint => ({
    ...checkpoint,
    training: {
      ...training!,
      tensors: new Map(
        Array.from(training!.tensors, ([name, tensor]) => [
          name,
          name.startsWith(optimizerPrefix) ? { ...tensor, data: tensor.data.slice().fill(0 as never) } : tensor,
        ]),
      ),
    },
  })
  const from = { stage: 1, name: 'second', done: 0 }
  const both = async (last: StageOptions) => {
    const through = await run({ stages: [first, last] })
    const end = decodeCheckpoint(through.kept.find(({ at }) => at.stage === 1 && at.done === 0)!.parts)
    const without = await run({ stages: [first, last], from }, forgotten(end))
    return [bits(through.checkpoint), bits(without.checkpoint)] as const
  }
  const [fresh, freshWithout] = await both(second)
  deepStrictEqual(fresh, freshWithout, 'nothing of the first stage but its head')
  const [gone, goneWithout] = await both(going)
  notDeepStrictEqual(gone, goneWithout)
})

test('the auxiliary pairs are each item and its nearest neighbor in content, whatever the head has learned', async () => {
  const trained = (await run()).checkpoint.head
  const ids = [...items.keys()]
  const pairs = await contentPairs(trained, ids, content)
  deepStrictEqual(pairs, await contentPairs(worldHead(items), ids, content))
  strictEqual(pairs.length, 40)
  ok(pairs.every(({ history, targetId }) => history.length === 1 && history[0] !== targetId))
  deepStrictEqual(await contentPairs(trained, ['i3', 'gone'], content), [])
})
