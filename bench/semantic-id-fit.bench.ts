/**
 * Fitting residual codebooks: d 128 with 3 x 256 codes and 25 rounds, d 256 with 4 x 256 and 10, d 512 with 3 x 1,024 and 5, each on
 * 65,536 rows around 2,000 centers; with `--x FILE.f32` on those vectors instead (3 x `--size`, 25 rounds), e.g. real ones. Checked besides:
 * the fit on a source of `--source-rows` x 256, with its peak of memory.
 * Fits are made as they are by default, and level by level alone (`jointRounds: 0`), which is the work that the peers do; and once more
 * by default with as few rounds as leave no more than faiss.Kmeans did with all of them.
 * Peer with `--peers DIR --python FILE`: faiss.Kmeans level by level on the same rows, in turns in the same run, and with `--rq` also
 * faiss.ResidualQuantizer (beam 1). Both count fitting only. `fvu` is over the rows fitted on, mean of the rounds; every round has a seed
 * of its own, as distortion hangs on the start. `others` is the share of the machine that other processes used: above a tenth, processor
 * time is the better figure.
 * Options: `--threads N` (2), `--rounds N` (3), `--size N` (64), `--only TEXT`, `--source-rows N` (1,000,000; 0: left out).
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fillNormal, normalizeRows, uniformInt } from '../compute/index.ts'
import { fitCodebooks, fitFromSource, type RowBatch } from '../semantic-ids/index.ts'
import { figure, median, watchOthers } from './harness.ts'

const { values } = parseArgs({
  options: {
    peers: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    rq: { type: 'boolean', default: false },
    x: { type: 'string' },
    size: { type: 'string', default: '64' },
    'source-rows': { type: 'string', default: '1000000' },
    source: { type: 'boolean', default: false },
  },
})
const threads = Number(values.threads)
const rounds = Number(values.rounds)

interface Shape {
  readonly dim: number
  readonly levels: number
  readonly size: number
  readonly iterations: number
}

const shapes: readonly Shape[] = [
  { dim: 128, levels: 3, size: 256, iterations: 25 },
  { dim: 256, levels: 4, size: 256, iterations: 10 },
  { dim: 512, levels: 3, size: 1024, iterations: 5 },
]
const generatedRows = 65_536

interface Run {
  readonly iterations: number
  readonly seconds: number
  readonly cpuSeconds: number
  readonly fvu: number
}

if (values.source) await fitSourceHere(Number(values['source-rows']))
else {
  if (values.x === undefined) for (const shape of shapes) await besideFaiss(shape, undefined)
  else await besideFaiss({ dim: dimOf(values.x), levels: 3, size: Number(values.size), iterations: 25 }, values.x)
  if (values.peers === undefined) process.stderr.write('faiss was left out: name its scripts with --peers DIR --python FILE\n')
  const rows = Number(values['source-rows'])
  if (values.x === undefined && rows > 0 && `source ${rows} x 256`.includes(values.only)) {
    // A process of its own, so that the peak is its own.
    const args = [...process.execArgv, import.meta.filename, '--source', '--source-rows', String(rows), '--threads', values.threads]
    execFileSync(process.execPath, args, { stdio: 'inherit' })
  }
}

async function besideFaiss(shape: Shape, file: string | undefined): Promise<void> {
  const { dim, levels, size, iterations } = shape
  const name = `semantic-id fit d${dim} ${levels}x${size}, ${iterations} rounds, ${threads} threads${file === undefined ? '' : `, ${file.split('/').at(-1)}`}`
  if (!name.includes(values.only)) return
  const folder = mkdtempSync(join(tmpdir(), 'sidestream-bench-'))
  try {
    const x = file ?? join(folder, 'x.f32')
    const vectors = file === undefined ? clustered(generatedRows, dim) : floats(file)
    if (file === undefined && values.peers !== undefined) {
      const generate = [join(values.peers, 'gen.py'), 'vectors', '--n', String(generatedRows), '--dim', String(dim), '--out', x]
      execFileSync(values.python, generate)
      vectors.set(floats(x))
    }
    const rows = vectors.length / dim
    const ours: Run[] = []
    const alone: Run[] = []
    const few: Run[] = []
    const theirs: Run[] = []
    const quantizers: Run[] = []
    const others = watchOthers()
    for (let seed = 0; seed < rounds; seed++) {
      ours.push(await fitOurs(vectors, shape, seed))
      alone.push(await fitOurs(vectors, shape, seed, 0))
      if (values.peers === undefined) continue
      const kMeans = fitFaiss(values.peers, x, rows, shape, seed, ['--method', 'kmeans'])
      theirs.push(kMeans)
      few.push(await fitDownTo(kMeans.fvu, vectors, shape, seed))
      if (values.rq) quantizers.push(fitFaiss(values.peers, x, rows, shape, seed, ['--method', 'rq', '--beam', '1', '--train-beam', '1']))
    }
    const ratio = (peers: readonly Run[], ours: readonly Run[], of: 'seconds' | 'cpuSeconds'): number =>
      figure(median(peers.map((run, at) => run[of] / ours[at]![of])))
    const figuresOf = (runs: readonly Run[], prefix: string): Record<string, unknown> => ({
      [`${prefix}s`]: figure(median(runs.map(({ seconds }) => seconds))),
      [`${prefix}cpu s`]: figure(median(runs.map(({ cpuSeconds }) => cpuSeconds))),
      [`${prefix}fvu`]: Number((runs.reduce((sum, { fvu }) => sum + fvu, 0) / runs.length).toPrecision(4)),
    })
    const line = {
      bench: name,
      rows,
      ...figuresOf(ours, ''),
      ...figuresOf(alone, 'levels alone '),
      ...(theirs.length > 0 && {
        peer: 'faiss.Kmeans per level',
        ...figuresOf(theirs, 'peer '),
        ratio: ratio(theirs, ours, 'seconds'),
        'cpu ratio': ratio(theirs, ours, 'cpuSeconds'),
        'levels alone ratio': ratio(theirs, alone, 'seconds'),
        'levels alone cpu ratio': ratio(theirs, alone, 'cpuSeconds'),
        ...figuresOf(few, 'down to peer fvu '),
        'down to peer fvu rounds': few.map(({ iterations }) => iterations),
        'down to peer fvu ratio': ratio(theirs, few, 'seconds'),
        'down to peer fvu cpu ratio': ratio(theirs, few, 'cpuSeconds'),
      }),
      ...(quantizers.length > 0 && { 'second peer': 'faiss.ResidualQuantizer', ...figuresOf(quantizers, 'second peer ') }),
      others: others(),
      rounds,
      node: process.version,
    }
    process.stdout.write(`${JSON.stringify(line)}\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function fitOurs(vectors: Float32Array, { dim, levels, size, iterations }: Shape, seed: number, jointRounds?: number): Promise<Run> {
  const rows = vectors.length / dim
  const ids = Array.from({ length: rows }, (_, row) => String(row))
  const sizes = Array.from({ length: levels }, () => size)
  const cpu = process.cpuUsage()
  const start = performance.now()
  const { fvu } = await fitCodebooks(vectors, ids, dim, {
    sizes,
    seed,
    iterations,
    normalize: false,
    threads,
    sampleRowsPerCode: Math.ceil(rows / size),
    ...(jointRounds !== undefined && { jointRounds }),
  })
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { iterations, seconds, cpuSeconds: (user + system) / 1e6, fvu }
}

/** The fit of least rounds that leaves no more than `fvu`; that of all rounds where none does. */
async function fitDownTo(fvu: number, vectors: Float32Array, shape: Shape, seed: number): Promise<Run> {
  for (let iterations = 2; ; iterations++) {
    const run = await fitOurs(vectors, { ...shape, iterations }, seed)
    if (run.fvu <= fvu || iterations >= shape.iterations) return run
  }
}

function fitFaiss(peers: string, x: string, rows: number, shape: Shape, seed: number, method: readonly string[]): Run {
  const { levels, size, iterations } = shape
  const numbers = { levels, k: size, iters: iterations, threads, seed, 'train-n': rows, n: rows, runs: 1 }
  const args = Object.entries(numbers).flatMap(([key, value]) => [`--${key}`, String(value)])
  const output = execFileSync(values.python, [join(peers, 'faiss_rq.py'), '--x', x, ...args, ...method], { encoding: 'utf8' })
  const line = JSON.parse(output.trim().split('\n').at(-1)!)
  return { iterations, seconds: line.train_s, cpuSeconds: line.train_cpu_s, fvu: line.fvu }
}

/** Rows made as they are read: more than the process ever holds. */
async function fitSourceHere(rows: number): Promise<void> {
  const dim = 256
  const centers = new Float32Array(2000 * dim)
  fillNormal(centers, 1, 1)
  const batchRows = 4096
  async function* open(): AsyncIterable<RowBatch> {
    for (let from = 0; from < rows; from += batchRows) {
      const count = Math.min(batchRows, rows - from)
      const vectors = new Float32Array(count * dim)
      fillNormal(vectors, 2, 100 + from)
      addCenters(vectors, dim, centers, from)
      yield { ids: Array.from({ length: count }, (_, row) => String(from + row)), vectors }
    }
  }
  const started = process.resourceUsage().maxRSS
  const start = performance.now()
  let reading = 0
  const { fvu, training } = await fitFromSource(
    { dim, open },
    { sizes: [256, 256, 256], seed: 1, iterations: 10, threads, onProgress: () => void (reading ||= performance.now() - start) },
  )
  const line = {
    bench: `semantic-id fit on a source of ${rows} x ${dim}, 3x256, 10 rounds, ${threads} threads`,
    s: figure((performance.now() - start) / 1000),
    'until the first round s': figure(reading / 1000),
    fvu: figure(fvu),
    'rows fitted on': training['sampleRows'],
    'rows MB': Math.round((rows * dim * 4) / 1e6),
    'sample MB': Math.round((Number(training['sampleRows']) * dim * 4) / 1e6),
    'peak MB': Math.round(process.resourceUsage().maxRSS / 1000),
    'peak before MB': Math.round(started / 1000),
    node: process.version,
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

function addCenters(vectors: Float32Array, dim: number, centers: Float32Array, from: number): void {
  for (let row = 0; row < vectors.length / dim; row++) {
    const center = uniformInt(1, 3, from + row, centers.length / dim) * dim
    for (let j = 0; j < dim; j++) vectors[row * dim + j] = centers[center + j]! + 0.6 * vectors[row * dim + j]!
  }
}

/** Unit vectors around 2,000 centers. */
function clustered(rows: number, dim: number): Float32Array {
  const centers = new Float32Array(2000 * dim)
  fillNormal(centers, 1, 1)
  const out = new Float32Array(rows * dim)
  fillNormal(out, 1, 2)
  addCenters(out, dim, centers, 0)
  normalizeRows(out, dim)
  return out
}

function floats(file: string): Float32Array {
  const bytes = readFileSync(file)
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
}

function dimOf(file: string): number {
  return JSON.parse(readFileSync(`${file}.json`, 'utf8')).dim
}
