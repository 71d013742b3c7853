/** k-means: laws of Lloyd's rounds and of the stream, against the obvious computation. */
import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fillNormal, KMeans, kMeans, normalizeRows, StreamingKMeans, uniformInt } from '../../compute/index.ts'
import { isSidestreamError } from '../../schemas/index.ts'
import { Clusters } from '../../compute/kernels/clusters.ts'

const mismatch = (error: unknown): boolean => isSidestreamError(error) && error.code === 'SIDESTREAM_SHAPE_MISMATCH'
const floats = (values: readonly number[]): Float32Array => Float32Array.from(values)

/** Rows around far centers, in mixed order; the center of each. */
function blobs(n: number, dim: number, centers: number, seed: number, spread = 0.1): { rows: Float32Array; of: Int32Array } {
  const middle = new Float32Array(centers * dim)
  fillNormal(middle, seed, 1)
  const rows = new Float32Array(n * dim)
  fillNormal(rows, seed, 2)
  const of = Int32Array.from({ length: n }, (_, row) => uniformInt(seed, 3, row, centers))
  rows.forEach((value, at) => (rows[at] = 10 * middle[of[Math.floor(at / dim)]! * dim + (at % dim)]! + spread * value))
  return { rows, of }
}

function squared(a: ArrayLike<number>, aRow: number, b: ArrayLike<number>, bRow: number, dim: number): number {
  let sum = 0
  for (let j = 0; j < dim; j++) sum += (a[aRow * dim + j]! - b[bRow * dim + j]!) ** 2
  return sum
}

// Whole coordinates: equal distances and equal rows are common.
const dim = 2
const points = fc
  .array(fc.tuple(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -3, max: 3 })), { minLength: 1, maxLength: 30 })
  .map((rows) => floats(rows.flat()))
const size = fc.integer({ min: 1, max: 9 })
const seed = fc.nat(1000)

test('every row has its nearest centroid, ties to the lower one, and every centroid has rows', () => {
  fc.assert(
    fc.property(points, size, seed, fc.constantFrom('euclidean' as const, 'cosine' as const), (rows, k, s, metric) => {
      const { centroids, codes, masses, distortion } = kMeans(rows, dim, { size: k, seed: s, metric })
      const x = rows.slice()
      if (metric === 'cosine') normalizeRows(x, dim)
      const clusters = centroids.length / dim
      ok(clusters <= k)
      const counts = new Float64Array(clusters)
      let total = 0
      codes.forEach((code, row) => {
        const distances = Array.from({ length: clusters }, (_, c) => squared(x, row, centroids, c, dim))
        if (metric === 'cosine' && x[row * dim] === 0 && x[row * dim + 1] === 0) {
          strictEqual(code, -1)
          return
        }
        strictEqual(code, distances.indexOf(Math.min(...distances)))
        counts[code]! += 1
        total += distances[code]!
      })
      deepStrictEqual(counts, masses)
      ok(masses.every((mass) => mass > 0))
      const rowsIn = masses.reduce((sum, mass) => sum + mass, 0)
      ok(Math.abs(distortion - (rowsIn > 0 ? total / rowsIn : 0)) < 1e-9)
    }),
  )
})

test('centroids that no row leaves any more are the weighted means of their rows', () => {
  fc.assert(
    fc.property(points, size, seed, fc.boolean(), (rows, k, s, weighted) => {
      const weights = weighted ? Array.from({ length: rows.length / dim }, (_, row) => 1 + (row % 3)) : undefined
      const { centroids, codes, masses, iterations } = kMeans(rows, dim, { size: k, seed: s, iterations: 200, ...(weights && { weights }) })
      ok(iterations < 200)
      for (let c = 0; c < masses.length; c++) {
        for (let j = 0; j < dim; j++) {
          let [sum, mass] = [0, 0]
          codes.forEach((code, row) => {
            if (code !== c) return
            sum += (weights?.[row] ?? 1) * rows[row * dim + j]!
            mass += weights?.[row] ?? 1
          })
          strictEqual(mass, masses[c])
          ok(Math.abs(centroids[c * dim + j]! - sum / mass) < 1e-5)
        }
      }
    }),
  )
})

test('a weight of two is a row twice', () => {
  const { rows } = blobs(60, 3, 4, 5, 3)
  const options = { size: 4, seed: 1, iterations: 50 }
  const twice = new Float32Array(rows.length * 2)
  twice.set(rows)
  twice.set(rows, rows.length)
  const once = kMeans(rows, 3, { ...options, weights: new Float32Array(60).fill(2) })
  const doubled = kMeans(twice, 3, options)
  deepStrictEqual(
    [...once.masses].reduce((a, b) => a + b),
    [...doubled.masses].reduce((a, b) => a + b),
  )
  const heavy = kMeans(floats([0, 1, 10]), 1, { size: 1, seed: 1, weights: [1, 1, 8] })
  ok(Math.abs(heavy.centroids[0]! - 8.1) < 1e-6)
})

test('far groups are found, the same for a seed, and a round never raises the distortion', () => {
  const { rows, of } = blobs(600, 8, 6, 3)
  const found = kMeans(rows, 8, { size: 6, seed: 11 })
  const pairs = new Set(of.map((center, row) => center * 100 + found.codes[row]!))
  strictEqual(pairs.size, 6)
  deepStrictEqual(kMeans(rows, 8, { size: 6, seed: 11 }), found)
  const noise = blobs(400, 8, 40, 4, 6).rows
  const fit = new KMeans(noise, 8, { size: 12, seed: 2, iterations: 15 })
  let before = Infinity
  do {
    const { distortion } = fit.result()
    ok(distortion <= before + 1e-9)
    before = distortion
  } while (fit.round())
})

test('a cluster without rows takes the row farthest from the largest one', () => {
  const rows = floats([0, 1, 2, 9, 100])
  const clusters = new Clusters(rows, 1, floats([3, 100, 1000]))
  strictEqual(clusters.assign(Int32Array.of(0, 0, 0, 0, 1)), 5)
  deepStrictEqual(clusters.dead(), [2])
  deepStrictEqual(clusters.reviveDead(0), [2])
  deepStrictEqual([...clusters.codes], [0, 0, 0, 2, 1])
  clusters.moveCentroids()
  deepStrictEqual([...clusters.centroids], [1, 100, 9])
  deepStrictEqual(new Clusters(floats([4, 4]), 1, floats([4, 8])).reviveDead(0), [])
})

test('fewer distinct rows than clusters, no rows, rows of zeros', () => {
  const few = kMeans(floats([1, 1, 1, 1, 2, 2]), 2, { size: 5, seed: 1 })
  deepStrictEqual([few.masses.length, [...few.masses].sort()], [2, [1, 2]])
  const none = kMeans(new Float32Array(0), 4, { size: 3, seed: 1 })
  deepStrictEqual([none.centroids.length, none.codes.length, none.distortion], [0, 0, 0])
  const zeros = kMeans(floats([0, 0, 3, 4]), 2, { size: 2, seed: 1, metric: 'cosine' })
  deepStrictEqual([...zeros.codes], [-1, 0])
  deepStrictEqual([...zeros.centroids], [...floats([0.6, 0.8])])
})

test('rows and weights that do not fit are refused', () => {
  throws(() => kMeans(floats([1, 2, 3]), 2, { size: 1, seed: 1 }), mismatch)
  throws(() => kMeans(floats([1, NaN]), 2, { size: 1, seed: 1 }), mismatch)
  throws(() => kMeans(floats([1, 2]), 1, { size: 1, seed: 1, weights: [1] }), mismatch)
  throws(() => kMeans(floats([1, 2]), 1, { size: 1, seed: 1, weights: [1, 0] }), mismatch)
  throws(() => new StreamingKMeans(2, { size: 1, seed: 1 }).add(floats([1, 2, 3])), mismatch)
  throws(() => new StreamingKMeans(2, { size: 1, seed: 1 }).add(floats([1, Infinity])), mismatch)
})

test('a stream gives the same clusters however it is cut, and masses add up', () => {
  fc.assert(
    fc.property(
      points,
      size,
      seed,
      fc.integer({ min: 1, max: 7 }),
      fc.constantFrom('euclidean' as const, 'cosine' as const),
      (rows, k, s, cut, metric) => {
        const options = { size: k, seed: s, metric, batch: 5 }
        const whole = new StreamingKMeans(dim, options)
        whole.add(rows)
        const pieces = new StreamingKMeans(dim, options)
        for (let at = 0; at < rows.length; at += cut * dim) {
          pieces.add(rows.subarray(at, at + cut * dim))
          pieces.result()
        }
        const found = whole.result()
        deepStrictEqual(pieces.result(), found)
        strictEqual(found.rows + found.dropped, rows.length / dim)
        strictEqual(
          found.masses.reduce((sum, mass) => sum + mass, 0),
          found.rows,
        )
        ok(found.masses.length <= k)
        ok(found.centroids.every(Number.isFinite))
      },
    ),
  )
})

test('a stream that fits one batch is k-means; a longer one comes near it', () => {
  const { rows } = blobs(6000, 8, 500, 7, 4)
  const distortionOf = (centroids: Float32Array): number => {
    let total = 0
    for (let row = 0; row < 6000; row++) {
      total += Math.min(...Array.from({ length: centroids.length / 8 }, (_, c) => squared(rows, row, centroids, c, 8)))
    }
    return total / 6000
  }
  const whole = kMeans(rows, 8, { size: 10, seed: 1 })
  const stream = new StreamingKMeans(8, { size: 10, seed: 1 })
  stream.add(rows)
  const streamed = distortionOf(stream.result().centroids)
  ok(streamed < whole.distortion * 1.1, `${streamed} against ${whole.distortion}`)
  const short = new StreamingKMeans(8, { size: 10, seed: 1, batch: 500 })
  short.add(rows.subarray(0, 500 * 8))
  deepStrictEqual(short.result().centroids, kMeans(rows.subarray(0, 500 * 8), 8, { size: 10, seed: 1 }).centroids)
})

test('groups that come later in a stream get centroids of their own', () => {
  const { rows, of } = blobs(3000, 4, 5, 9)
  const order = [...of.keys()].sort((a, b) => of[a]! - of[b]! || a - b)
  const sorted = floats(order.flatMap((row) => [...rows.subarray(row * 4, (row + 1) * 4)]))
  const stream = new StreamingKMeans(4, { size: 10, seed: 1, batch: 50 })
  stream.add(sorted)
  const { centroids } = stream.result()
  const first = (center: number): number => of.indexOf(center)
  for (let center = 0; center < 5; center++) {
    const nearest = Math.min(...Array.from({ length: centroids.length / 4 }, (_, c) => squared(rows, first(center), centroids, c, 4)))
    ok(nearest < 1, `center ${center} is ${nearest} away from every centroid`)
  }
})
