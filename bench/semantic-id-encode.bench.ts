/**
 * Semantic-ID encoding, margins and near-tie settling included: d 128 with 3 x 256 codes, greedy and by a beam of 5, d 256 with
 * 4 x 256, d 512 with 3 x 1,024.
 * Peer with `--peers DIR --python FILE`: faiss (`faiss_rq.py`; greedy: IndexFlatL2 per level; beam: ResidualQuantizer with its table)
 * on the same vectors and codebooks, in turns in the same run; both count encoding only, not loading. Without: the plain float64
 * walk in TypeScript.
 * Options: `--threads N` (2), `--rounds N` (5), `--rows N` (200,000, 100,000 or 50,000), `--only TEXT` (shapes whose name holds it).
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fillNormal, normalizeRows, uniformInt } from '../compute/index.ts'
import {
  bundleOf,
  codebooksOf,
  encode,
  encodeDefaults,
  fitCodebooks,
  ParentCodes,
  reconstruction,
  SemanticIdEncoder,
  type Codebooks,
  type EncodeSettings,
} from '../semantic-ids/index.ts'
import { compare, median, watchOthers } from './harness.ts'

const shapes = [
  { dim: 128, levels: 3, size: 256, beam: 1, rows: 200_000 },
  { dim: 256, levels: 4, size: 256, beam: 1, rows: 100_000 },
  { dim: 512, levels: 3, size: 1024, beam: 1, rows: 50_000 },
  { dim: 128, levels: 3, size: 256, beam: 5, rows: 100_000 },
]
/** Errors of two encoders by beam differ by less than this share: rounding decides few of their near-ties. */
const sameError = 1e-4
const origin = { parent: null, idSpace: 'bench', input: {}, training: {}, policy: {} }

const { values } = parseArgs({
  options: {
    peers: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    rows: { type: 'string' },
    only: { type: 'string', default: '' },
  },
})
const threads = Number(values.threads)
const rounds = Number(values.rounds)

for (const shape of shapes.filter((one) => nameOf(one).includes(values.only))) {
  const sized = { ...shape, rows: values.rows === undefined ? shape.rows : Number(values.rows) }
  if (values.peers === undefined) await besidePlainLoop(sized)
  else await besideFaiss(sized, values.peers)
}
if (values.peers === undefined) process.stderr.write('faiss was left out: name its scripts with --peers DIR --python FILE\n')

type Shape = (typeof shapes)[number]

function nameOf({ dim, levels, size, beam }: Shape): string {
  return `semantic-id encode d${dim} ${levels}x${size}${beam > 1 ? ` beam ${beam}` : ''}, ${threads} threads`
}

/** The vectors are unit already and faiss does not normalize, so neither do we. */
function settingsOf({ beam }: Shape): EncodeSettings {
  return { ...encodeDefaults, normalize: false, beam }
}

function openEncoder(codebooks: Codebooks, shape: Shape): Promise<SemanticIdEncoder> {
  const parents = ParentCodes.empty(codebooks.sizes.length)
  return SemanticIdEncoder.create(bundleOf({ codebooks, settings: settingsOf(shape), delta: 0, parents, origin }), { threads })
}

async function besidePlainLoop(shape: Shape): Promise<void> {
  const { dim, levels, size, beam, rows } = shape
  const vectors = clustered(rows, dim)
  const fitted = Math.min(rows, 8192)
  const ids = Array.from({ length: fitted }, (_, row) => String(row))
  const sizes = Array.from({ length: levels }, () => size)
  const { codebooks } = await fitCodebooks(vectors.subarray(0, fitted * dim), ids, dim, {
    sizes,
    seed: 1,
    iterations: 3,
    normalize: false,
    threads,
  })
  const encoder = await openEncoder(codebooks, shape)
  const settings = settingsOf(shape)
  const part = vectors.subarray(0, Math.min(rows, beam > 1 ? 1000 : 5000) * dim)
  const expected = encode(part, codebooks, settings)
  const got = (await encoder.encode(part)).codes
  if (!expected.every((code, at) => code === got[at])) throw new Error(`${nameOf(shape)}: codes differ from the plain loop`)
  await compare<undefined>({
    name: nameOf(shape),
    count: rows,
    unit: 'vectors',
    sidestream: async () => void (await encoder.encode(vectors)),
    peer: () => void encode(part, codebooks, settings),
    peerCount: part.length / dim,
    peerName: 'plain float64 loop in TypeScript, one thread (faiss left out)',
    rounds,
  })
  await encoder.close()
}

async function besideFaiss(shape: Shape, peers: string): Promise<void> {
  const { dim, levels, size, beam, rows } = shape
  const folder = mkdtempSync(join(tmpdir(), 'sidestream-bench-'))
  const python = (script: string, ...args: string[]): Record<string, number> =>
    JSON.parse(
      execFileSync(values.python, [join(peers, script), ...args], { encoding: 'utf8' })
        .trim()
        .split('\n')
        .at(-1)!,
    )
  try {
    const [x, books, codes] = ['x.f32', 'codebooks.f32', 'codes.i32'].map((name) => join(folder, name)) as [string, string, string]
    python('gen.py', 'vectors', '--n', String(rows), '--dim', String(dim), '--out', x)
    const faiss = (...args: string[]): Record<string, number> =>
      python('faiss_rq.py', '--x', x, '--levels', String(levels), '--k', String(size), '--threads', String(threads), ...args)
    faiss('--iters', '5', '--runs', '1', '--save-codebooks', books, '--save-codes', codes)
    const vectors = new Float32Array(arrayBuffer(x))
    const words = new Float32Array(arrayBuffer(books))
    const step = size * dim
    const codebooks = codebooksOf(
      dim,
      Array.from({ length: levels }, (_, level) => words.slice(level * step, (level + 1) * step)),
    )
    const encoder = await openEncoder(codebooks, shape)
    const { codes: ours, rechecked } = await encoder.encode(vectors)
    const method = beam > 1 ? ['--method', 'rq', '--beam', String(beam)] : ['--method', 'kmeans']
    const agreement: Record<string, number> = {}
    if (beam === 1) {
      const theirs = new Int32Array(arrayBuffer(codes))
      const different = ours.reduce((count, code, at) => count + (code === theirs[at] ? 0 : 1), 0)
      if (different > rechecked)
        throw new Error(`${nameOf(shape)}: ${different} codes differ from faiss, more than the ${rechecked} near-ties`)
      agreement['different codes'] = different
    } else {
      // The peer gives packed codes: compare what they leave, by the share of variance that is unexplained.
      const { fvu } = reconstruction(vectors, ours, codebooks, settingsOf(shape))
      const theirs = faiss('--codebooks', books, '--runs', '1', ...method)['fvu']!
      if (Math.abs(fvu - theirs) > sameError * theirs) throw new Error(`${nameOf(shape)}: FVU ${fvu}, faiss ${theirs}`)
      agreement['fvu'] = fvu
      agreement['peer fvu'] = theirs
    }
    const others = watchOthers()
    const seconds: number[] = []
    const peerSeconds: number[] = []
    for (let round = 0; round < rounds; round++) {
      // Both sides are warm: the median of three runs in one process.
      peerSeconds.push(faiss('--codebooks', books, '--runs', '3', ...method)['encode_s']!)
      const runs: number[] = []
      for (let run = 0; run < 3; run++) {
        const start = performance.now()
        await encoder.encode(vectors)
        runs.push((performance.now() - start) / 1000)
      }
      seconds.push(median(runs))
    }
    const ratios = peerSeconds.map((peer, round) => peer / seconds[round]!)
    const line = {
      bench: nameOf(shape),
      'vectors/s': Math.round(rows / median(seconds)),
      'peer vectors/s': Math.round(rows / median(peerSeconds)),
      peer: beam > 1 ? 'faiss ResidualQuantizer with its table' : 'faiss IndexFlatL2 per level',
      ratio: Number(median(ratios).toPrecision(3)),
      ratios: ratios.map((ratio) => Number(ratio.toPrecision(3))),
      ...agreement,
      'near-ties settled': rechecked,
      'share of others': others(),
      rows,
      rounds,
      node: process.version,
    }
    process.stdout.write(`${JSON.stringify(line)}\n`)
    await encoder.close()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function arrayBuffer(file: string): ArrayBuffer {
  const bytes = readFileSync(file)
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
}

/** Unit vectors around 2,000 centers. */
function clustered(rows: number, dim: number): Float32Array {
  const centers = new Float32Array(2000 * dim)
  fillNormal(centers, 1, 1)
  const out = new Float32Array(rows * dim)
  fillNormal(out, 1, 2)
  for (let row = 0; row < rows; row++) {
    const center = uniformInt(1, 3, row, 2000) * dim
    for (let j = 0; j < dim; j++) out[row * dim + j] = centers[center + j]! + 0.6 * out[row * dim + j]!
  }
  normalizeRows(out, dim)
  return out
}
