/**
 * `node --import tsx examples/quantizers.ts --data DIR [--seeds 0,1,2] [--only TEXT] [--sizes 64,64,64]`: quantizers side by side at
 * equal sizes on the vectors of tiktok-mm (image) or globo-news, centered, at unit length: dead codes, distortion (FVU of the vectors;
 * that of an RQ-VAE is its decoder's), distinct IDs, largest share of a first code. On tiktok-mm also co-occurrence prefix recall: the
 * share of held-out (train item, test item) pairs of a user whose IDs agree in the first 1, 2, 3 codes; attraction is given the train
 * pairs alone.
 */
import { parseArgs } from 'node:util'
import {
  fitCodebooks,
  fitRqVae,
  SemanticIdEncoder,
  bundleOf,
  ParentCodes,
  usage,
  type FitOptions,
  type RqVaeOptions,
} from '../semantic-ids/index.ts'
import { centered as centeredGlobo, loadGlobo } from './globo-news/protocol.ts'
import { centered as centeredTikTok, loadTikTok, modalityDim } from './tiktok-mm/protocol.ts'
import { normalizeRows } from '../compute/index.ts'

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    seeds: { type: 'string', default: '0,1,2' },
    only: { type: 'string', default: '' },
    sizes: { type: 'string', default: '64,64,64' },
  },
})

interface Items {
  readonly ids: readonly string[]
  readonly dim: number
  readonly vectors: Float32Array
  /** Consumed together: known to a fit, and held out. */
  readonly pairs:
    | { readonly train: readonly (readonly [string, string])[]; readonly heldOut: readonly (readonly [number, number])[] }
    | undefined
}

interface Assignment {
  readonly codes: Uint16Array
  readonly fvu: number
}

const sizes = values.sizes.split(',').map(Number)
const threads = 2

const plain: Partial<FitOptions> = {}
const network: Partial<RqVaeOptions> = { hidden: [256], latentDim: 64, epochs: 300, batch: 512 }
type Arm = (items: Items, seed: number) => Promise<Assignment>
const arms: Readonly<Record<string, Arm>> = {
  'residual k-means': kMeansArm(plain),
  'residual k-means, balanced': kMeansArm({ balance: {} }),
  'residual k-means, beam 4': kMeansArm({ beam: 4 }),
  'attraction .25': attractionArm(0.25),
  'attraction .5': attractionArm(0.5),
  'attraction .75': attractionArm(0.75),
  'RQ-VAE, straight-through': networkArm({}),
  'RQ-VAE, rotation, running means': networkArm({ estimator: 'rotation', codebooks: 'ema' }),
}

if (values.data === undefined) {
  console.error('usage: node --import tsx examples/quantizers.ts --data DIR [--seeds 0,1,2] [--only TEXT] [--sizes 64,64,64]')
  process.exitCode = 2
} else {
  const items = await load(values.data)
  for (const [name, arm] of Object.entries(arms)) {
    if (!name.includes(values.only) || (name.startsWith('attraction') && items.pairs === undefined)) continue
    const rows: Record<string, number>[] = []
    for (const seed of values.seeds.split(',').map(Number)) rows.push(figures(items, await arm(items, seed)))
    const mean = (key: string): number => rows.reduce((sum, row) => sum + row[key]!, 0) / rows.length
    const line = Object.fromEntries(Object.keys(rows[0]!).map((key) => [key, Number(mean(key).toPrecision(4))]))
    process.stdout.write(`${JSON.stringify({ arm: name, sizes: values.sizes, seeds: rows.length, ...line })}\n`)
  }
}

async function load(dir: string): Promise<Items> {
  const tiktok = await loadTikTok(dir).catch(() => undefined)
  if (tiktok === undefined) {
    const globo = await loadGlobo(dir)
    const vectors = centeredGlobo(globo)
    normalizeRows(vectors, globo.dim)
    return { ids: globo.itemIds, dim: globo.dim, vectors, pairs: undefined }
  }
  const vectors = centeredTikTok(tiktok, 'image')
  normalizeRows(vectors, modalityDim)
  const train: (readonly [string, string])[] = []
  const heldOut: (readonly [number, number])[] = []
  for (const [user, own] of tiktok.train) {
    for (const [i, a] of own.entries()) {
      for (const b of own.slice(i + 1)) train.push([String(a), String(b)])
      for (const b of tiktok.test.get(user) ?? []) if (a !== b) heldOut.push([a, b])
    }
  }
  return { ids: Array.from({ length: tiktok.items }, (_, item) => String(item)), dim: modalityDim, vectors, pairs: { train, heldOut } }
}

function kMeansArm(options: Partial<FitOptions>): Arm {
  return async ({ ids, dim, vectors }, seed) => {
    const { codebooks, settings, fvu } = await fitCodebooks(vectors, ids, dim, { sizes, seed, threads, ...options })
    const origin = { parent: null, idSpace: 'eval', input: {}, training: {}, policy: {} }
    const encoder = await SemanticIdEncoder.create(
      bundleOf({ codebooks, settings, delta: 0, parents: ParentCodes.empty(sizes.length), origin }),
      { threads },
    )
    const { codes } = await encoder.encode(vectors)
    await encoder.close()
    return { codes, fvu: options.attraction === undefined ? fvu : fvuOf(vectors, dim, codes, codebooks.levels) }
  }
}

function attractionArm(weight: number): Arm {
  return (items, seed) => kMeansArm({ attraction: { pairs: items.pairs!.train, weight } })(items, seed)
}

function networkArm(options: Partial<RqVaeOptions>): Arm {
  return ({ ids, dim, vectors }, seed) => fitRqVae(vectors, ids, dim, { sizes, seed, threads, ...network, ...options })
}

function fvuOf(x: Float32Array, dim: number, codes: Uint16Array, levels: readonly Float32Array[]): number {
  const mean = new Float64Array(dim)
  x.forEach((value, at) => (mean[at % dim]! += (value * dim) / x.length))
  let [error, variance] = [0, 0]
  x.forEach((value, at) => {
    const row = Math.floor(at / dim)
    const sum = levels.reduce((total, words, level) => total + words[codes[row * levels.length + level]! * dim + (at % dim)]!, 0)
    error += (value - sum) ** 2
    variance += (value - mean[at % dim]!) ** 2
  })
  return error / variance
}

function figures({ ids, pairs }: Items, { codes, fvu }: Assignment): Record<string, number> {
  const report = usage(codes, sizes)
  const dead = report.levels.reduce((sum, level) => sum + level.dead, 0)
  const largest = Math.max(...report.levels[0]!.histogram) / ids.length
  const row: Record<string, number> = { dead, fvu, unique: report.distinct / ids.length, 'largest share': largest }
  if (pairs === undefined) return row
  for (let length = 1; length <= sizes.length; length++) {
    const agree = pairs.heldOut.filter(([a, b]) => {
      for (let level = 0; level < length; level++) if (codes[a * sizes.length + level] !== codes[b * sizes.length + level]) return false
      return true
    })
    row[`recall ${length}`] = agree.length / pairs.heldOut.length
  }
  return row
}
