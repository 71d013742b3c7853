/**
 * What a training step of the head costs, and how that grows: one line per case, each in a process of its own so that its peak
 * of memory is its own. Base: two modalities of 256 dims, the default head (128 dims, hidden 256, prefixes 32/64/128), batches of
 * 512, histories of 10, one source of sequences; every other case changes what its name says.
 * Figures: `step ms`, one step in the worker, its batch built before; `build ms`, building a batch on the calling thread; `samples/s`
 * of the trainer, which does both at once; processor time of a step, both threads; peak memory with the rows and all content.
 * Items are drawn by popularity, so that as many of a batch are distinct as in KuaiRand (40 % of 512 rows, 28 % of 1024).
 * Options: `--threads N` (1), `--steps N` (60), `--only TEXT` (cases whose name has it).
 */
import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { fillNormal, fillUniform } from '../compute/index.ts'
import {
  buildBatch,
  createHead,
  fitStatistics,
  idRow,
  pairRow,
  Trainer,
  type Batch,
  type ContentVectors,
  type Mining,
  type SourceOptions,
  type TeacherRows,
  type TrainingRow,
} from '../distill/index.ts'
import { figure, median, watchOthers } from './harness.ts'

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: '1' },
    steps: { type: 'string', default: '60' },
    only: { type: 'string', default: '' },
    case: { type: 'string' },
  },
})
const threads = Number(options.threads)
const steps = Number(options.steps)

interface Case {
  readonly batch: number
  readonly history: number
  /** Dims of each modality. */
  readonly content: readonly number[]
  readonly dims: number
  readonly hidden: number
  readonly sources: readonly SourceOptions[]
  readonly hard: number
  /** Items there are, and the power of a uniform draw that chooses one: higher, fewer of a batch are distinct. */
  readonly catalogue: number
  readonly popularity: number
}

const base: Case = {
  batch: 512,
  history: 10,
  content: [256, 256],
  dims: 128,
  hidden: 256,
  sources: [{ name: 'seq2item', kind: 'sequences' }],
  hard: 0,
  catalogue: 4000,
  popularity: 3,
}
const sequences = (count: number): SourceOptions[] =>
  Array.from({ length: count }, (_, i) => ({ name: `seq2item-${i}`, kind: 'sequences' as const }))
const pairs: SourceOptions = { name: 'pairs', kind: 'pairs' }
const scoredPairs: SourceOptions = { ...pairs, scored: true, losses: { cosent: 1, modality: 1, lateFusion: 1 } }
const entities = [
  { name: 'item', dim: 64 },
  { name: 'author', dim: 64 },
]
const ids: SourceOptions = { name: 'ids', kind: 'ids', entities }

const cases: Readonly<Record<string, Case>> = {
  base,
  'batch 256': { ...base, batch: 256 },
  'batch 1024': { ...base, batch: 1024 },
  'batch 2048': { ...base, batch: 2048 },
  'items hardly repeat': { ...base, catalogue: 40_000, popularity: 1 },
  'history 5': { ...base, history: 5 },
  'history 20': { ...base, history: 20 },
  'history 50': { ...base, history: 50 },
  'content 1 x 256': { ...base, content: [256] },
  'content 4 x 256': { ...base, content: [256, 256, 256, 256] },
  'content 2 x 64': { ...base, content: [64, 64] },
  'content 2 x 128': { ...base, content: [128, 128] },
  'content 2 x 512': { ...base, content: [512, 512] },
  'content 2 x 1024': { ...base, content: [1024, 1024] },
  'head dims 64': { ...base, dims: 64 },
  'head dims 256': { ...base, dims: 256 },
  'hidden 1024': { ...base, hidden: 1024 },
  'sources 2': { ...base, sources: sequences(2) },
  'sources 4': { ...base, sources: sequences(4) },
  'sources 8': { ...base, sources: sequences(8) },
  pairs: { ...base, sources: [pairs] },
  'pairs with CoSENT, modalities, late fusion': { ...base, sources: [scoredPairs] },
  'ids 2 x 64': { ...base, sources: [ids] },
  'sequences, pairs and ids': { ...base, sources: [...base.sources, pairs, ids] },
  'hard negatives 4': { ...base, hard: 4 },
  'hard negatives 16': { ...base, hard: 16 },
  'transformer pooler': { ...base, sources: [{ ...base.sources[0]!, pooler: 'transformer' }] },
}

/** Items by popularity, from a stream of draws. */
function drawItems({ catalogue, popularity }: Case, count: number, stream: number): string[] {
  const draws = new Float64Array(count)
  fillUniform(draws, 1, stream)
  return [...draws].map((draw) => `item-${Math.floor(catalogue * draw ** popularity)}`)
}

function rowsOf({ kind }: SourceOptions, each: Case, stream: number): TrainingRow[] {
  const { batch, history } = each
  const count = steps * batch
  const targets = drawItems(each, count, stream)
  if (kind === 'ids') return targets.map(idRow)
  if (kind === 'pairs') {
    const queries = drawItems(each, count, stream + 1)
    return targets.map((targetId, i) => pairRow({ queryId: queries[i]!, targetId, score: (i % 5) / 4 })).filter(isPair)
  }
  const items = drawItems(each, count * history, stream + 1)
  return targets.map((targetId, i) => ({
    userId: `user-${i % 4001}`,
    targetId,
    history: items.slice(i * history, (i + 1) * history).filter((id) => id !== targetId),
  }))
}

const isPair = ({ targetId, history }: TrainingRow): boolean => history[0] !== targetId

/** Content of every item, normal and independent: a step costs the same whatever it learns. */
function contentOf({ content: dims, catalogue }: Case): ReadonlyMap<string, ContentVectors> {
  const all = dims.map((dim, m) => {
    const out = new Float32Array(catalogue * dim)
    fillNormal(out, 1, 100 + m)
    return out
  })
  return new Map(
    Array.from({ length: catalogue }, (_, i) => [
      `item-${i}`,
      Object.fromEntries(dims.map((dim, m) => [`m${m}`, all[m]!.subarray(i * dim, (i + 1) * dim)])),
    ]),
  )
}

function teachersOf(itemIds: readonly string[]): TeacherRows {
  const count = itemIds.length
  const vectors = entities.map(({ dim }, k) => {
    const out = new Float32Array(count * dim)
    fillNormal(out, 1, 200 + k)
    return out
  })
  return { vectors, presence: new Float32Array(count * entities.length).fill(1), weights: new Float32Array(count).fill(1) }
}

/** Gives every row as many items as it may have, by popularity. */
function mining(each: Case): Mining {
  const { hard, batch } = each
  const drawn = drawItems(each, batch * hard, 300)
  const ofRows = Array.from({ length: batch }, (_, i) => drawn.slice(i * hard, (i + 1) * hard))
  return { hardNegatives: hard, maskInBatch: false, every: 1e9, mine: async () => ({ lambda: () => Infinity, hard: () => ofRows }) }
}

async function run(name: string, each: Case): Promise<void> {
  const modalities = each.content.map((dim, m) => ({ name: `m${m}`, dim }))
  const content = contentOf(each)
  const head = createHead(
    { modalities, dims: each.dims, hidden: each.hidden },
    fitStatistics(modalities, [...content.values()].slice(0, 2000)),
  )
  const rows = Object.fromEntries(each.sources.map((source, s) => [source.name, rowsOf(source, each, 10 * s + 1)]))
  const lookup = (id: string): ContentVectors | undefined => content.get(id)
  const trainer = await Trainer.create(head, { sources: each.sources, batchSize: each.batch, historyLength: each.history, threads })
  const plan = { schedule: () => 1e-3, teachers: (_: unknown, itemIds: readonly string[]) => teachersOf(itemIds) }
  const mined = each.hard > 0 ? { mining: mining(each) } : {}

  const buildMs: number[] = []
  const stepMs: number[] = []
  const distinct: number[] = []
  const others = watchOthers()
  for (let step = 0; step < Math.min(steps, 25); step++) {
    const source = trainer.sources[step % trainer.sources.length]!
    const part = rows[source.name]!.slice(step * each.batch, (step + 1) * each.batch)
    const start = performance.now()
    const batch = build(part, source.kind, source.pooler)
    const built = performance.now()
    distinct.push(batch.items / part.reduce((sum, { history }) => sum + 1 + history.length, 0))
    await trainer.trainBatch(batch, 1e-3, { source: source.name })
    if (step < 5) continue
    buildMs.push(built - start)
    stepMs.push(performance.now() - built)
  }
  const cpu = process.cpuUsage()
  const start = performance.now()
  const result = await trainer.train(rows, lookup, { ...plan, ...mined, steps })
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const line = {
    bench: `head step, ${name}, ${threads} threads`,
    'step ms': figure(median(stepMs)),
    'build ms': figure(median(buildMs)),
    'samples/s': Math.round((result.steps * each.batch) / seconds),
    'cpu ms/step': figure((user + system) / 1000 / result.steps),
    'distinct share': figure(median(distinct)),
    'peak MB': Math.round(process.resourceUsage().maxRSS / 1024),
    others: others(),
    steps: result.steps,
    node: process.version,
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
  await trainer.close()

  function build(part: readonly TrainingRow[], kind: SourceOptions['kind'], pooler: SourceOptions['pooler']): Batch {
    const { batch, hard, history } = each
    const negatives = drawItems(each, batch * hard, 300)
    const ofRows = Array.from({ length: batch }, (_, i) => negatives.slice(i * hard, (i + 1) * hard))
    const built = buildBatch(part, lookup, {
      modalities,
      historyLength: history,
      places: pooler === 'transformer',
      ...(hard > 0 ? { hard: { count: hard, ofRows } } : {}),
    })
    return kind === 'ids' ? { ...built, teachers: teachersOf(part.map(({ targetId }) => targetId)) } : built
  }
}

if (options.case !== undefined) await run(options.case, cases[options.case]!)
else {
  for (const name of Object.keys(cases).filter((each) => each.includes(options.only))) {
    const own = ['--case', name, '--threads', options.threads, '--steps', options.steps]
    execFileSync(process.execPath, [...process.execArgv, import.meta.filename, ...own], { stdio: 'inherit' })
  }
}
