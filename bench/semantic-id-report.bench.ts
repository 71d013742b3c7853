/**
 * Figures of whole IDs, levels and churn of 5 million items: 3 x 256, 3 x 1024 and 3 x 8192 codes. `usage` holds what every prefix
 * length and level has, by one sort; `report` is `qualityReport` with churn and slices on the same codes.
 * Peer with `--python FILE`: numpy, `np.unique` with counts over the joined code of each prefix length, `np.bincount` of each level, and
 * the same comparison of codes, in turns in one process of its own; both count computing only, not loading. Without: a Map of joined codes.
 * Then the exact 10 nearest by cosine of 2,000 out of 100,000 items of 128 dims; peer: numpy, a float32 product with all items for 500
 * queries at a time, `argpartition` and a sort; two threads each. Rows may differ where two cosines are one in float32.
 * Options: `--rows N` (5,000,000), `--rounds N` (3), `--threads N` (2).
 */
import { deepStrictEqual } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { cosineNeighbors, fillNormal, uniform } from '../compute/index.ts'
import { churn, qualityReport, usage } from '../semantic-ids/index.ts'
import { figure, median, watchOthers } from './harness.ts'

const { values } = parseArgs({
  options: {
    python: { type: 'string' },
    rows: { type: 'string', default: '5000000' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
  },
})
const rows = Number(values.rows)
const rounds = Number(values.rounds)
const traffic = Float64Array.from({ length: rows }, (_, row) => 1 / (row + 1))
const levels = 3

/** Distinct IDs of each prefix length, fullest ID, used codes of each level, changed IDs and first codes. */
type Answer = readonly number[]

const script = `
import json, sys, time
import numpy as np
def neighbors(file, dim, queries, k):
    x = np.fromfile(file, dtype='<f4').reshape(-1, dim)
    start = time.perf_counter()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    rows = []
    for at in range(0, len(queries), 500):
        part = queries[at:at + 500]
        scores = unit[part] @ unit.T
        scores[np.arange(len(part)), part] = -2
        top = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind='stable')
        rows.append(np.take_along_axis(top, order, 1))
    return [time.perf_counter() - start, np.concatenate(rows).ravel().tolist()]
for line in sys.stdin:
    files, size = json.loads(line)
    if isinstance(files, str):
        print(json.dumps(neighbors(files, *size)), flush=True)
        continue
    codes, before = (np.fromfile(f, dtype='<u2').reshape(-1, ${levels}) for f in files)
    start, processor = time.perf_counter(), time.process_time()
    distinct, key = [], np.zeros(len(codes), dtype=np.int64)
    for level in range(${levels}):
        key = key * size + codes[:, level]
        ids, counts = np.unique(key, return_counts=True)
        distinct.append(len(ids))
    p = counts / len(codes)
    entropy = -(p * np.log(p)).sum()
    used = [int((np.bincount(codes[:, level], minlength=size) > 0).sum()) for level in range(${levels})]
    differs = codes != before
    changed = int(differs.any(axis=1).sum())
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(json.dumps([seconds, [*distinct, int(counts.max()), *used, changed, int(differs[:, 0].sum())], processor]), flush=True)
`

function measure(codes: Uint16Array, before: Uint16Array, size: number): Answer {
  const sizes = Array.from({ length: levels }, () => size)
  const figures = usage(codes, sizes)
  const changes = churn(before, codes, levels)
  return [
    ...figures.prefixes,
    figures.maxBucket,
    ...figures.levels.map(({ used }) => used),
    Math.round(changes.full * rows),
    Math.round(changes.firstCode * rows),
  ]
}

/** Joined codes in a Map: what a few lines would do. */
function measureWithMap(codes: Uint16Array, before: Uint16Array, size: number): Answer {
  const distinct: number[] = []
  let most = 0
  for (let length = 1; length <= levels; length++) {
    const counts = new Map<number, number>()
    for (let at = 0; at < codes.length; at += levels) {
      let key = 0
      for (let level = 0; level < length; level++) key = key * size + codes[at + level]!
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    distinct.push(counts.size)
    if (length === levels) for (const count of counts.values()) most = Math.max(most, count)
  }
  const used = Array.from({ length: levels }, (_, level) => new Set(codes.filter((_code, at) => at % levels === level)).size)
  let [changed, first] = [0, 0]
  for (let at = 0; at < codes.length; at += levels) {
    if (codes[at] !== before[at]) first++
    if (codes[at] !== before[at] || codes[at + 1] !== before[at + 1] || codes[at + 2] !== before[at + 2]) changed++
  }
  return [...distinct, most, ...used, changed, first]
}

/** Codes that crowd at the low numbers, and the same with a tenth of the last codes changed. */
function example(size: number): { codes: Uint16Array; before: Uint16Array } {
  const codes = new Uint16Array(rows * levels)
  for (let at = 0; at < codes.length; at++) codes[at] = Math.floor(uniform(7, size, at) ** 2 * size)
  const before = codes.slice()
  for (let row = 0; row < rows; row += 10) before[row * levels + 2] = 0
  return { codes, before }
}

const folder = mkdtempSync(join(tmpdir(), 'sidestream-report-'))
const env = { ...process.env, OMP_NUM_THREADS: values.threads, OPENBLAS_NUM_THREADS: values.threads }
const python = values.python === undefined ? undefined : spawn(values.python, ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'], env })
const answers = python && createInterface({ input: python.stdout })[Symbol.asyncIterator]()
try {
  for (const size of [256, 1024, 8192]) {
    const { codes, before } = example(size)
    const files = [join(folder, 'codes'), join(folder, 'before')]
    writeFileSync(files[0]!, codes)
    writeFileSync(files[1]!, before)
    const peer = async (): Promise<[number, Answer, number?]> => {
      return python === undefined ? timed(() => measureWithMap(codes, before, size)) : ask(files, size)
    }
    deepStrictEqual(measure(codes, before, size), (await peer())[1])
    const [own, theirs, whole, processor, peerProcessor]: number[][] = [[], [], [], [], []]
    const others = watchOthers()
    for (let round = 0; round < rounds; round++) {
      const [ownSeconds, , ownProcessor] = timed(() => measure(codes, before, size))
      own!.push(ownSeconds)
      processor!.push(ownProcessor)
      const [peerRound, , peerProcessorRound = NaN] = await peer()
      theirs!.push(peerRound)
      peerProcessor!.push(peerProcessorRound)
      const start = process.cpuUsage()
      await qualityReport({
        codes,
        sizes: [size, size, size],
        traffic,
        before: { codes: before },
      })
      whole!.push(processorSeconds(start))
    }
    const [seconds, peerSeconds] = [median(own!), median(theirs!)]
    const line = {
      bench: `semantic-id report, ${rows} items, ${levels} x ${size}`,
      'items/s': figure(rows / seconds),
      'peer items/s': figure(rows / peerSeconds),
      peer: python === undefined ? 'Map of joined codes' : 'numpy np.unique per prefix length, np.bincount per level',
      ratio: figure(peerSeconds / seconds),
      seconds: figure(seconds),
      'processor seconds': figure(median(processor!)),
      'peer processor seconds': figure(median(peerProcessor!)),
      'processor seconds of the report with slices, before and after': figure(median(whole!)),
      'other processes': python === undefined ? others() : 'not told apart from numpy',
      rounds,
      node: process.version,
    }
    process.stdout.write(`${JSON.stringify(line)}\n`)
  }
  await compareNeighbors()
} finally {
  python?.stdin.end()
  rmSync(folder, { recursive: true, force: true })
}
if (python === undefined) process.stderr.write('numpy was left out: name its interpreter with --python FILE\n')

/** Seconds, answer and processor seconds, which other processes disturb less. */
function timed<T>(run: () => T): [number, T, number] {
  const [start, used] = [performance.now(), process.cpuUsage()]
  const result = run()
  return [(performance.now() - start) / 1000, result, processorSeconds(used)]
}

function processorSeconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1e6
}

/** Seconds and answer of numpy. */
async function ask(files: unknown, about: unknown): Promise<[number, Answer, number?]> {
  python!.stdin.write(`${JSON.stringify([files, about])}\n`)
  const { value, done } = await answers!.next()
  if (done === true) throw new Error('numpy ended before it had answered')
  return JSON.parse(value) as [number, Answer, number?]
}

async function compareNeighbors(): Promise<void> {
  const [items, dim, k] = [100_000, 128, 10]
  const x = new Float32Array(items * dim)
  fillNormal(x, 5, 1)
  const queries = Uint32Array.from({ length: 2000 }, (_, at) => at * 50)
  const file = join(folder, 'vectors')
  writeFileSync(file, x)
  const run = async (): Promise<[number, Int32Array]> => {
    const start = performance.now()
    const found = await cosineNeighbors(x, dim, queries, { k, threads: Number(values.threads) })
    return [(performance.now() - start) / 1000, found]
  }
  const [own, theirs]: number[][] = [[], []]
  let different = 0
  for (let round = 0; round <= rounds; round++) {
    const [seconds, found] = await run()
    const [peerSeconds, answer] = python === undefined ? [NaN, [...found]] : await ask(file, [dim, [...queries], k])
    different = answer.reduce((count, row, at) => count + (row === found[at] ? 0 : 1), 0)
    if (different > queries.length / 100) throw new Error(`${different} neighbors differ from numpy's`)
    // The first round warms both up.
    if (round > 0) {
      own!.push(seconds)
      theirs!.push(peerSeconds)
    }
  }
  const [seconds, peerSeconds] = [median(own!), median(theirs!)]
  const line = {
    bench: `exact cosine top ${k}, ${queries.length} of ${items} items, d${dim}, ${values.threads} threads`,
    'queries/s': figure(queries.length / seconds),
    ...(python !== undefined && {
      'peer queries/s': figure(queries.length / peerSeconds),
      peer: 'numpy product, argpartition',
      ratio: figure(peerSeconds / seconds),
      'different neighbors': different,
    }),
    rounds,
    node: process.version,
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
