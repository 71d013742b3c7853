/** The graph with its near-ties settled equals the float64 reference, whatever the quantizer. */
import { deepStrictEqual, ok } from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { ComputeWorker, Graph, Session, tensor, toModel } from '../../compute/index.ts'
import {
  appendEncode,
  codebooksOf,
  encodeSticky,
  fsqOf,
  networkOf,
  networkTolerance,
  settle,
  vectorDimOf,
  type Codebooks,
  type EncodeSettings,
  type Network,
  type Quantizer,
} from '../../semantic-ids/index.ts'
import { clustered } from './golden.ts'

const seed = 20_253
const dim = 6
const rows = 120
const worker = new ComputeWorker({ name: 'encode-property' })
after(() => worker.close())

/** What a quantizer is drawn by. */
interface Drawn {
  readonly sizes: readonly number[]
  readonly seed: number
  /** Codewords and vectors stand on this grid: whole steps give exact ties. 0 is none. */
  readonly grid: number
  /** Size of the codewords beside the vectors. */
  readonly scale: number
  readonly penalties: number
  readonly digits: readonly number[]
  readonly delta: number
}

const drawn = (most: number): fc.Arbitrary<Drawn> =>
  fc.record({
    sizes: fc.array(fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 60, max: 90 })), {
      minLength: 1,
      maxLength: most,
    }),
    seed: fc.integer({ min: 1, max: 1e6 }),
    grid: fc.constantFrom(0, 2, 8),
    scale: fc.constantFrom(0.3, 1, 20),
    penalties: fc.constantFrom(0, 0.5, 50),
    digits: fc.constantFrom([], [3], [5, 2, 4]),
    delta: fc.constantFrom(0, 0.1, 3, Infinity),
  })

function onGrid(values: Float32Array, grid: number): Float32Array {
  return grid === 0 ? values : values.map((value) => Math.round(value * grid) / grid)
}

function booksOf({ sizes, seed: own, grid, scale, penalties, digits }: Drawn, width = dim): Codebooks {
  const levels = sizes.map((size, level) => {
    const words = onGrid(
      clustered(size, width, 3, own + level).map((value) => (value * scale) / 2 ** level),
      grid,
    )
    // Every fourth codeword stands twice.
    for (let code = 4; code < size; code += 4) words.copyWithin(code * width, (code - 3) * width, (code - 2) * width)
    return words
  })
  const costs = sizes.map((size, level) =>
    level % 2 === 1 || penalties === 0 ? undefined : Float32Array.from({ length: size }, (_, code) => ((code * 7) % 5) * penalties * 0.25),
  )
  const fsq = digits.length === 0 ? undefined : fsqOf(digits, clustered(digits.length, width, 2, own + 99))
  return codebooksOf(width, levels, { ...(penalties > 0 && { penalties: costs }), ...(fsq && { fsq }) })
}

/** Codes of the graph, settled, and the share of rows that were decided again. */
async function byGraph(
  quantizer: Quantizer,
  vectors: Float32Array,
  old: Int32Array | undefined,
  delta: number,
): Promise<[Uint16Array, number]> {
  const { sizes } = quantizer.codebooks
  const graph = new Graph()
  const width = vectorDimOf(quantizer.codebooks, quantizer.network)
  const input = graph.input('vectors', 'float32', ['n', width])
  const parent = old && { old: graph.input('old', 'int32', ['n', sizes.length]), delta }
  const walk = appendEncode(graph, input, quantizer, parent)
  graph.output('codes', walk.codes)
  graph.output('margins', walk.margins)
  const session = await Session.create(toModel(graph), { worker, threads: 1 })
  try {
    const feeds = {
      vectors: tensor('float32', [rows, width], vectors),
      ...(old && { old: tensor('int32', [rows, sizes.length], old) }),
    }
    const { codes, margins } = await session.run(feeds)
    const proposal = { codes: codes!.data as Int32Array, margins: margins!.data as Float32Array }
    const settled = settle(vectors, proposal, quantizer, old && { old, delta })
    return [settled.codes, settled.rechecked / rows]
  } finally {
    await session.close()
  }
}

/** Compares graph and reference, free and with a parent's codes; the larger share of rows that were decided again. */
async function agree(
  codebooks: Codebooks,
  settings: EncodeSettings,
  vectors: Float32Array,
  delta: number,
  network?: Network,
): Promise<number> {
  const quantizer = { codebooks, settings, ...(network && { network }) }
  const levels = codebooks.sizes.length
  const best = encodeSticky(vectors, codebooks, settings, undefined, network)
  const [free, freeShare] = await byGraph(quantizer, vectors, undefined, delta)
  deepStrictEqual(free, best)
  // Two thirds of the items have a parent's ID: their own best, or any.
  const old = Int32Array.from(best, (code, at) => {
    const row = Math.floor(at / levels)
    const size = codebooks.sizes[at % levels]!
    return row % 3 === 0 ? -1 : row % 2 === 0 ? code : (row * 31 + (at % levels) * 17) % size
  })
  const [sticky, stickyShare] = await byGraph(quantizer, vectors, old, delta)
  deepStrictEqual(sticky, encodeSticky(vectors, codebooks, settings, { old, delta }, network))
  return Math.max(freeShare, stickyShare)
}

const check = <T>(property: fc.IAsyncProperty<T>, numRuns: number): Promise<void> => fc.assert(property, { seed, numRuns })
const vectorsOf = ({ seed: own, grid }: Drawn, width = dim): Float32Array => onGrid(clustered(rows, width, 5, own + 7), grid)

test(`greedy with penalties, a finite-scalar level and unit residuals (seed ${seed})`, async () => {
  await check(
    fc.asyncProperty(drawn(4), fc.boolean(), fc.boolean(), async (one, normalize, normalizeResiduals) => {
      const settings = { normalize, normalizeResiduals, recheckTolerance: 1e-5, beam: 1 }
      await agree(booksOf(one), settings, vectorsOf(one), one.delta)
    }),
    60,
  )
})

test(`greedy where whole IDs are kept, with penalties and a finite-scalar level (seed ${seed})`, async () => {
  await check(
    fc.asyncProperty(drawn(4), fc.boolean(), async (one, normalize) => {
      await agree(booksOf(one), { normalize, recheckTolerance: 1e-5, sticky: 'whole' }, vectorsOf(one), one.delta)
    }),
    60,
  )
})

test(`by beam, with penalties and a finite-scalar level (seed ${seed})`, async () => {
  await check(
    fc.asyncProperty(drawn(4), fc.boolean(), fc.constantFrom(2, 3, 7, 64), async (one, normalize, beam) => {
      await agree(booksOf(one), { normalize, recheckTolerance: 1e-5, beam }, vectorsOf(one), one.delta)
    }),
    60,
  )
})

test(`behind a network, at the tolerance that was measured (seed ${seed})`, async () => {
  await check(
    fc.asyncProperty(
      drawn(3),
      fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 3 }),
      fc.constantFrom({ beam: 1 }, { beam: 3 }, { sticky: 'whole' as const }),
      async (one, hidden, rule) => {
        const widths = [9, ...hidden, dim]
        const network = networkOf(
          widths.slice(1).map((out, layer) => ({
            weights: clustered(out, widths[layer]!, 4, one.seed + layer).map((value) => value / Math.sqrt(widths[layer]!)),
            bias: clustered(1, out, 1, one.seed + 50 + layer).map((value) => value * 0.1),
          })),
        )
        const vectors = vectorsOf(one, 9)
        const recheckTolerance = await networkTolerance(network, vectors, { worker })
        ok(recheckTolerance < 1e-2, `float32 is not that wrong: ${recheckTolerance}`)
        await agree(booksOf(one), { normalize: one.grid === 0, recheckTolerance, ...rule }, vectors, one.delta, network)
      },
    ),
    40,
  )
})

test('only near-ties are decided again', async () => {
  const plain = { sizes: [64, 64, 64], seed: 5, grid: 0, scale: 1, penalties: 0, digits: [], delta: 0.2 }
  const vectors = clustered(rows, dim, 5, 12)
  const distinct = codebooksOf(
    dim,
    plain.sizes.map((size, level) => clustered(size, dim, 9, 30 + level).map((value) => value / 2 ** level)),
    { fsq: fsqOf([5, 5], clustered(2, dim, 2, 3)) },
  )
  for (const settings of [{ beam: 1 }, { beam: 5 }, { normalizeResiduals: true }, { sticky: 'whole' as const }]) {
    const share = await agree(distinct, { normalize: true, recheckTolerance: 1e-5, ...settings }, vectors, plain.delta)
    ok(share < 0.05, `${JSON.stringify(settings)}: ${share}`)
  }
})
