import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { before, test } from 'node:test'
import {
  churn,
  encode,
  fitCodebooks,
  namesAfter,
  ParentCodes,
  rebaseCodebooks,
  relabelLimit,
  type Fit,
  type RebaseInput,
} from '../../semantic-ids/index.ts'
import { largestMatching, type PairCount } from '../../semantic-ids/one-to-one.ts'
import { clustered, golden } from './golden.ts'

const dim = 10
const rows = 700
const ids = Array.from({ length: rows }, (_, row) => `item-${row}`)
const vectors = clustered(rows, dim, 30, 21)
const sizes = [12, 10, 8]
let old: Fit
let input: RebaseInput

before(async () => {
  old = await fitCodebooks(vectors, ids, dim, { sizes, seed: 1, iterations: 8 })
  const known = 600
  const codes = encode(vectors, old.codebooks, old.settings).slice(0, known * 3)
  input = { dim, idSpace: 'space-1', parents: ParentCodes.of(ids.slice(0, known), codes, 3), ids, vectors }
})

const options = (relabel: 'none' | 'first' | 'all') => ({ idSpace: 'space-2', fit: { sizes, seed: 9, iterations: 8 }, relabel })

test('the golden relabelling of level 1', () => {
  const { new_codes, old_codes, new_to_old, agreement_after } = golden.relabel_level_1
  const names = namesAfter(new_codes, old_codes, new_to_old.length)
  deepStrictEqual([...names.map], new_to_old)
  equal(names.agreementAfter, agreement_after)
})

test('the matching is the best of all permutations', () => {
  let state = 7
  const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647
  const permutations = (left: number[]): number[][] =>
    left.length === 0 ? [[]] : left.flatMap((one) => permutations(left.filter((other) => other !== one)).map((rest) => [one, ...rest]))
  for (let round = 0; round < 30; round++) {
    const size = 1 + (round % 6)
    const counts: PairCount[] = []
    for (let from = 0; from < size; from++)
      for (let to = 0; to < size; to++) if (random() < 0.6) counts.push({ from, to, count: Math.ceil(random() * 9) })
    const total = (map: ArrayLike<number>): number => counts.reduce((sum, { from, to, count }) => sum + (map[from] === to ? count : 0), 0)
    const found = largestMatching(counts, size)
    deepStrictEqual(
      [...found].sort((a, b) => a - b),
      Array.from({ length: size }, (_, i) => i),
      'a permutation',
    )
    equal(total(found), Math.max(...permutations(Array.from({ length: size }, (_, i) => i)).map(total)))
  }
})

test('levels of thousands of codes are matched greedily, largest counts first, the rest in index order', () => {
  const map = largestMatching(
    [
      { from: 5, to: 2, count: 3 },
      { from: 5, to: 7, count: 9 },
      { from: 6, to: 7, count: 4 },
    ],
    5000,
  )
  deepStrictEqual([map[5], map[0], map[6], map[7], map.at(-1)], [7, 0, 5, 6, 4999])
  equal(new Set(map).size, 5000)
})

test('a re-base fits anew in a space of its own and says what changed', async () => {
  const result = await rebaseCodebooks(input, options('none'))
  deepStrictEqual(
    [result.idSpace, result.relabel, result.policy['rebase'], result.policy['idSpaceBefore']],
    ['space-2', undefined, true, 'space-1'],
  )
  ok(result.churn!.full > 0.9)
  const fresh = await fitCodebooks(vectors, ids, dim, { sizes, seed: 9, iterations: 8 })
  deepStrictEqual(result.codes, encode(vectors, result.codebooks, result.settings))
  ok(Math.abs(result.fvu - fresh.fvu) < 1e-6)
})

test('relabelling keeps first codes and costs nothing, but whole IDs change all the same, which it says', async () => {
  const plain = await rebaseCodebooks(input, options('none'))
  for (const relabel of ['first', 'all'] as const) {
    const result = await rebaseCodebooks(input, options(relabel))
    const names = result.relabel!.levels
    deepStrictEqual(
      names.map((level) => level !== undefined),
      relabel === 'first' ? [true, false, false] : [true, true, true],
    )
    ok(result.churn!.firstCode < plain.churn!.firstCode - 0.3, `${result.churn!.firstCode} against ${plain.churn!.firstCode}`)
    ok(Math.abs(names[0]!.agreementAfter - (1 - result.churn!.firstCode)) < 1e-12)
    ok(names[0]!.agreementAfter > names[0]!.agreementBefore)
    ok(result.churn!.full > 0.5)
    equal(result.relabel!.limit, relabelLimit)
    equal((result.policy['relabel'] as { limit: string }).limit, relabelLimit)
    equal(result.fvu, plain.fvu)
    equal(churn(plain.codes, result.codes, 3).items, rows)
    deepStrictEqual(result.codes, encode(vectors, result.codebooks, result.settings))
  }
})

test('a re-base may change sizes and the number of codes; what cannot be compared is not', async () => {
  const other = { sizes: [6, 10], seed: 2, iterations: 3 }
  const result = await rebaseCodebooks(input, { idSpace: 'space-2', fit: other, relabel: 'all' })
  equal(result.churn, undefined)
  deepStrictEqual(
    result.relabel!.levels.map((level) => level !== undefined),
    [false, true],
  )
  for (const idSpace of ['space-1', () => 'space-1'])
    await rejects(rebaseCodebooks(input, { ...options('none'), idSpace }), { code: 'SIDESTREAM_USAGE_INVALID', message: /new ID space/ })
})
