import { deepStrictEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { Graph, Session, tensor, toModel } from '../../compute/index.ts'
import {
  appendEncode,
  assign,
  bundleOf,
  codebooksOf,
  decode,
  encode,
  encodeDefaults,
  encodeSticky,
  originsOf,
  ParentCodes,
  reconstruction,
  SemanticIdEncoder,
  type Bundle,
  type Codebooks,
} from '../../semantic-ids/index.ts'
import { clustered, codebooks, encoded, flat, golden, refreshed, settings, x } from './golden.ts'

const origin = { parent: null, idSpace: 'test', input: {}, training: {}, policy: {} }
const freeBundle = (books: Codebooks, normalize: boolean): Bundle =>
  bundleOf({
    codebooks: books,
    settings: { ...encodeDefaults, normalize },
    delta: 0,
    parents: ParentCodes.empty(books.sizes.length),
    origin,
  })

/** Codebooks drawn from the vectors themselves, so that rows meet codewords exactly and ties happen. */
function drawn(vectors: Float32Array, dim: number, sizes: number[]): Codebooks {
  return codebooksOf(
    dim,
    sizes.map((size, level) => vectors.slice(level * 7 * dim, (level * 7 + size) * dim).map((value) => value / 2 ** level)),
  )
}

test('the reference gives the golden codes, the tie of row 59 included', () => {
  deepStrictEqual(encode(x, codebooks, settings), encoded)
})

test('the worker gives the golden codes', async (t) => {
  const encoder = await SemanticIdEncoder.create(freeBundle(codebooks, false))
  t.after(() => encoder.close())
  const { codes, origins, rechecked } = await encoder.encode(x)
  deepStrictEqual(codes, encoded)
  deepStrictEqual(new Set(origins), new Set(['encoded']))
  ok(rechecked >= 1, 'the exact tie of row 59 is decided again')
})

test('frozen, sticky and keep-all follow the golden refresh', () => {
  const old = Int32Array.from(encoded)
  const sticky = (delta: number): Uint16Array => encodeSticky(refreshed, codebooks, settings, { old, delta })
  deepStrictEqual(encode(refreshed, codebooks, settings), flat(golden.refresh.frozen_reencode.codes))
  deepStrictEqual(sticky(0), flat(golden.refresh.frozen_reencode.codes))
  deepStrictEqual(sticky(0.25), flat(golden.refresh['sticky_0.25'].codes))
  deepStrictEqual(sticky(Infinity), flat(golden.refresh.keep_all.codes))
})

test('worker codes equal the reference on 50,000 clustered rows, whatever the threads', async (t) => {
  const dim = 24
  const vectors = clustered(50_000, dim, 40, 3)
  const books = drawn(vectors, dim, [32, 20, 9])
  for (const normalize of [false, true]) {
    const encoder = await SemanticIdEncoder.create(freeBundle(books, normalize), { threads: 2 })
    t.after(() => encoder.close())
    const { codes, rechecked } = await encoder.encode(vectors)
    deepStrictEqual(codes, encode(vectors, books, { normalize }))
    ok(rechecked < 5000, `only near-ties are decided again, got ${rechecked}`)
  }
})

test('worker codes equal the sticky reference for every switching cost', async (t) => {
  const dim = 16
  const vectors = clustered(4000, dim, 30, 5)
  const books = drawn(vectors, dim, [24, 70, 5])
  const ids = Array.from({ length: 4000 }, (_, row) => `item-${row}`)
  const before = encode(clustered(4000, dim, 30, 6), books, { normalize: true })
  // A third of the items is new; every ninth has the codes of a neighbor, to leave in the middle of the ID.
  const known = ids.map((_, row) => row).filter((row) => row % 3 !== 0)
  const parentCodes = Uint16Array.from(known.flatMap((row) => [...before.subarray((row - (row % 9 === 1 ? 1 : 0)) * 3).subarray(0, 3)]))
  const parents = ParentCodes.of(
    known.map((row) => ids[row]!),
    parentCodes,
    3,
  )
  const old = parents.lookup(ids)
  for (const delta of [0, 0.05, 0.5, 4, Infinity]) {
    const encoder = await SemanticIdEncoder.create(bundleOf({ codebooks: books, settings: encodeDefaults, delta, parents, origin }))
    t.after(() => encoder.close())
    const { codes, origins, rechecked } = await encoder.encode(vectors, ids)
    ok(rechecked < 200, `only near-ties are decided again, got ${rechecked} at delta ${delta}`)
    deepStrictEqual(codes, encodeSticky(vectors, books, encodeDefaults, { old, delta }))
    equal(
      origins.filter((from) => from === 'kept').length,
      known.filter((row) => codes.subarray(row * 3, row * 3 + 3).every((code, level) => code === old[row * 3 + level])).length,
    )
    if (delta === 0) deepStrictEqual(codes, encode(vectors, books, encodeDefaults))
    if (delta === Infinity) equal(origins.filter((from) => from === 'kept').length, known.length)
  }
})

test('levels of every small size, of one code too, agree with the reference', async (t) => {
  const dim = 5
  const vectors = clustered(500, dim, 9, 8)
  for (const sizes of [
    [1, 2, 3, 4],
    [5, 7, 8, 1],
    [63, 64, 65, 100],
  ]) {
    const books = drawn(vectors, dim, sizes)
    const encoder = await SemanticIdEncoder.create(freeBundle(books, true))
    t.after(() => encoder.close())
    deepStrictEqual((await encoder.encode(vectors)).codes, encode(vectors, books, encodeDefaults), `sizes ${sizes.join()}`)
  }
})

test('scale does not matter: zero, tiny and huge vectors are settled by the reference', async (t) => {
  const dim = 4
  const books = drawn(clustered(40, dim, 9, 2), dim, [9, 6])
  const rows = [0, 1e-30, 1e-20, 1e-12, 1e-3, 1, 1e6, 1e25].flatMap((scale) => [0.3, -0.2, 0.9, 0.1].map((value) => value * scale))
  const vectors = Float32Array.from(rows)
  for (const normalize of [true, false]) {
    const encoder = await SemanticIdEncoder.create(freeBundle(books, normalize))
    t.after(() => encoder.close())
    deepStrictEqual((await encoder.encode(vectors)).codes, encode(vectors, books, { normalize }))
  }
})

test('appended behind other nodes, the IDs are those of the published numbers', async (t) => {
  const dim = 16
  const rows = 700
  const books = drawn(clustered(200, dim, 20, 9), dim, [30, 30])
  const content = clustered(rows, dim, 25, 10)
  const ids = Array.from({ length: rows }, (_, row) => `item-${row}`)
  const parents = ParentCodes.of(ids.slice(0, 300), encode(content.subarray(3 * dim, 303 * dim), books, encodeDefaults), 2)
  const bundle = bundleOf({ codebooks: books, settings: encodeDefaults, delta: 0.3, parents, origin })
  const graph = new Graph()
  const input = graph.input('content', 'float32', ['n', dim])
  const old = graph.input('old', 'int32', ['n', 2])
  const published = graph.cast(graph.cast(graph.scale(input, 0.37), 'float16'), 'float32')
  const walk = appendEncode(graph, published, bundle, { old, delta: bundle.delta })
  graph.output('published', published)
  graph.output('codes', walk.codes)
  graph.output('margins', walk.margins)
  graph.output('errors', walk.errors)
  const session = await Session.create(toModel(graph))
  t.after(() => session.close())
  const known = parents.lookup(ids)
  const outputs = await session.run({ content: tensor('float32', [rows, dim], content), old: tensor('int32', [rows, 2], known) })
  const numbers = outputs['published']!.data as Float32Array
  const proposal = { codes: outputs['codes']!.data as Int32Array, margins: outputs['margins']!.data as Float32Array }
  const { codes, origins } = assign(bundle, numbers, known, proposal)
  deepStrictEqual(codes, encodeSticky(numbers, books, encodeDefaults, { old: known, delta: 0.3 }))
  ok(origins.includes('kept') && origins.slice(0, 300).includes('encoded'))
  const mean = (outputs['errors']!.data as Float32Array).reduce((sum, error) => sum + error, 0) / rows
  ok(Math.abs(mean - reconstruction(numbers, codes, books, encodeDefaults).distortion) < 1e-4)
})

test('an ID does not depend on the batch it came in', async (t) => {
  const dim = 12
  const vectors = clustered(3000, dim, 20, 4)
  const encoder = await SemanticIdEncoder.create(freeBundle(drawn(vectors, dim, [64, 64]), true))
  t.after(() => encoder.close())
  const whole = (await encoder.encode(vectors)).codes
  for (const [from, to] of [
    [0, 1],
    [17, 900],
    [2999, 3000],
    [5, 5],
  ] as const) {
    deepStrictEqual((await encoder.encode(vectors.subarray(from * dim, to * dim))).codes, whole.slice(from * 2, to * 2))
  }
})

test('a stream gives the codes of its batches in order, and reads no further ahead than its threads need', async (t) => {
  const dim = 12
  const vectors = clustered(3000, dim, 20, 4)
  const ids = Array.from({ length: 3000 }, (_, row) => `item-${row}`)
  const encoder = await SemanticIdEncoder.create(freeBundle(drawn(vectors, dim, [64, 64]), true), { threads: 2 })
  t.after(() => encoder.close())
  const whole = (await encoder.encode(vectors)).codes
  let read = 0
  // Batches of very different sizes: a small one overtakes a large one in the workers.
  const bounds = [0, 1500, 1501, 1502, 1502, 2400, 2401, 3000]
  function* batches(): Generator<{ ids: string[]; vectors: Float32Array; from: number }> {
    for (const [i, from] of bounds.slice(0, -1).entries()) {
      read++
      const to = bounds[i + 1]!
      yield { ids: ids.slice(from, to), vectors: vectors.slice(from * dim, to * dim), from }
    }
  }
  let taken = 0
  for await (const { from, ids: own, codes } of encoder.stream(batches())) {
    ok(read <= taken + 3, `${read} batches were read when ${taken} were taken`)
    equal(from, bounds[taken++])
    deepStrictEqual(own[0], codes.length === 0 ? undefined : `item-${from}`)
    deepStrictEqual(codes, whole.slice(from * 2, from * 2 + codes.length))
  }
  equal(taken, 7)
  const bad = [{ ids: ['a'], vectors: new Float32Array(dim).fill(NaN) }]
  await t.assert.rejects(encoder.stream(bad).next(), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
  await t.assert.rejects(encoder.stream(batches(), AbortSignal.abort()).next(), { name: 'AbortError' })
})

test('decode sums the codewords', () => {
  const residual = golden.encode.residual_after_level_2 as number[][]
  const decoded = decode(encoded, codebooks)
  for (const [row, left] of residual.entries()) {
    for (const [j, value] of left.entries()) equal(decoded[row * 4 + j], Math.fround(x[row * 4 + j]! - value))
  }
})

test('origins: whole ID kept or not', () => {
  deepStrictEqual(originsOf(Uint16Array.of(1, 2, 1, 3, 4, 4), Int32Array.of(1, 2, 1, 2, -1, -1), 2), ['kept', 'encoded', 'encoded'])
})

test('bad vectors and codebooks are refused with their place', async (t) => {
  const encoder = await SemanticIdEncoder.create(freeBundle(codebooks, true))
  t.after(() => encoder.close())
  await t.assert.rejects(encoder.encode(new Float32Array(5)), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await t.assert.rejects(encoder.encode(Float32Array.of(0, 0, 0, 0, 0, NaN, 0, 0)), {
    code: 'SIDESTREAM_VECTOR_NOT_FINITE',
    details: { row: 1, position: 1 },
  })
  await t.assert.rejects(encoder.encode(new Float32Array(8), ['only one']), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => codebooksOf(4, []), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => codebooksOf(4, [new Float32Array(6)]), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  throws(() => codebooksOf(2, [Float32Array.of(0, Infinity)]), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
})
