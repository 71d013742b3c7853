import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { before, test } from 'node:test'
import { CodebookWalk } from '../../semantic-ids/codebook-walk.ts'
import {
  bundleOf,
  churn,
  encode,
  encodeSticky,
  fitCodebooks,
  networkOf,
  ParentCodes,
  reconstruction,
  refreshCodebooks,
  SemanticIdEncoder,
  type ChurnBudget,
  type Codebooks,
  type Fit,
  type RefreshInput,
  type RefreshOptions,
} from '../../semantic-ids/index.ts'
import { CodeSums } from '../../semantic-ids/refit.ts'
import { stickyLloyd } from '../../semantic-ids/sticky-lloyd.ts'
import { Crew } from '../../semantic-ids/walk-pool.ts'
import { clustered, codebooks, encoded, flat, golden, refreshed, settings, weights } from './golden.ts'

const dim = 10
const rows = 900
const published = 800
const ids = Array.from({ length: rows }, (_, row) => `item-${row}`)
const vectors = clustered(rows, dim, 40, 11)
const noise = clustered(rows, dim, 1, 12)
// Items moved by a drift of their own; the axes are permuted too, as a head trained from scratch would.
const moved = Float32Array.from({ length: rows * dim }, (_, at) => vectors[at - (at % dim) + ((at + 3) % dim)]! + 0.4 * noise[at]!)
let fit: Fit
let parents: ParentCodes
let input: RefreshInput

before(async () => {
  fit = await fitCodebooks(vectors.subarray(0, published * dim), ids.slice(0, published), dim, { sizes: [16, 12, 8], seed: 1 })
  parents = ParentCodes.of(
    [...ids.slice(0, published), 'gone'],
    Uint16Array.from([...encode(vectors, fit.codebooks, fit.settings).subarray(0, published * 3), 0, 0, 0]),
    3,
  )
  input = { bundle: fit, parents, ids, vectors: moved }
})

const options = (full: number, more: Partial<RefreshOptions> = {}): RefreshOptions => ({
  budget: { full },
  seed: 2,
  ceiling: 10,
  freeFvu: 1,
  ...more,
})

test('sticky rounds give the golden codes, codebooks, churn and FVU', async (t) => {
  const crew = new Crew(1)
  t.after(() => crew.close())
  const walk = await CodebookWalk.create([6, 5], 4, false, true, crew)
  const sticky = { old: Int32Array.from(encoded), delta: 0.25 }
  const result = await stickyLloyd(refreshed, new CodeSums(refreshed, codebooks), codebooks, settings, sticky, 3, walk, 'by level')
  const expected = golden.refresh['sticky_lloyd_0.25_rounds_3']
  deepStrictEqual(result.codes, flat(expected.codes))
  for (const [level, words] of expected.codebooks.entries()) {
    for (const [at, value] of words.flat().entries())
      ok(Math.abs(result.codebooks.levels[level]![at]! - value) < 1e-6 * Math.max(1, Math.abs(value)))
  }
  const report = churn(encoded, result.codes, 2, weights)
  equal(report.full, expected.churn.full)
  equal(report.firstCode, expected.churn.prefix_1)
  equal(report.perLevel[1], expected.churn.level_2_any)
  ok(Math.abs(report.trafficWeighted! - expected.churn.full_traffic_weighted) < 1e-12)
  ok(Math.abs(reconstruction(refreshed, result.codes, result.codebooks, settings).fvu - expected.fvu) < 1e-7)
})

test('churn never passes the budget, and a smaller budget costs more distortion', async () => {
  const fvus: number[] = []
  for (const full of [0, 0.02, 0.1, 0.3, 1]) {
    const result = await refreshCodebooks(input, options(full))
    ok(result.churn.full <= full, `churn ${result.churn.full} within ${full}`)
    const before = parents.lookup(ids).subarray(0, published * 3)
    equal(churn(before, result.codes.subarray(0, published * 3), 3).full, result.churn.full)
    const { curve, ...policy } = JSON.parse(JSON.stringify(result.policy)) as Record<string, unknown> & {
      curve: { fvu: number; within: boolean }[]
    }
    deepStrictEqual(policy, {
      kind: 'sticky-lloyd',
      rebase: false,
      budget: { full },
      rounds: 5,
      ceiling: 10,
      churn: result.churn,
      fvu: result.fvu,
      freeFvu: 1,
      items: result.items,
      newItems: result.newItems,
    })
    const allowed = curve.filter((point) => point.within)
    equal(Math.min(...allowed.map((point) => point.fvu)), result.curve.find(({ delta }) => delta === result.delta)!.fvu)
    deepStrictEqual(result.items, { known: published, fresh: rows - published, vanished: 1 })
    if (full === 0.1) ok(result.churn.full > 0.08 && result.curve.length === 15, 'the budget is used')
    if (full === 1) equal(result.delta, 0)
    fvus.push(result.fvu)
  }
  for (let at = 1; at < fvus.length; at++) ok(fvus[at]! <= fvus[at - 1]! + 0.005, `FVU by budget: ${fvus.join(', ')}`)
})

test('the version writer gives every item the codes that were budgeted, whatever the batch', async (t) => {
  for (const full of [0, 0.1]) {
    const result = await refreshCodebooks(input, options(full))
    const origin = { parent: 'old', idSpace: 'a', input: {}, training: {}, policy: {} }
    const encoder = await SemanticIdEncoder.create(
      bundleOf({ ...fit, codebooks: result.codebooks, settings: result.settings, delta: result.delta, parents, origin }),
    )
    t.after(() => encoder.close())
    const { codes, origins } = await encoder.encode(moved, ids)
    deepStrictEqual(codes, result.codes)
    equal(origins.filter((from) => from === 'encoded').length, rows - published + Math.round(result.churn.full * published))
    const part = await encoder.encode(moved.subarray(700 * dim), ids.slice(700))
    deepStrictEqual(part.codes, result.codes.slice(700 * 3))
    deepStrictEqual(result.codes, encodeSticky(moved, result.codebooks, result.settings, { old: parents.lookup(ids), delta: result.delta }))
  }
})

test('bounds on the first code and on traffic are kept too', async () => {
  const traffic = Float64Array.from({ length: rows }, (_, row) => 1 / (row + 1))
  const budget = { full: 0.5, firstCode: 0.01, trafficWeighted: 0.05 }
  const result = await refreshCodebooks({ ...input, weights: traffic }, options(0.5, { budget }))
  ok(result.churn.firstCode <= 0.01 && result.churn.trafficWeighted! <= 0.05)
  ok(
    result.curve.some((point) => point.trafficWeighted! > 0.05 || point.firstCode > 0.01),
    'the bounds were what held it',
  )
})

test('bounds on prefixes and on single levels are kept, null bounds nothing', async () => {
  const bounds: ChurnBudget[] = [
    { full: 1, prefix: [0.02, 0.06] },
    { full: 1, prefix: [null, 0.05, null] },
    { full: 1, perLevel: [null, 0.03] },
    { full: 1, perLevel: [1, null, 0.04] },
  ]
  for (const budget of bounds) {
    const { churn: report, curve } = await refreshCodebooks(input, options(1, { budget, steps: 6, rounds: 2 }))
    budget.prefix?.forEach((bound, level) => ok(report.prefix[level]! <= (bound ?? 1), JSON.stringify({ budget, report })))
    budget.perLevel?.forEach((bound, level) => ok(report.perLevel[level]! <= (bound ?? 1), JSON.stringify({ budget, report })))
    ok(!curve[0]!.within && curve.at(-1)!.within, 'the bounds were what held it')
    ok(report.full > 0.02, 'no more was held than the bounds ask for')
  }
})

test('a refresh keeps whole IDs: what changes has its free ID, and nothing that is better off stays to leave', async () => {
  const { codes, codebooks: refitted, settings: own, delta } = await refreshCodebooks(input, options(0.1, { steps: 6 }))
  equal(own.sticky, 'whole')
  const free = encode(moved, refitted, own)
  const before = parents.lookup(ids)
  const error = (of: ArrayLike<number>, row: number): number =>
    reconstruction(
      moved.slice(row * dim, (row + 1) * dim),
      Uint16Array.from({ length: 3 }, (_, level) => of[row * 3 + level]!),
      refitted,
      own,
    ).distortion
  const byPrefix = encodeSticky(moved, refitted, { ...own, sticky: 'prefix' }, { old: before, delta })
  let kept = 0
  for (let row = 0; row < published; row++) {
    const same = (of: ArrayLike<number>, levels: number): boolean =>
      [0, 1, 2].slice(0, levels).every((level) => codes[row * 3 + level] === of[row * 3 + level])
    ok(same(before, 3) || same(free, 3))
    if (!same(before, 3)) ok(error(codes, row) * (1 + delta) <= error(before, row) * (1 + 1e-6))
    if (same(before, 3) && !same(byPrefix, 3)) kept++
  }
  ok(kept > 0, 'some keep their ID although one code of it is far')
})

test('a budget of 1 is a refresh without bounds, one of 0 changes no ID', async () => {
  const free = await refreshCodebooks(input, options(1))
  deepStrictEqual(
    [free.delta, free.curve.map(({ delta }) => delta)],
    [0, [0, 1 / 64, 1 / 16, 1 / 4, 1, 4, Infinity]],
    'the whole curve, whatever the budget',
  )
  const none = await refreshCodebooks(input, options(0))
  deepStrictEqual(none.codes.subarray(0, published * 3), Uint16Array.from(parents.lookup(ids.slice(0, published))))
  ok(none.fvu > free.fvu)
})

test('an item that vanished counts nowhere; one that came back keeps its ID while its codes are known', async () => {
  const some = { ids: ids.slice(1), vectors: moved.subarray(dim) }
  const without = await refreshCodebooks({ ...input, ...some }, options(0.1, { steps: 4 }))
  deepStrictEqual(without.items, { known: published - 1, fresh: rows - published, vanished: 2 })
  const { codes, churn: report } = await refreshCodebooks(input, options(0))
  equal(report.items, published)
  deepStrictEqual(codes.subarray(0, 3), Uint16Array.from(parents.lookup(['item-0'])))
  const forgotten = ParentCodes.of(ids.slice(1, published), Uint16Array.from(parents.lookup(ids.slice(1, published))), 3)
  const back = await refreshCodebooks({ ...input, parents: forgotten }, options(0))
  deepStrictEqual(back.items, { known: published - 1, fresh: rows - published + 1, vanished: 0 })
})

test('new items are judged apart: error and neighbors beside those of the known ones', async () => {
  const far = moved.slice()
  for (let at = published * dim; at < far.length; at++) far[at] = vectors[(at * 7) % vectors.length]!
  const {
    newItems,
    codes,
    codebooks: refitted,
  } = await refreshCodebooks({ ...input, vectors: far }, options(0.1, { steps: 4, recall: { k: 10, queries: 60 } }))
  const apart = reconstruction(far.slice(published * dim), codes.slice(published * 3), refitted, fit.settings)
  equal(newItems!.distortion, apart.distortion)
  ok(newItems!.distortion > newItems!.knownDistortion!, 'strange items are described worse')
  deepStrictEqual([newItems!.items, newItems!.recall!.queries], [rows - published, 60])
  ok(newItems!.recall!.recall < newItems!.recall!.knownRecall!, 'and found worse')
  equal((await refreshCodebooks({ ...input, ids: ids.slice(0, 9), vectors: moved.subarray(0, 9 * dim) }, options(1))).newItems, undefined)
})

test('penalties, beam and a finite-scalar level live through a refresh; a network and unit residuals are refused', async () => {
  const items = { ids: ids.slice(0, published), vectors: vectors.subarray(0, published * dim) }
  const variants = { balance: { rounds: 2 }, beam: { beam: 3 }, fsq: { fsqDigits: [3, 3] } }
  for (const [name, variant] of Object.entries(variants)) {
    const own = await fitCodebooks(items.vectors, items.ids, dim, {
      sizes: [12, 8],
      seed: 1,
      iterations: 5,
      ...('beam' in variant ? variant : 'fsqDigits' in variant ? variant : { balance: variant }),
    })
    const levels = own.codebooks.sizes.length
    const before = encode(items.vectors, own.codebooks, own.settings)
    const known = ParentCodes.of(items.ids, before, levels)
    const budget = { full: 1, prefix: [null, 0.1] }
    const result = await refreshCodebooks({ bundle: own, parents: known, ids, vectors: moved }, options(1, { budget, steps: 5, rounds: 2 }))
    ok(result.churn.prefix[1]! <= 0.1 && result.churn.prefix[1]! > 0, name)
    deepStrictEqual(
      result.codes,
      encodeSticky(moved, result.codebooks, result.settings, { old: known.lookup(ids), delta: result.delta }),
      name,
    )
    deepStrictEqual([result.codebooks.penalties, result.codebooks.fsq], [own.codebooks.penalties, own.codebooks.fsq], name)
  }
  const unit = { ...fit, settings: { ...fit.settings, normalizeResiduals: true } }
  await rejects(refreshCodebooks({ ...input, bundle: unit }, options(0.1)), { code: 'SIDESTREAM_USAGE_INVALID', message: /re-base/ })
  const network = networkOf([{ weights: new Float32Array(dim * dim), bias: new Float32Array(dim) }])
  await rejects(refreshCodebooks({ ...input, bundle: { ...fit, network } }, options(0.1)), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /re-base/,
  })
})

test('a bound that only frozen finite-scalar codes keep is told; one that asks to freeze, or is of other codes, is not', async () => {
  const items = { ids: ids.slice(0, published), vectors: vectors.subarray(0, published * dim) }
  const own = await fitCodebooks(items.vectors, items.ids, dim, { sizes: [12, 8], seed: 1, iterations: 5, fsqDigits: [3, 3] })
  const known = ParentCodes.of(items.ids, encode(items.vectors, own.codebooks, own.settings), 3)
  const given = { bundle: own, parents: known, ids, vectors: moved }
  const quick = { steps: 3, rounds: 1 }
  const told = async (budget: ChurnBudget, more: Partial<RefreshOptions> = {}): Promise<unknown[]> => {
    const { frozenByFsq, delta, policy } = await refreshCodebooks(given, options(1, { ...quick, ...more, budget }))
    return [frozenByFsq, delta === Infinity, policy['frozenByFsq']]
  }
  for (const budget of [{ full: 0.1 }, { full: 0.1, prefix: [0.5] }, { full: 1, perLevel: [null, null, 0.1] }])
    deepStrictEqual(await told(budget), [true, true, true], JSON.stringify(budget))
  deepStrictEqual(await told({ full: 0 }), [false, true, undefined], 'frozen as asked')
  deepStrictEqual(
    await told({ full: 0.1, prefix: [null, 0] }, { largestDelta: 0.001 }),
    [false, true, undefined],
    'the codes before it too',
  )
  deepStrictEqual(await told({ full: 1, prefix: [null, 0.1] }), [false, false, undefined])
  await rejects(refreshCodebooks(given, options(0.1, { ...quick, freeFvu: 1e-6 })), {
    code: 'SIDESTREAM_BUDGET_REFUSED',
    message: /freezes all IDs \(the finite-scalar level follows .*: bound the prefix in front of it instead\), the codebooks leave/,
  })
})

test('codebooks that are rotated first give the same IDs, and codes without items come along', async () => {
  const turned = vectors.slice()
  for (let at = 0; at < turned.length; at += dim) for (let j = 0; j < dim; j++) turned[at + j] = vectors[at + ((j + 3) % dim)]!
  const few = { ids: ids.slice(0, 12), vectors: turned.subarray(0, 12 * dim) }
  const plain = await refreshCodebooks({ ...input, ...few }, options(0, { steps: 3 }))
  const result = await refreshCodebooks(
    { ...input, ...few },
    options(0, { steps: 3, rotation: { earlier: vectors.subarray(0, 12 * dim) } }),
  )
  deepStrictEqual([result.churn.full, plain.churn.full], [0, 0])
  // All items in the new space: those that had no part in the refit find the codewords that they had.
  const share = (books: Codebooks): number => {
    const after = encode(turned, books, fit.settings)
    return churn(encode(vectors, fit.codebooks, fit.settings), after, 3).full
  }
  ok(share(result.codebooks) < share(plain.codebooks), 'unused codes are where they belong')
})

test('in a space with other axes, centroids refitted under the old codes give most items their old ID before any round', async () => {
  const turned = Float32Array.from(vectors, (_, at) => vectors[at - (at % dim) + ((at + 3) % dim)]!)
  const { curve, delta } = await refreshCodebooks({ ...input, vectors: turned }, options(0, { rounds: 0, steps: 8 }))
  ok(curve[0]!.churn < 0.08, `${curve[0]!.churn} of the IDs change at no cost`)
  ok(delta < 0.6, `${delta} keeps all`)
})

test('vectors that did not move keep every ID at next to no cost', async () => {
  const still = await refreshCodebooks(
    { ...input, ids: ids.slice(0, published), vectors: vectors.subarray(0, published * dim) },
    options(0),
  )
  equal(still.churn.full, 0)
  ok(
    still.delta < 0.7 &&
      still.fvu <= reconstruction(vectors, encode(vectors, fit.codebooks, fit.settings), fit.codebooks, fit.settings).fvu,
  )
})

test('where no searched cost keeps the budget, old codes are never left', async () => {
  const strangers = ParentCodes.of(ids, encode(clustered(rows, dim, 40, 13), fit.codebooks, fit.settings), 3)
  const result = await refreshCodebooks({ ...input, parents: strangers }, options(0.01, { largestDelta: 0.01 }))
  deepStrictEqual([result.delta, result.churn.full], [Infinity, 0])
  deepStrictEqual(result.codes, Uint16Array.from(strangers.lookup(ids)))
  deepStrictEqual(
    result.curve.map(({ delta }) => delta),
    [...[0, 1 / 256, 1 / 64, 1 / 16, 1 / 4, 1].map((share) => share * 0.01), Infinity],
  )
})

test('the same items give the same refresh in any order of arrival and with any number of threads', async () => {
  const order = Array.from({ length: rows }, (_, row) => (row * 7) % rows)
  const shuffled = Float32Array.from(order.flatMap((row) => [...moved.subarray(row * dim, (row + 1) * dim)]))
  const more = { rounds: 2, steps: 4 }
  const one = await refreshCodebooks(input, options(0.2, more))
  const two = await refreshCodebooks(
    { ...input, ids: order.map((row) => ids[row]!), vectors: shuffled },
    options(0.2, { ...more, threads: 2 }),
  )
  deepStrictEqual(two.codebooks, one.codebooks)
  deepStrictEqual([two.delta, two.churn, two.curve], [one.delta, one.churn, one.curve])
  deepStrictEqual(two.codes, Uint16Array.from(order.flatMap((row) => [...one.codes.subarray(row * 3, row * 3 + 3)])))
})

test('too much distortion is refused with the curve, and says re-base', async () => {
  const { freeFvu: _, ...measured } = options(0.01, { ceiling: 1.05, iterations: 10 })
  await rejects(refreshCodebooks(input, measured), (error: { code: string; message: string; details: Record<string, unknown> }) => {
    equal(error.code, 'SIDESTREAM_BUDGET_REFUSED')
    ok(error.message.includes('re-base'))
    const { curve, fvu, freeFvu } = error.details as {
      curve: { delta: number; churn: number; fvu: number }[]
      fvu: number
      freeFvu: number
    }
    ok(fvu > 1.05 * freeFvu && freeFvu > 0)
    deepStrictEqual([curve.length, curve[0]!.delta, curve.at(-1)!.delta], [15, 0, Infinity])
    ok(curve[0]!.churn > 0.3 && curve.at(-1)!.churn <= 0.01 && curve[0]!.fvu < curve.at(-1)!.fvu, JSON.stringify(curve))
    return true
  })
  const free = await refreshCodebooks(input, { ...measured, budget: { full: 1 }, ceiling: 1.25 })
  ok(free.fvu <= 1.25 * free.freeFvu)
})

test('a refresh that knows none of its items is refused: it would pass as one that changed nothing', async () => {
  for (const parents of [ParentCodes.empty(3), ParentCodes.of(['other'], new Uint16Array(3), 3)])
    await rejects(refreshCodebooks({ ...input, parents }, options(0)), {
      code: 'SIDESTREAM_ITEMS_TOO_FEW',
      message: /none of the 900 items \(such as item-0\) has a published ID.*check the ids.*re-base/,
    })
})

test('bad input is refused', async () => {
  await rejects(refreshCodebooks({ ...input, ids: [], vectors: new Float32Array(0) }, options(0.1)), { code: 'SIDESTREAM_ITEMS_TOO_FEW' })
  await rejects(refreshCodebooks({ ...input, ids: ids.slice(1) }, options(0.1)), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(refreshCodebooks({ ...input, parents: ParentCodes.empty(2) }, options(0.1)), {
    code: 'SIDESTREAM_SHAPE_MISMATCH',
    message: /re-base/,
  })
  await rejects(refreshCodebooks({ ...input, ids: ids.with(0, 'item-1') }, options(0.1)), { code: 'SIDESTREAM_ID_INVALID' })
  await rejects(refreshCodebooks({ ...input, vectors: moved.with(5, NaN) }, options(0.1)), { code: 'SIDESTREAM_VECTOR_NOT_FINITE' })
  for (const full of [-0.1, 1.1, NaN]) await rejects(refreshCodebooks(input, options(full)), { code: 'SIDESTREAM_USAGE_INVALID' })
  const bounds = [{ trafficWeighted: 0.1 }, { prefix: [2] }, { perLevel: [0, 0, 0, 0] }, { firstCode: -1 }]
  for (const bound of bounds)
    await rejects(refreshCodebooks(input, options(1, { budget: { full: 1, ...bound } })), { code: 'SIDESTREAM_USAGE_INVALID' })
  const unseen = new Float64Array(rows).fill(7, published)
  await rejects(refreshCodebooks({ ...input, weights: unseen }, options(1, { budget: { full: 1, trafficWeighted: 0.1 } })), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /no item that had an ID has traffic/,
  })
  const odd = new Float64Array(rows).fill(1).with(3, -1)
  await rejects(refreshCodebooks({ ...input, weights: odd }, options(1)), { code: 'SIDESTREAM_USAGE_INVALID' })
})
