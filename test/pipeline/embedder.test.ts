import { deepStrictEqual, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import { fillNormal } from '../../compute/index.ts'
import { Embedder } from '../../pipeline/embedder.ts'
import type { ContentRows, EmbedderOptions } from '../../pipeline/embedder.ts'
import {
  bundleFromParts,
  bundleOf,
  bundleToParts,
  codebooksOf,
  encode,
  encodeSticky,
  fsqOf,
  networkOf,
  networkTolerance,
  ParentCodes,
  type Bundle,
  type Quantizer,
} from '../../semantic-ids/index.ts'
import { modalities, worldHead, worldItems } from '../distill/head-world.ts'

const count = 600
const items = worldItems(count)
const head = worldHead(items)
const ids = [...items.keys()]
const content: ContentRows = {
  ids,
  vectors: modalities.map(({ name, dim }) => {
    const all = new Float32Array(count * dim)
    for (const [row, id] of ids.entries()) all.set(items.get(id)![name] ?? new Float32Array(dim), row * dim)
    return all
  }),
  present: modalities.map(({ name }) => Uint8Array.from(ids, (id) => (items.get(id)![name] === undefined ? 0 : 1))),
}
const options: EmbedderOptions = { head, views: [{ name: 'main', prefix: 8, dtype: 'f16' }], semanticIdView: 'main' }
/** Dims of the view: distilled and content part. */
const dim = 16

function numbers(rows: number, width: number, seed: number, scale = 0.3): Float32Array {
  const out = new Float32Array(rows * width)
  fillNormal(out, 4, seed)
  return out.map((value) => value * scale)
}

const levels = [numbers(20, dim, 1), numbers(17, dim, 2, 0.15), numbers(9, dim, 3, 0.1)]
const settings = { normalize: true, recheckTolerance: 1e-5 }
const network = networkOf([
  { weights: numbers(24, dim, 5), bias: numbers(1, 24, 6) },
  { weights: numbers(6, 24, 7), bias: new Float32Array(6) },
])
const quantizers: Record<string, Quantizer> = {
  greedy: { codebooks: codebooksOf(dim, levels), settings },
  'prices and a finite-scalar level': {
    codebooks: codebooksOf(dim, levels, {
      penalties: [Float32Array.from({ length: 20 }, (_, code) => code / 40), undefined, undefined],
      fsq: fsqOf([5, 4], numbers(2, dim, 4, 2)),
    }),
    settings,
  },
  'unit residuals': { codebooks: codebooksOf(dim, levels), settings: { ...settings, normalizeResiduals: true } },
  beam: { codebooks: codebooksOf(dim, levels), settings: { ...settings, beam: 4 } },
  network: { codebooks: codebooksOf(6, [numbers(11, 6, 8), numbers(12, 6, 9, 0.2)]), settings, network },
}

async function embedded(bundle: Bundle): Promise<{ codes: Uint16Array; vectors: Float32Array; rechecked: number }> {
  const embedder = await Embedder.create({ ...options, bundle })
  try {
    const { codes, dequantized, rechecked } = await embedder.embed(content)
    return { codes, vectors: dequantized, rechecked }
  } finally {
    await embedder.close()
  }
}

for (const [kind, quantizer] of Object.entries(quantizers)) {
  test(`published IDs are those of the bundle, free and sticky: ${kind}`, async () => {
    const { codebooks } = quantizer
    const origin = { parent: null, idSpace: 'test', input: {}, training: {}, policy: {} }
    const first = bundleOf({ ...quantizer, delta: 0, parents: ParentCodes.empty(codebooks.sizes.length), origin })
    // As a later process has it: read back from its bytes.
    const free = await embedded(bundleFromParts(bundleToParts(first)))
    deepStrictEqual(free.codes, encode(free.vectors, codebooks, quantizer.settings, quantizer.network))
    ok(free.rechecked < count / 2, `${free.rechecked} rows were decided again`)
    const shifted = new Uint16Array(free.codes.length)
    shifted.set(free.codes.subarray(codebooks.sizes.length))
    const parents = ParentCodes.of(ids, shifted, codebooks.sizes.length)
    const recheckTolerance = quantizer.network ? await networkTolerance(quantizer.network, free.vectors) : 1e-5
    const next = bundleOf({ ...first, settings: { ...first.settings, recheckTolerance }, delta: 0.6, parents })
    const sticky = await embedded(next)
    const old = parents.lookup(ids)
    deepStrictEqual(sticky.codes, encodeSticky(sticky.vectors, codebooks, next.settings, { old, delta: 0.6 }, quantizer.network))
    ok(sticky.codes.some((code, at) => code !== free.codes[at]) && sticky.codes.some((code, at) => code !== shifted[at]))
  })
}

test('a bundle for vectors of another width is refused', async () => {
  const { codebooks } = quantizers['network']!
  const bundle = bundleOf({
    codebooks,
    settings,
    delta: 0,
    parents: ParentCodes.empty(2),
    origin: { parent: null, idSpace: 'test', input: {}, training: {}, policy: {} },
  })
  await rejects(Embedder.create({ ...options, bundle }), { code: 'SIDESTREAM_SHAPE_MISMATCH', message: /6 dims/ })
})
