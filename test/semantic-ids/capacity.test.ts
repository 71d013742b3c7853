import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import { before, test } from 'node:test'
import {
  bundleFromParts,
  bundleOf,
  bundleToParts,
  encode,
  fitCodebooks,
  networkOf,
  ParentCodes,
  rebaseCodebooks,
  refreshCodebooks,
  SemanticIdEncoder,
  withinCapacity,
  type Bundle,
  type Fit,
} from '../../semantic-ids/index.ts'
import { clustered } from './golden.ts'

const dim = 6
const levels = 2
const rows = 900
// Some items are alike byte for byte.
const alike = (own: Float32Array): Float32Array => own.copyWithin(0, 30 * dim, 60 * dim)
const vectors = alike(clustered(rows, dim, 12, 3))
const ids = Array.from({ length: rows }, (_, row) => `item-${row}`)
const origin = { parent: null, idSpace: 'here', input: {}, training: {}, policy: {} }
let fit: Fit
let free: Bundle
let codes: Uint16Array

before(async () => {
  fit = await fitCodebooks(vectors, ids, dim, { sizes: [8, 120], seed: 1 })
  free = bundleOf({ ...fit, delta: 0, parents: ParentCodes.empty(levels), origin })
  codes = encode(vectors, fit.codebooks, fit.settings)
})

/** Places of the fullest ID; identical vectors take one. */
function fullest(of: Uint16Array, numbers: Float32Array = vectors, duplicates: 'together' | 'split' = 'together'): number {
  const held = new Map<string, Set<string>>()
  for (let row = 0; row < of.length / levels; row++) {
    const sid = of.subarray(row * levels, (row + 1) * levels).join()
    if (!held.has(sid)) held.set(sid, new Set())
    held.get(sid)!.add(duplicates === 'split' ? String(row) : numbers.subarray(row * dim, (row + 1) * dim).join())
  }
  return Math.max(...[...held.values()].map((places) => places.size))
}

const sid = (of: Uint16Array, row: number): number[] => [...of.subarray(row * levels, (row + 1) * levels)]

test('a bundle gives the items of a capacity their IDs again, in any order, batch and number of threads', async (t) => {
  for (const duplicates of ['together', 'split'] as const) {
    const capped = withinCapacity(free, { ids, vectors }, codes, { capacity: 2, duplicates })
    ok(capped.collisions.moved > 20 && capped.collisions.unresolved === 0)
    ok(fullest(codes) > 2)
    equal(fullest(capped.codes, vectors, duplicates), 2)
    const { parts, about } = bundleToParts(capped.bundle)
    const bundle = bundleFromParts({ parts, about: JSON.parse(JSON.stringify(about)) })
    const encoder = await SemanticIdEncoder.create(bundle, { threads: 2 })
    t.after(() => encoder.close())
    const whole = await encoder.encode(vectors, ids)
    deepStrictEqual(whole.codes, capped.codes)
    equal(whole.origins.filter((from) => from === 'moved').length, capped.collisions.moved)
    for (let row = rows - 1; row >= 0; row -= 7) {
      const one = await encoder.encode(vectors.slice(row * dim, (row + 1) * dim), [ids[row]!])
      deepStrictEqual([...one.codes], sid(capped.codes, row))
      equal(one.origins[0], whole.origins[row])
    }
  }
})

test('a move holds while the vector does: changed content is encoded freely, and moved again when it comes back', async (t) => {
  const capped = withinCapacity(free, { ids, vectors }, codes, { capacity: 2 })
  const encoder = await SemanticIdEncoder.create(capped.bundle)
  t.after(() => encoder.close())
  const { origins } = await encoder.encode(vectors, ids)
  const row = origins.indexOf('moved')
  const own = vectors.slice(row * dim, (row + 1) * dim)
  const other = own.map((value, j) => (j === 0 ? value * 1.0001 : value))
  const three = Float32Array.from([...own, ...other, ...own])
  const now = await encoder.encode(three, [ids[row]!, ids[row]!, 'somebody else'])
  deepStrictEqual([...now.codes], [...sid(capped.codes, row), ...encode(other, fit.codebooks, fit.settings), ...sid(codes, row)])
  deepStrictEqual(now.origins, ['moved', 'encoded', 'encoded'])
  deepStrictEqual((await encoder.encode(own)).origins, ['encoded'])
})

test('behind a network the moves hang on the vectors in front of it', async (t) => {
  const network = networkOf([{ weights: clustered(dim, dim, 2, 4), bias: new Float32Array(dim) }])
  const walked = encode(vectors, fit.codebooks, fit.settings, network)
  const capped = withinCapacity(bundleOf({ ...free, network }), { ids, vectors }, walked, { capacity: 4 })
  ok(capped.collisions.moved > 0)
  const encoder = await SemanticIdEncoder.create(capped.bundle)
  t.after(() => encoder.close())
  deepStrictEqual((await encoder.encode(vectors, ids)).codes, capped.codes)
})

const published = 700
const drifted = alike(Float32Array.from(vectors, (value, i) => value + 0.15 * Math.sin(i * 1.3)))

test('a refresh keeps the capacity for new items and those that leave their ID; who keeps it never moves', async (t) => {
  const collisions = { capacity: 2 }
  const first = withinCapacity(
    free,
    { ids: ids.slice(0, published), vectors: vectors.slice(0, published * dim) },
    codes.slice(0, published * levels),
    collisions,
  )
  const parents = ParentCodes.of(ids.slice(0, published), first.codes, levels)
  for (const full of [0, 0.2, 1]) {
    const result = await refreshCodebooks(
      { bundle: first.bundle, parents, ids, vectors: drifted },
      { budget: { full }, seed: 1, ceiling: 9, steps: 6, rounds: 2, collisions },
    )
    const { codes: after, churn, moves, collisions: report } = result
    ok(churn.full <= full && report!.moved > 0 && report!.unresolved === 0)
    let changed = 0
    for (let row = 0; row < published; row++) if (String(sid(after, row)) !== String(sid(first.codes, row))) changed++
    equal(churn.full, changed / published)
    ok(fullest(after, drifted) <= 2, `the fullest ID holds ${fullest(after, drifted)} at a budget of ${full}`)
    const bundle = bundleOf({ codebooks: result.codebooks, settings: result.settings, delta: result.delta, parents, moves: moves!, origin })
    const encoder = await SemanticIdEncoder.create(bundle)
    t.after(() => encoder.close())
    const { codes: again, origins } = await encoder.encode(drifted, ids)
    deepStrictEqual(again, after)
    equal(origins.filter((from) => from === 'moved').length, report!.moved)
    equal(moves!.rows, report!.moved)
    // In another order of arrival nothing else comes out.
    const order = ids.map((_, row) => row).reverse()
    const shuffled = await refreshCodebooks(
      {
        bundle: first.bundle,
        parents,
        ids: order.map((row) => ids[row]!),
        vectors: Float32Array.from(order.flatMap((row) => [...drifted.subarray(row * dim, (row + 1) * dim)])),
      },
      { budget: { full }, seed: 1, ceiling: 9, steps: 6, rounds: 2, collisions },
    )
    deepStrictEqual(shuffled.moves!.toBytes(), moves!.toBytes())
  }
})

test('a new item with the vector of a published one takes its ID, counts as new, and has it again from the bundle', async (t) => {
  const first = withinCapacity(
    free,
    { ids: ids.slice(0, published), vectors: vectors.slice(0, published * dim) },
    codes.slice(0, published * levels),
    { capacity: 2 },
  )
  const parents = ParentCodes.of(ids.slice(0, published), first.codes, levels)
  const own = drifted.slice(0, published * dim)
  // One vector, and two IDs that were published already.
  own.copyWithin(200 * dim, 100 * dim, 101 * dim)
  ok(String(sid(first.codes, 100)) !== String(sid(first.codes, 200)))
  const lenders = Array.from({ length: 150 }, (_, i) => 60 + 4 * i)
  const names = [...ids.slice(0, published), ...lenders.map((row) => `a twin of ${row}`)]
  const all = new Float32Array(names.length * dim)
  all.set(own)
  for (const [i, row] of lenders.entries()) all.set(own.subarray(row * dim, (row + 1) * dim), (published + i) * dim)
  const input = { bundle: first.bundle, parents, ids: names, vectors: all }
  for (const full of [0, 0.2]) {
    const options = { budget: { full }, seed: 1, ceiling: 9, steps: 6, rounds: 2 }
    const result = await refreshCodebooks(input, { ...options, collisions: { capacity: 2 } })
    const apart = lenders.filter(
      (row, i) => String(sid(result.codes, published + i)) !== String(sid(result.codes, row === 200 ? 100 : row)),
    )
    deepStrictEqual(apart, [], `at a budget of ${full}`)
    ok(result.churn.full <= full)
    deepStrictEqual(result.items, { known: published, fresh: lenders.length, vanished: 0 })
    deepStrictEqual([result.parents.rows, result.newItems!.items], [names.length, lenders.length])
    const { codebooks, settings, delta, moves } = result
    const encoder = await SemanticIdEncoder.create(bundleOf({ codebooks, settings, delta, parents: result.parents, moves: moves!, origin }))
    t.after(() => encoder.close())
    deepStrictEqual((await encoder.encode(all, names)).codes, result.codes)
    if (full > 0) continue
    deepStrictEqual(sid(result.codes, 200), sid(first.codes, 200), 'what is published stays, though the vectors are one')
    const split = await refreshCodebooks(input, { ...options, collisions: { capacity: 2, duplicates: 'split' } })
    equal(split.parents, parents)
    const parted = lenders.filter((row, i) => String(sid(split.codes, published + i)) !== String(sid(split.codes, row)))
    ok(parted.length > 10, `a place each: ${parted.length} have another ID`)
  }
})

test('a capacity that costs much is no decay: the free fit of the ceiling keeps it as well', async () => {
  const collisions = { capacity: 1, duplicates: 'split' } as const
  const first = withinCapacity(free, { ids, vectors }, codes, collisions)
  const input = { bundle: first.bundle, parents: ParentCodes.of(ids, first.codes, levels), ids, vectors }
  const options = { budget: { full: 0 }, seed: 1, steps: 2, rounds: 1, ceiling: 1.25 }
  const { fvu, freeFvu } = await refreshCodebooks(input, { ...options, collisions })
  const { freeFvu: unbound } = await refreshCodebooks(input, { ...options, ceiling: 99 })
  ok(freeFvu > unbound && fvu > 1.25 * unbound, `FVU ${fvu}, free ${freeFvu}, without a capacity ${unbound}`)
})

test('the bound on the last code holds with the moves in it, too', async () => {
  const parents = ParentCodes.of(ids.slice(0, published), codes.slice(0, published * levels), levels)
  const budget = { full: 1, perLevel: [null, 0.05] }
  const { churn, collisions } = await refreshCodebooks(
    { bundle: free, parents, ids, vectors: drifted },
    { budget, seed: 1, ceiling: 9, steps: 6, rounds: 2, collisions: { capacity: 1, duplicates: 'split' } },
  )
  ok(churn.perLevel[1]! <= 0.05)
  // Published without a bound: they stay, and are counted.
  ok(collisions!.publishedOver > 0)
})

test('a re-base applies the capacity afresh', async (t) => {
  const parents = ParentCodes.of(ids, codes, levels)
  const {
    codebooks,
    settings,
    codes: after,
    moves,
    collisions,
  } = await rebaseCodebooks(
    { dim, idSpace: 'old', parents, ids, vectors: drifted },
    { idSpace: 'new', fit: { sizes: [8, 120], seed: 2 }, relabel: 'first', collisions: { capacity: 2 } },
  )
  ok(collisions!.moved > 0)
  equal(fullest(after, drifted), 2)
  const encoder = await SemanticIdEncoder.create(
    bundleOf({
      codebooks,
      settings,
      delta: 0,
      parents: ParentCodes.empty(levels),
      collisions: { capacity: 2, duplicates: 'together' },
      moves: moves!,
      origin,
    }),
  )
  t.after(() => encoder.close())
  deepStrictEqual((await encoder.encode(drifted, ids)).codes, after)
})
