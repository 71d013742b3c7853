/**
 * One training step of the network that others train in PyTorch (D -> H, relu, -> E, no bias; InfoNCE; Adam), built of our graph, losses
 * and optimizer: the sizes of reference figures, pairs and histories. With `--peers DIR --python FILE` beside `torch_distill.py` of that
 * folder, in turns in the same run; a ratio is printed only when the losses of both begin and fall alike. Without: our rate alone.
 * Every line names the share of `limit`, one large float32 matrix product in ONNX Runtime with as many threads, measured in the
 * same run, and the share of the machine that others used meanwhile.
 * `distinct`: only the distinct items of a batch go through the network. Histories are pooled by a matrix product (`pool`) or by picking
 * rows, whose gradients are scattered back (`gather`); without a peer both are timed.
 * Options: `--threads LIST` (1,2), `--rounds N` (5), `--steps N` (30), `--only TEXT` (shapes whose name has it), `--small` (an
 * eighth of every size, to try the bench).
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  adamW,
  fillUniform,
  Graph,
  Session,
  tensor,
  toModel,
  TrainingSession,
  uniformInt,
  zeros,
  type Tensor,
  type TensorMap,
  type Value,
} from '../compute/index.ts'
import { matryoshkaNce, temperature } from '../distill/index.ts'
import { figure, median, watchOthers } from './harness.ts'

const { values: options } = parseArgs({
  options: {
    peers: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    threads: { type: 'string', default: '1,2' },
    rounds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '30' },
    only: { type: 'string', default: '' },
    small: { type: 'boolean', default: false },
  },
})
const rounds = Number(options.rounds)
const steps = Number(options.steps)
const warmUp = 5
const learningRate = 1e-3
const tau = 0.05

/** Sizes of a step. */
interface Shape {
  readonly d: number
  readonly h: number
  readonly e: number
  readonly b: number
  /** Items of a history; 0: pairs. */
  readonly history: number
  readonly prefixes: readonly number[]
  /** Share of distinct items, of which each goes through the network once; 1: all places do. */
  readonly distinct: number
}

const large = { d: 512, h: 1024, e: 256 }
const little = { d: 128, h: 256, e: 64 }
const shapes: readonly Shape[] = [
  { ...large, b: 1024, history: 0, prefixes: [256], distinct: 1 },
  { ...little, b: 512, history: 0, prefixes: [64], distinct: 1 },
  { ...large, b: 512, history: 10, prefixes: [64, 128, 256], distinct: 1 },
  { ...large, b: 512, history: 10, prefixes: [64, 128, 256], distinct: 0.4 },
  { ...little, b: 512, history: 10, prefixes: [16, 32, 64], distinct: 1 },
  { ...little, b: 512, history: 10, prefixes: [16, 32, 64], distinct: 0.4 },
].map((shape) => (options.small ? smaller(shape) : shape))

function smaller({ d, h, e, b, prefixes, ...shape }: Shape): Shape {
  return { ...shape, d: d / 8, h: h / 8, e: e / 8, b: b / 8, prefixes: prefixes.map((prefix) => prefix / 8) }
}

type Pooling = 'pool' | 'gather'

function nameOf({ d, h, e, b, history, prefixes, distinct }: Shape): string {
  const work = history === 0 ? 'pairs' : `seq2item history ${history} MRL ${prefixes.join('/')}`
  return `${work} D${d} H${h} E${e} B${b}${distinct < 1 ? ` distinct ${distinct * 100} %` : ''}`
}

/** Rows that go through the network. */
function rowsOf({ b, history, distinct }: Shape): number {
  return Math.ceil(b * (history === 0 ? 2 : 1 + history) * distinct)
}

/** Floating-point operations of the matrix products that the work needs; pooling is not counted. */
function flopOf(shape: Shape): number {
  const { d, h, e, b, prefixes } = shape
  return 2 * rowsOf(shape) * (2 * d * h + 3 * h * e) + prefixes.reduce((sum, prefix) => sum + 6 * b * b * prefix, 0)
}

function uniform(dims: readonly number[], spread: number, stream: number): Tensor<'float32'> {
  const out = zeros('float32', dims)
  const draws = new Float64Array(out.data.length)
  fillUniform(draws, 1, stream)
  for (let i = 0; i < draws.length; i++) out.data[i] = (2 * draws[i]! - 1) * spread
  return out
}

/** The network's step; its loss is that before the step. */
function stepOf(shape: Shape, pooling: Pooling): Graph {
  const { d, h, e, b, history, prefixes, distinct } = shape
  const graph = new Graph()
  const x = graph.input('x', 'float32', [rowsOf(shape), d])
  const hidden = graph.matmul(x, graph.parameter('W1', uniform([d, h], 0.05, 1)))
  const relu = graph.clip(hidden, 0, Infinity)
  const y = graph.matmul(relu, graph.parameter('W2', uniform([h, e], 0.05, 2)))
  const { queries, targets } = distinct < 1 ? picked(y) : places(y)
  const logTau = temperature(graph, 'bench', { tau, tauMode: 'fixed' })
  const ofPrefix = (value: Value, prefix: number): Value => (prefix === e ? value : graph.slice(value, 1, 0, prefix))
  const loss = matryoshkaNce(graph, (prefix) => ({ queries: ofPrefix(queries, prefix), targets: ofPrefix(targets, prefix), logTau }), {
    prefixes,
  })
  graph.output('loss', loss)
  adamW(graph, loss, graph.scalar(learningRate), { weightDecay: 0, clipNorm: 0 })
  return graph

  /** Every place has a row of its own. */
  function places(rows: Value): { queries: Value; targets: Value } {
    const others = graph.slice(rows, 0, b, rowsOf(shape))
    const pooled = history === 0 ? others : graph.reduceMean(graph.reshape(others, [b, history, e]), [1])
    return { queries: pooled, targets: graph.slice(rows, 0, 0, b) }
  }

  /** Places refer to rows. */
  function picked(rows: Value): { queries: Value; targets: Value } {
    const targets = graph.gather(rows, graph.input('targets', 'int64', [b]))
    if (pooling === 'pool') return { queries: graph.matmul(graph.input('pool', 'float32', [b, rowsOf(shape)]), rows), targets }
    const items = graph.gather(rows, graph.input('history', 'int64', [b * history]))
    return { queries: graph.reduceMean(graph.reshape(items, [b, history, e]), [1]), targets }
  }
}

/** Inputs as the peer draws them: what belongs together lies together; distinct items are placed at random. */
function feedsOf(shape: Shape, pooling: Pooling): TensorMap {
  const { d, b, history, distinct } = shape
  const rows = rowsOf(shape)
  const each = Math.max(1, history)
  const spread = history === 0 ? 0.5 : 1.5
  const all = uniform([b * (1 + each), d], 1, 3).data
  for (let row = b; row < b * (1 + each); row++) {
    const target = Math.floor((row - b) / each) * d
    for (let j = 0; j < d; j++) all[row * d + j] = all[target + j]! + spread * all[row * d + j]!
  }
  const x = tensor('float32', [rows, d], all.slice(0, rows * d))
  if (distinct === 1) return { x }
  const targets = tensor(
    'int64',
    [b],
    BigInt64Array.from({ length: b }, (_, i) => BigInt(i % rows)),
  )
  const items = Array.from({ length: b * history }, (_, i) => uniformInt(1, 4, i, rows))
  if (pooling === 'gather') return { x, targets, history: tensor('int64', [b * history], BigInt64Array.from(items, BigInt)) }
  const pool = zeros('float32', [b, rows])
  for (const [i, item] of items.entries()) pool.data[Math.floor(i / history) * rows + item]! += 1 / history
  return { x, targets, pool }
}

/** What one run of a step says; the peer's JSON has the same names. */
interface Run {
  readonly ms_per_step: number
  readonly cpu_ms_per_step: number
  readonly loss_first: number
  readonly loss_last: number
}

async function run(shape: Shape, pooling: Pooling, threads: number): Promise<Run> {
  const session = await TrainingSession.create(stepOf(shape, pooling), { threads })
  let feeds = feedsOf(shape, pooling)
  const losses: number[] = []
  const ms: number[] = []
  const cpuMs: number[] = []
  for (let step = 0; step < warmUp + steps; step++) {
    const cpu = process.cpuUsage()
    const start = performance.now()
    const { loss } = await session.step(feeds, { transfer: true, reclaim: (given) => void (feeds = given) })
    const took = performance.now() - start
    const { user, system } = process.cpuUsage(cpu)
    losses.push(Number(loss!.data[0]))
    if (step < warmUp) continue
    ms.push(took)
    cpuMs.push((user + system) / 1000)
  }
  await session.close()
  return { ms_per_step: median(ms), cpu_ms_per_step: median(cpuMs), loss_first: losses[0]!, loss_last: losses.at(-1)! }
}

function peerRun(peers: string, { d, h, e, b, history, prefixes, distinct }: Shape, threads: number): Run {
  const sizes = Object.entries({ d, h, e, b, history, steps, threads, warmup: warmUp, tau, lr: learningRate, seed: 1 }).flatMap(
    ([name, value]) => [`--${name}`, String(value)],
  )
  const more = [...(history > 0 ? ['--mrl', prefixes.join(',')] : []), ...(distinct < 1 ? ['--unique', String(distinct)] : [])]
  const out = execFileSync(options.python, [join(peers, 'torch_distill.py'), ...sizes, ...more], { encoding: 'utf8' })
  return JSON.parse(out.trim().split('\n').at(-1)!) as Run
}

/** GFLOP/s of one large matrix product. */
async function limitOf(threads: number): Promise<number> {
  const n = options.small ? 384 : 3072
  const graph = new Graph()
  const product = graph.matmul(graph.input('a', 'float32', [n, n]), graph.input('b', 'float32', [n, n]))
  graph.output('largest', graph.reduceMax(product, [0, 1]))
  const session = await Session.create(toModel(graph), { threads })
  let feeds: TensorMap = { a: uniform([n, n], 1, 5), b: uniform([n, n], 1, 6) }
  const seconds: number[] = []
  for (let i = 0; i < 6; i++) {
    const start = performance.now()
    await session.run(feeds, { transfer: true, reclaim: (given) => void (feeds = given) })
    if (i > 0) seconds.push((performance.now() - start) / 1000)
  }
  await session.close()
  return (2 * n ** 3) / Math.min(...seconds) / 1e9
}

/**
 * Both draw their own numbers, and the first loss of the peer alone differs several times over from seed to seed (it is an exponential of
 * what all vectors have in common): what must agree is its size, and how far training brings it down (as a logarithm).
 */
function requireAlike(shape: Shape, ours: Run, peer: Run): void {
  const fall = ({ loss_first, loss_last }: Run): number => Math.log(loss_first / loss_last)
  const apart = Math.abs(Math.log(ours.loss_first / peer.loss_first))
  if (apart < Math.log(3) && fall(ours) > fall(peer) / 2 && fall(ours) < fall(peer) * 2) return
  const shown = ({ loss_first, loss_last }: Run): string => `${loss_first} to ${loss_last}`
  throw new Error(`${nameOf(shape)}: the loss goes from ${shown(ours)}, that of the peer from ${shown(peer)}: not the same work`)
}

const ratiosOf = (peer: readonly Run[], ours: readonly Run[], key: 'ms_per_step' | 'cpu_ms_per_step'): number[] =>
  peer.map((run, round) => figure(run[key] / ours[round]![key]))

/** Of the peer with all places, for the shapes with distinct items that come after them. */
const peerMs = new Map<string, number>()

async function bench(shape: Shape, pooling: Pooling, threads: number, limit: number): Promise<void> {
  const { peers } = options
  const others = watchOthers()
  const ours: Run[] = []
  const theirs: Run[] = []
  for (let round = 0; round < rounds; round++) {
    const mine = async (): Promise<unknown> => ours.push(await run(shape, pooling, threads))
    const peer = (): unknown => peers !== undefined && theirs.push(peerRun(peers, shape, threads))
    if (round % 2 === 0) peer()
    await mine()
    if (round % 2 === 1) peer()
  }
  const share = others()
  for (const [round, peer] of theirs.entries()) requireAlike(shape, ours[round]!, peer)
  const ms = median(ours.map((each) => each.ms_per_step))
  const ratios = ratiosOf(theirs, ours, 'ms_per_step')
  if (shape.distinct === 1) peerMs.set(nameOf(shape), median(theirs.map((each) => each.ms_per_step)))
  const everyPlace = peerMs.get(nameOf({ ...shape, distinct: 1 }))
  const beside = {
    peer: 'torch',
    'peer ms/step': figure(median(theirs.map((each) => each.ms_per_step))),
    'peer cpu ms/step': figure(median(theirs.map((each) => each.cpu_ms_per_step))),
    ratio: figure(median(ratios)),
    ratios,
    'cpu ratio': figure(median(ratiosOf(theirs, ours, 'cpu_ms_per_step'))),
    ...(shape.distinct < 1 && everyPlace !== undefined ? { 'ratio to peer with all places': figure(everyPlace / ms) } : {}),
    'peer losses': [theirs[0]?.loss_first, theirs[0]?.loss_last],
  }
  const line = {
    bench: `distill step, ${nameOf(shape)}, ${threads} threads`,
    ...(shape.distinct < 1 ? { pooling } : {}),
    'ms/step': figure(ms),
    'cpu ms/step': figure(median(ours.map((each) => each.cpu_ms_per_step))),
    'samples/s': figure((shape.b / ms) * 1000),
    'GFLOP/s': figure(flopOf(shape) / ms / 1e6),
    'limit GFLOP/s': figure(limit),
    ...(peers === undefined ? {} : beside),
    losses: [ours[0]!.loss_first, ours[0]!.loss_last],
    others: share,
    rounds,
    node: process.version,
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

for (const threads of options.threads.split(',').map(Number)) {
  peerMs.clear()
  const limit = await limitOf(threads)
  for (const shape of shapes.filter((each) => nameOf(each).includes(options.only))) {
    await bench(shape, 'pool', threads, limit)
    if (shape.distinct < 1 && options.peers === undefined) await bench(shape, 'gather', threads, limit)
  }
}
if (options.peers === undefined) process.stderr.write('torch was left out: name its script with --peers DIR --python FILE\n')
