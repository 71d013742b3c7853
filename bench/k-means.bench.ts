/**
 * k-means over a stream of 6,000 rows of 8 dims, k 16: mixed, and sorted by group. Peer: mini-batches of the same size from the same
 * start, each centroid the mean of all rows it ever won. `distortion` and `peer distortion` are over that of `kMeans` with all rows in
 * memory, mean of three seeds: the speed is worth nothing without them.
 * Options: `--rounds N` (5).
 */
import { parseArgs } from 'node:util'
import { fillNormal, kMeans, StreamingKMeans, uniformInt } from '../compute/index.ts'
import { compare } from './harness.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } })
const [rows, dim, size, batch] = [6000, 8, 16, 256]
const seeds = [1, 2, 3]

/** Rows around `groups` centers, mixed or group by group. */
function stream(seed: number, groups: number, spread: number, sorted: boolean): Float32Array {
  const centers = new Float32Array(groups * dim)
  fillNormal(centers, seed, 1)
  const out = new Float32Array(rows * dim)
  fillNormal(out, seed, 2)
  const groupOf = Int32Array.from({ length: rows }, (_, row) => uniformInt(seed, 3, row, groups))
  if (sorted) groupOf.sort()
  return out.map((value, at) => 10 * centers[groupOf[Math.floor(at / dim)]! * dim + (at % dim)]! + spread * value)
}

function nearest(x: Float32Array, centroids: Float32Array, visit: (row: number, code: number, distance: number) => void): void {
  for (let row = 0; row < x.length / dim; row++) {
    let [code, least] = [-1, Infinity]
    for (let other = 0; other < centroids.length / dim; other++) {
      let sum = 0
      for (let j = 0; j < dim; j++) sum += (x[row * dim + j]! - centroids[other * dim + j]!) ** 2
      if (sum < least) [code, least] = [other, sum]
    }
    visit(row, code, least)
  }
}

function miniBatches(x: Float32Array, seed: number): Float32Array {
  const { centroids } = kMeans(x.subarray(0, batch * dim), dim, { size, seed })
  const sums = new Float64Array(size * dim)
  const masses = new Float64Array(size)
  for (let at = 0; at < rows; at += batch) {
    const part = x.subarray(at * dim, (at + batch) * dim)
    nearest(part, centroids, (row, code) => {
      masses[code]! += 1
      for (let j = 0; j < dim; j++) sums[code * dim + j]! += part[row * dim + j]!
    })
    for (let place = 0; place < centroids.length; place++) {
      const mass = masses[Math.floor(place / dim)]!
      if (mass > 0) centroids[place] = sums[place]! / mass
    }
  }
  return centroids
}

function streamed(x: Float32Array, seed: number): Float32Array {
  const clusters = new StreamingKMeans(dim, { size, seed, batch })
  clusters.add(x)
  return clusters.result().centroids
}

for (const { name, groups, spread, sorted } of [
  { name: '500 groups, mixed', groups: 500, spread: 4, sorted: false },
  { name: '500 groups, sorted', groups: 500, spread: 4, sorted: true },
  { name: '16 groups, mixed', groups: 16, spread: 2, sorted: false },
  { name: '16 groups, sorted', groups: 16, spread: 2, sorted: true },
]) {
  const sets = seeds.map((seed) => ({ seed, x: stream(seed, groups, spread, sorted) }))
  const over = (find: (x: Float32Array, seed: number) => Float32Array): number => {
    const ratios = sets.map(({ seed, x }) => {
      let total = 0
      nearest(x, find(x, seed), (_, __, distance) => void (total += distance))
      return total / rows / kMeans(stream(seed, groups, spread, false), dim, { size, seed }).distortion
    })
    return Number((ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length).toPrecision(3))
  }
  const quality = { distortion: over(streamed), 'peer distortion': over(miniBatches) }
  await compare<undefined>({
    name: `k-means stream, ${name}`,
    count: rows * seeds.length,
    unit: 'rows',
    sidestream: () => void sets.forEach(({ seed, x }) => streamed(x, seed)),
    peer: () => void sets.forEach(({ seed, x }) => miniBatches(x, seed)),
    peerName: 'mini-batches with running means',
    rounds: Number(values.rounds),
    extra: () => quality,
  })
}
