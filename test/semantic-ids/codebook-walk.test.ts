import { deepStrictEqual, notDeepStrictEqual } from 'node:assert/strict'
import { after, test } from 'node:test'
import { CodebookWalk } from '../../semantic-ids/codebook-walk.ts'
import { codebooksOf, encodeSticky, fsqOf, networkOf, type Codebooks, type Quantizer } from '../../semantic-ids/index.ts'
import { Crew } from '../../semantic-ids/walk-pool.ts'
import { clustered } from './golden.ts'

const crew = new Crew(2)
after(() => crew.close())

const dim = 8
const rows = 3000
const vectors = clustered(rows, dim, 20, 1)
const settings = { normalize: true, recheckTolerance: 1e-5 }
/** Codebooks of one shape, other numbers for every seed. */
function books(seed: number, width = dim): Codebooks {
  const levels = [40, 33, 12].map((size, level) => clustered(size, width, 30, seed + level).map((value) => value / (4 * 2 ** level)))
  const penalties = [undefined, Float32Array.from({ length: 33 }, (_, code) => (code % seed) / 50), undefined]
  return codebooksOf(width, levels, { penalties, fsq: fsqOf([3, 3], clustered(2, width, 2, 9)) })
}

const kinds: Record<string, Omit<Quantizer, 'codebooks'>> = {
  greedy: { settings },
  'whole IDs': { settings: { ...settings, sticky: 'whole' } },
  'unit residuals': { settings: { ...settings, normalizeResiduals: true } },
  beam: { settings: { ...settings, beam: 3 } },
  network: {
    settings: { ...settings, recheckTolerance: 1e-4 },
    network: networkOf([
      { weights: clustered(9, dim, 3, 20), bias: new Float32Array(9) },
      { weights: clustered(5, 9, 3, 21), bias: new Float32Array(5) },
    ]),
  },
}

for (const [kind, quantizer] of Object.entries(kinds)) {
  test(`codebooks change from run to run, free and sticky: ${kind}`, async () => {
    const width = quantizer.network ? 5 : dim
    const { network, settings: own } = quantizer
    const found: Uint16Array[] = []
    for (const sticky of [false, true]) {
      const walk = await CodebookWalk.like({ codebooks: books(3, width), ...quantizer }, sticky, crew)
      for (const seed of [3, 50]) {
        const codebooks = books(seed, width)
        const old = Int32Array.from({ length: rows * 4 }, (_, at) =>
          Math.floor(at / 4) % 3 === 0 ? -1 : (at * 7) % codebooks.sizes[at % 4]!,
        )
        const parent = sticky ? { old, delta: 0.5 } : undefined
        const codes = await walk.run(vectors, codebooks, own, parent)
        deepStrictEqual(codes, encodeSticky(vectors, codebooks, own, parent, network))
        found.push(codes)
      }
    }
    notDeepStrictEqual(found[0], found[1])
  })
}
