import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { codebooksOf, encode, encodeSticky, reconstruction, type Codebooks } from '../../semantic-ids/index.ts'

const seed = 20_251
const dim = 3
const raw = { normalize: false }
const number = fc.integer({ min: -64, max: 64 }).map((n) => n / 16)
const vectors = fc
  .array(number, { minLength: dim, maxLength: dim * 8 })
  .map((values) => Float32Array.from(values.slice(0, values.length - (values.length % dim))))
const level = fc.array(fc.tuple(number, number, number), { minLength: 1, maxLength: 6 }).map((words) => Float32Array.from(words.flat()))
const books = fc.array(level, { minLength: 1, maxLength: 3 }).map((levels) => codebooksOf(dim, levels))
const booksWithZero = fc.array(level, { minLength: 1, maxLength: 3 }).map((levels) =>
  codebooksOf(
    dim,
    levels.map((words) => Float32Array.of(...words, 0, 0, 0)),
  ),
)
const check = <T>(property: fc.IProperty<T>): void => fc.assert(property, { seed, numRuns: 300 })

const firstLevels = ({ sizes, levels }: Codebooks, count: number): Codebooks => ({
  dim,
  sizes: sizes.slice(0, count),
  levels: levels.slice(0, count),
})
const distortion = (x: Float32Array, codebooks: Codebooks): number =>
  reconstruction(x, encode(x, codebooks, raw), codebooks, raw).distortion
/** Codes of other vectors: what a parent might have published. */
const oldFor = (x: Float32Array, codebooks: Codebooks): Int32Array =>
  Int32Array.from(
    encode(
      x.map((value, at) => value * (at % 2 ? -1 : 2)),
      codebooks,
      raw,
    ),
  )

test(`a level that holds a zero codeword never raises distortion (seed ${seed})`, () => {
  check(
    fc.property(vectors, booksWithZero, (x, codebooks) => {
      for (let count = 2; count <= codebooks.sizes.length; count++) {
        ok(distortion(x, firstLevels(codebooks, count)) <= distortion(x, firstLevels(codebooks, count - 1)) + 1e-12)
      }
    }),
  )
})

test(`a switching cost of 0, or a table without the item, equals the free walk where no tie decides (seed ${seed})`, () => {
  check(
    fc.property(vectors, books, (x, codebooks) => {
      const free = encode(x, codebooks, raw)
      deepStrictEqual(encodeSticky(x, codebooks, raw, { old: new Int32Array(free.length).fill(-1), delta: 3 }), free)
      deepStrictEqual(encodeSticky(x, codebooks, raw, { old: Int32Array.from(free), delta: 0 }), free)
    }),
  )
})

test(`where whole IDs are kept, an item has its old ID or the free one, by what both leave (seed ${seed})`, () => {
  check(
    fc.property(vectors, books, fc.double({ min: 0, max: 4, noNaN: true }), (x, codebooks, delta) => {
      const settings = { ...raw, sticky: 'whole' as const }
      const old = oldFor(x, codebooks)
      deepStrictEqual(encodeSticky(x, codebooks, settings, { old, delta: Infinity }), Uint16Array.from(old))
      const levels = codebooks.sizes.length
      const free = encode(x, codebooks, raw)
      const codes = encodeSticky(x, codebooks, settings, { old, delta })
      const left = (of: ArrayLike<number>, row: number): number => {
        const own = Uint16Array.from({ length: levels }, (_, level) => of[row * levels + level]!)
        return reconstruction(x.subarray(row * dim, (row + 1) * dim), own, codebooks, raw).distortion
      }
      for (let row = 0; row < codes.length / levels; row++) {
        const [kept, best] = [left(old, row), (1 + delta) * left(free, row)]
        // Where the two are one number but for rounding either may be.
        if (Math.abs(kept - best) <= 1e-9 * (kept + best)) continue
        const from = kept < best ? old : free
        for (let at = row * levels; at < (row + 1) * levels; at++) ok(codes[at] === from[at])
      }
    }),
  )
})

test(`the sticky rule keeps a prefix of the old ID, and an infinite cost keeps all of it (seed ${seed})`, () => {
  check(
    fc.property(vectors, books, fc.double({ min: 0, max: 4, noNaN: true }), (x, codebooks, delta) => {
      const old = oldFor(x, codebooks)
      deepStrictEqual(encodeSticky(x, codebooks, raw, { old, delta: Infinity }), Uint16Array.from(old))
      const codes = encodeSticky(x, codebooks, raw, { old, delta })
      const levels = codebooks.sizes.length
      for (let row = 0; row < codes.length / levels; row++) {
        // What is kept passes the rule, what is left fails it: the first code says so without a residual.
        const words = codebooks.levels[0]!
        const squared = (code: number): number => [0, 1, 2].reduce((sum, j) => sum + (x[row * dim + j]! - words[code * dim + j]!) ** 2, 0)
        const best = Math.min(...Array.from({ length: codebooks.sizes[0]! }, (_, code) => squared(code)))
        const keeps = squared(old[row * levels]!) <= (1 + delta) * best
        ok(keeps ? codes[row * levels] === old[row * levels] : squared(codes[row * levels]!) === best)
      }
    }),
  )
})
