/**
 * The judgment of a refresh: candidate, live and raw vectors on one window. Peer: the same without the figures of spaces, so the
 * ratio says what share of the time the rest takes. Beside it the processor time of both, and the longest time that the calling
 * thread answered nobody.
 * Options: `--items N` (20,000), `--events N` (20,000), `--rounds N` (1).
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { ComputeWorker, fillNormal, uniform, uniformInt } from '../compute/index.ts'
import { judge, similarityIn } from '../distill/index.ts'
import type { JudgeInput, Judgement, VectorSet } from '../distill/index.ts'
import { compare } from './harness.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: { items: { ...text, default: '20000' }, events: { ...text, default: '20000' }, rounds: { ...text, default: '1' } },
})
const items = Number(values.items)
const events = Number(values.events)
const topics = 50
const hourMs = 3_600_000
const idDim = 64

/** Items around topics. */
function vectorsOf(dim: number, stream: number): VectorSet {
  const vectors = new Float32Array(items * dim)
  fillNormal(vectors, 1, stream)
  for (let item = 0; item < items; item++) vectors[item * dim + (item % topics)]! += 4
  return { vectors, dim }
}

/** Users who stay with one topic: as many interactions before the window as in it. A tenth of the items is liked first in the window. */
function input(): JudgeInput {
  const all = 2 * events
  const users = Int32Array.from({ length: all }, (_, i) => uniformInt(1, 1, i, 8000))
  const liked = Int32Array.from({ length: all }, (_, i) => {
    const topic = uniform(1, 2, i) < 0.7 ? users[i]! % topics : uniformInt(1, 3, i, topics)
    const among = Math.floor(items / topics) * (i < events ? 0.9 : 1)
    return topic + topics * Math.floor(uniform(1, 4, i) * among)
  })
  const ids = vectorsOf(idDim, 9).vectors
  const pairs = Int32Array.from({ length: 4000 }, (_, p) => uniformInt(1, 5, p, items))
  return {
    stream: { times: Float64Array.from({ length: all }, (_, i) => (i * 6 * hourMs) / all), users, items: liked },
    since: Float64Array.from({ length: items }, (_, item) => (item < 0.9 * items ? 0 : 3 * hourMs)),
    window: { from: 3 * hourMs, until: 6 * hourMs },
    candidate: vectorsOf(256, 6),
    live: vectorsOf(256, 7),
    raw: vectorsOf(512, 8),
    spaces: {
      labels: Int32Array.from({ length: items }, (_, item) => item % topics),
      idEmbeddings: {
        dim: idDim,
        vector: (item) => ids.subarray(item * idDim, (item + 1) * idDim),
        hasTaught: (item) => item % 2 === 0,
      },
      graded: { queries: pairs, targets: pairs.toReversed(), close: Uint8Array.from(pairs, (item) => item % 2) },
    },
  }
}

const asked = input()
const worker = new ComputeWorker({ name: 'judge' })
const cpu = { whole: 0, rest: 0 }
const block = { whole: 0, rest: 0 }
const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()

async function run(what: keyof typeof cpu, given: JudgeInput): Promise<Judgement> {
  delay.reset()
  const before = process.cpuUsage()
  const judgement = await judge(given, { minNeighborRecall: 0 }, similarityIn(worker))
  const { user, system } = process.cpuUsage(before)
  cpu[what] = (user + system) / 1e6
  block[what] = Math.round(delay.max / 1e6)
  return judgement
}

await compare({
  name: `judge ${items} items, ${events} events, d256, raw 512`,
  count: 1,
  unit: 'judgments',
  sidestream: () => run('whole', asked),
  peer: () => run('rest', { ...asked, spaces: undefined }),
  peerName: 'without the figures of spaces',
  equal: ({ clauses }, peer) => {
    if (JSON.stringify(clauses) !== JSON.stringify(peer.clauses)) throw new Error('the clauses differ')
  },
  rounds: Number(values.rounds),
  extra: () => ({ 'cpu s': cpu.whole, 'peer cpu s': cpu.rest, 'longest block ms': block.whole, 'peer longest block ms': block.rest }),
})
await worker.close()
