import { deepStrictEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  codebooksOf,
  encode,
  reconstruction,
  resolveCollisions,
  usage,
  withSuffix,
  type CollisionOptions,
} from '../../semantic-ids/index.ts'
import { codebooks, encoded, flat, golden, settings, x } from './golden.ts'

const split: CollisionOptions = { capacity: golden.collisions.capacity, duplicates: 'split' }
const ids = Array.from({ length: 60 }, (_, row) => String(row).padStart(2, '0'))

test('moves, order and what is left equal the golden numbers', () => {
  for (const named of [{}, { ids }]) {
    const { codes, moved, unresolved, report } = resolveCollisions({ codes: encoded, vectors: x, codebooks, settings, ...named }, split)
    deepStrictEqual([...codes], [...flat(golden.collisions.codes)])
    deepStrictEqual(
      moved.map(({ row, from, to }) => [row, from, to]),
      golden.collisions.moved_row_from_to,
    )
    deepStrictEqual(unresolved, golden.collisions.left_over_capacity)
    equal(report.fullest.before, golden.collisions.before)
    deepStrictEqual(
      [report.moved, report.unresolved],
      [golden.collisions.moved_row_from_to.length, golden.collisions.left_over_capacity.length],
    )
    ok(report.fvu.after > report.fvu.before)
    ok(Math.abs(report.fvu.before - golden.reconstruction.fvu) < 1e-12)
  }
})

test('an append moves new items only, as in the golden file', () => {
  const published = Uint8Array.from({ length: 60 }, (_, row) => Number(row < 40))
  const { codes, moved, unresolved, report } = resolveCollisions({ codes: encoded, vectors: x, codebooks, settings, published }, split)
  deepStrictEqual([...codes], [...flat(golden.collisions.append_codes)])
  deepStrictEqual(
    moved.map(({ row, from, to }) => [row, from, to]),
    golden.collisions.append_moved_row_from_to,
  )
  deepStrictEqual(unresolved, golden.collisions.append_left_over_capacity)
  ok(report.publishedOver > 0)
})

test('duplicates take one place together and keep one ID, unless they are split', () => {
  const together = resolveCollisions({ codes: encoded, vectors: x, codebooks, settings }, { capacity: 3 })
  equal(together.report.duplicates, 'together')
  const [first, ...others] = golden.duplicates.duplicate_groups[0] as number[]
  for (const row of others)
    deepStrictEqual(together.codes.subarray(row * 2, row * 2 + 2), together.codes.subarray(first! * 2, first! * 2 + 2))
  // Three rows of bucket (0, 0) are one vector: four places, one too many, instead of six.
  deepStrictEqual(together.moved.filter(({ row }) => encoded[row * 2] === 0 && encoded[row * 2 + 1] === 0).length, 1)
})

test('a published twin keeps the new ones with it', () => {
  const book = codebooksOf(1, [Float32Array.of(0), Float32Array.of(0, 1)])
  const vectors = Float32Array.of(0.25, 0.125, 0.25)
  const codes = Uint16Array.of(0, 0, 0, 0, 0, 0)
  const published = Uint8Array.of(0, 0, 1)
  const { moved, codes: after } = resolveCollisions({ codes, vectors, codebooks: book, settings, published }, { capacity: 1 })
  deepStrictEqual(moved, [{ row: 1, from: 0, to: 1 }])
  deepStrictEqual([...after], [0, 0, 0, 1, 0, 0])
})

const catalog = fc
  .record({
    points: fc.array(fc.tuple(fc.integer({ min: -8, max: 8 }), fc.integer({ min: -8, max: 8 }), fc.boolean()), {
      minLength: 1,
      maxLength: 40,
    }),
    capacity: fc.integer({ min: 1, max: 4 }),
    duplicates: fc.constantFrom('together' as const, 'split' as const),
  })
  .chain((plan) =>
    fc.record({
      plan: fc.constant(plan),
      order: fc.shuffledSubarray([...plan.points.keys()], { minLength: plan.points.length, maxLength: plan.points.length }),
    }),
  )
const books = codebooksOf(2, [Float32Array.of(-4, -4, 4, 4), Float32Array.of(-2, 0, 2, 0, 0, 3, 0, -3)])

test('whatever the order of items, each gets the same ID, published ones keep theirs and prefixes stay', () => {
  fc.assert(
    fc.property(catalog, ({ plan: { points, capacity, duplicates }, order }) => {
      const run = (rows: readonly number[]) => {
        const vectors = Float32Array.from(
          rows.flatMap((row) => points[row]!.slice(0, 2) as number[]),
          (value) => value / 4,
        )
        const codes = encode(vectors, books, settings)
        const published = Uint8Array.from(rows, (row) => Number(points[row]![2]))
        const named = rows.map((row) => `item ${row}`)
        const result = resolveCollisions({ codes, vectors, codebooks: books, settings, ids: named, published }, { capacity, duplicates })
        const suffixed = withSuffix(result.codes, books.sizes, named)
        return { rows, codes, published, named, result, suffixed }
      }
      const byId = ({ rows, result, suffixed }: ReturnType<typeof run>) =>
        new Map(
          rows.map((row, at) => [
            row,
            [...result.codes.subarray(at * 2, at * 2 + 2), ...suffixed.codes.subarray(at * 3, at * 3 + 3)].join(),
          ]),
        )
      const straight = run([...points.keys()])
      const shuffled = run(order)
      deepStrictEqual([...byId(shuffled)].sort(), [...byId(straight)].sort())
      deepStrictEqual(shuffled.result.report, { ...straight.result.report, fvu: shuffled.result.report.fvu })
      for (const [at, stays] of straight.published.entries()) {
        equal(straight.result.codes[at * 2], straight.codes[at * 2])
        if (stays === 1) equal(straight.result.codes[at * 2 + 1], straight.codes[at * 2 + 1])
      }
      if (straight.result.report.unresolved + straight.result.report.publishedOver === 0)
        ok(straight.result.report.fullest.after <= capacity)
      if (duplicates === 'split') equal(usage(straight.result.codes, books.sizes).maxBucket, straight.result.report.fullest.after)
      // With the suffix every item has an ID of its own.
      equal(usage(straight.suffixed.codes, straight.suffixed.sizes).distinct, points.length)
    }),
    { seed: 20260, numRuns: 300 },
  )
})

test('a suffix stays with the item that was published with it', () => {
  const codes = Uint16Array.of(1, 1, 1, 0)
  const { codes: first, sizes } = withSuffix(codes, [2], ['c', 'a', 'b', 'd'])
  deepStrictEqual([...first], [1, 2, 1, 0, 1, 1, 0, 0])
  deepStrictEqual(sizes, [2, 3])
  const grown = withSuffix(Uint16Array.of(1, 1, 1, 1, 0), [2], ['c', 'a', 'b', '0', 'd'], Int32Array.of(2, 0, -1, -1, 0))
  deepStrictEqual([...grown.codes], [1, 2, 1, 0, 1, 3, 1, 1, 0, 0])
  throws(() => withSuffix(codes, [2], undefined, Int32Array.of(1, 1, -1, -1)), { code: 'SIDESTREAM_USAGE_INVALID' })
})

test('degenerate input is resolved or refused', () => {
  const none = resolveCollisions({ codes: new Uint16Array(0), vectors: new Float32Array(0), codebooks, settings }, { capacity: 2 })
  deepStrictEqual([none.moved, none.unresolved, none.report.fullest.after], [[], [], 0])
  // One code on the last level: nowhere to go.
  const one = codebooksOf(1, [Float32Array.of(0)])
  const stuck = resolveCollisions(
    { codes: Uint16Array.of(0, 0, 0), vectors: Float32Array.of(1, 2, 3), codebooks: one, settings },
    { capacity: 1 },
  )
  deepStrictEqual([stuck.moved, stuck.unresolved], [[], [1, 2]])
  const same = resolveCollisions(
    { codes: new Uint16Array(3), vectors: new Float32Array(3).fill(2), codebooks: one, settings },
    { capacity: 1 },
  )
  deepStrictEqual([same.report.bucketsOver, same.unresolved], [{ before: 0, after: 0 }, []])
  const input = { codes: encoded, vectors: x, codebooks, settings }
  throws(() => resolveCollisions(input, { capacity: 0 }), { code: 'SIDESTREAM_USAGE_INVALID' })
  throws(() => resolveCollisions({ ...input, codes: encoded.map((code) => code + 3) }, { capacity: 1 }), {
    code: 'SIDESTREAM_SHAPE_MISMATCH',
  })
  throws(() => resolveCollisions({ ...input, vectors: x.with(3, NaN) }, { capacity: 1 }), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
  throws(() => resolveCollisions({ ...input, ids: ids.with(1, '00') }, { capacity: 1 }), { code: 'SIDESTREAM_ID_INVALID' })
})

test('a finite-scalar last level moves items to the nearest cell with room', () => {
  // Two digits of three values, cut at -1 and 1: code = 3 a + b.
  const cuts = [Float32Array.of(-1, 1), Float32Array.of(-1, 1)]
  const fsq = { digits: [3, 3], projection: Float32Array.of(1, 0, 0, 1), cuts }
  const books2 = { ...codebooksOf(2, [Float32Array.of(0, 0)]), sizes: [1, 9], fsq }
  const vectors = Float32Array.of(0.25, 0.5, 0.125, -0.75, 0.5, 0.25, 0, 0.75)
  const codes = encode(vectors, books2, settings)
  deepStrictEqual([...codes], [0, 4, 0, 4, 0, 4, 0, 4])
  // Least error first: rows 0 and 2 tie, so 0 stays by its number. Row 2 is nearest to a = 2, row 3 to b = 2, row 1 to b = 0.
  const { moved } = resolveCollisions({ codes, vectors, codebooks: books2, settings }, { capacity: 1 })
  deepStrictEqual(moved, [
    { row: 2, from: 4, to: 7 },
    { row: 3, from: 4, to: 5 },
    { row: 1, from: 4, to: 3 },
  ])
})

test('with residuals at unit length the moves follow the lengthened codewords', () => {
  const unit = { normalize: false, normalizeResiduals: true }
  const vectors = Float32Array.from({ length: 40 * 2 }, (_, at) => ((at * 37) % 64) / 8 - 4)
  const codes = encode(vectors, books, unit)
  const { codes: after, moved, report } = resolveCollisions({ codes, vectors, codebooks: books, settings: unit }, { capacity: 5 })
  ok(moved.length > 0 && report.fvu.after > report.fvu.before)
  // Every single move goes to the code of least error among those that were not full at the end and had room.
  const errorOf = (row: number, code: number): number => {
    const one = Uint16Array.of(codes[row * 2]!, code)
    return reconstruction(vectors.slice(row * 2, row * 2 + 2), one, books, unit).distortion
  }
  const taken = (prefix: number, code: number): number =>
    [...Array(40).keys()].filter((row) => after[row * 2] === prefix && after[row * 2 + 1] === code).length
  for (const { row, to } of moved) {
    for (let code = 0; code < 4; code++) {
      if (taken(codes[row * 2]!, code) < 5) ok(errorOf(row, to) <= errorOf(row, code) + 1e-12)
    }
  }
})
