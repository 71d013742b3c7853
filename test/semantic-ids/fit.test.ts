import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import { encode, fitCodebooks, reconstruction, usage, type Fit } from '../../semantic-ids/index.ts'
import { clustered } from './golden.ts'

const dim = 12
const idsOf = (rows: number): string[] => Array.from({ length: rows }, (_, row) => `item-${row}`)
const bytesOf = ({ codebooks }: Fit): Buffer[] => codebooks.levels.map((level) => Buffer.from(level.buffer))
const usedBy = (vectors: Float32Array, fit: Fit) => usage(encode(vectors, fit.codebooks, fit.settings), fit.codebooks.sizes)

test('no dead code with 39 distinct rows a code, whatever the level sizes, and distortion falls level by level', async () => {
  const vectors = clustered(39 * 64, dim, 50, 1)
  const fit = await fitCodebooks(vectors, idsOf(39 * 64), dim, { sizes: [64, 16, 40], seed: 7 })
  deepStrictEqual(fit.codebooks.sizes, [64, 16, 40])
  deepStrictEqual(
    usedBy(vectors, fit).levels.map(({ dead }) => dead),
    [0, 0, 0],
  )
  const report = reconstruction(vectors, encode(vectors, fit.codebooks, fit.settings), fit.codebooks, fit.settings)
  ok(report.residualEnergy[0]! < 0.6 && report.residualEnergy[1]! < report.residualEnergy[0]! && report.fvu < report.residualEnergy[1]!)
  ok(Math.abs(fit.fvu - report.fvu) < 1e-6, `the fit says ${fit.fvu}, the report ${report.fvu}`)
})

test('well separated clusters get one code each', async () => {
  // 20 clusters on the axes of a 20-dimensional space, far apart against their noise.
  const noise = clustered(1000, 20, 1, 4)
  const vectors = Float32Array.from(noise, (value, at) => 0.01 * value + (Math.floor(at / 20) % 20 === at % 20 ? 1 : 0))
  const fit = await fitCodebooks(vectors, idsOf(1000), 20, { sizes: [20], seed: 1 })
  deepStrictEqual(
    usedBy(vectors, fit).levels[0]!.histogram,
    Array.from({ length: 20 }, () => 50),
  )
})

test('the same items give the same bytes in any order and with any number of threads; another seed does not', async () => {
  const rows = 1200
  const vectors = clustered(rows, dim, 30, 2)
  const options = { sizes: [32, 32], seed: 5, iterations: 8, sampleRowsPerCode: 30 }
  const one = await fitCodebooks(vectors, idsOf(rows), dim, options)
  const order = Array.from({ length: rows }, (_, row) => (row * 607) % rows)
  const shuffled = Float32Array.from(order.flatMap((row) => [...vectors.subarray(row * dim, (row + 1) * dim)]))
  const two = await fitCodebooks(
    shuffled,
    order.map((row) => `item-${row}`),
    dim,
    { ...options, threads: 2 },
  )
  deepStrictEqual(bytesOf(two), bytesOf(one))
  deepStrictEqual(two.training, one.training)
  equal(one.training['sampleRows'], 960)
  const other = await fitCodebooks(vectors, idsOf(rows), dim, { ...options, seed: 6 })
  ok(!bytesOf(other)[0]!.equals(bytesOf(one)[0]!))
})

test('fewer items than codes: every item is met, spare codes get no row and are counted', async () => {
  const vectors = clustered(10, dim, 10, 3)
  const fit = await fitCodebooks(vectors, idsOf(10), dim, { sizes: [16, 4], seed: 1 })
  const codes = encode(vectors, fit.codebooks, fit.settings)
  equal(usage(codes, fit.codebooks.sizes).levels[0]!.used, 10)
  ok(reconstruction(vectors, codes, fit.codebooks, fit.settings).distortion < 1e-9)
  deepStrictEqual((fit.training['levels'] as { dead: number }[])[0]!.dead, 6)
})

test('identical and zero vectors, constant dimensions and levels of one code are fitted', async () => {
  for (const value of [0.25, 0]) {
    const same = new Float32Array(300 * dim).fill(value)
    const fit = await fitCodebooks(same, idsOf(300), dim, { sizes: [8, 8], seed: 1 })
    const report = usedBy(same, fit)
    deepStrictEqual([report.distinct, report.maxBucket], [1, 300])
    equal(reconstruction(same, encode(same, fit.codebooks, fit.settings), fit.codebooks, fit.settings).fvu, 0)
  }
  const flat = clustered(400, dim, 9, 5).map((value, at) => (at % dim < 9 ? 3 : value))
  const fit = await fitCodebooks(flat, idsOf(400), dim, { sizes: [1, 8, 1], seed: 2, normalize: false })
  equal(usedBy(flat, fit).levels[1]!.dead, 0)
  const mean = Float64Array.from(
    { length: dim },
    (_, j) => flat.filter((_, at) => at % dim === j).reduce((sum, value) => sum + value, 0) / 400,
  )
  for (let j = 0; j < dim; j++) ok(Math.abs(fit.codebooks.levels[0]![j]! - mean[j]!) < 1e-6, 'a level of one code is the mean')
})

test('codes that no seed was left for are revived from the largest cluster', async () => {
  // 20 long rows and 2,476 short ones (no seeds, all distinct) for 64 codes.
  const vectors = clustered(39 * 64, dim, 39 * 64, 8).map((value, at) => (at < 20 * dim ? value * 100 : value * 0.1))
  const fit = await fitCodebooks(vectors, idsOf(39 * 64), dim, { sizes: [64], seed: 3, normalize: false })
  equal(usedBy(vectors, fit).levels[0]!.dead, 0)
})

test('raw vectors of any length that float32 holds are fitted: the scale changes nothing', async () => {
  const vectors = clustered(300, 6, 20, 8)
  const fitAt = async (scale: number): Promise<Fit> =>
    fitCodebooks(
      vectors.map((value) => value * scale),
      idsOf(300),
      6,
      { sizes: [8, 8], seed: 1, normalize: false },
    )
  const { fvu } = await fitAt(1)
  for (const scale of [1e-20, 1e17, 1e18, 3e19, 1e30]) ok(Math.abs((await fitAt(scale)).fvu - fvu) < 1e-4, `scale ${scale}`)
})

test('bad input is refused before anything is computed', async () => {
  const fit = (vectors: Float32Array, ids: string[], sizes = [4]): Promise<Fit> => fitCodebooks(vectors, ids, 2, { sizes, seed: 1 })
  await rejects(fit(new Float32Array(0), []), { code: 'SIDESTREAM_ITEMS_TOO_FEW' })
  await rejects(fit(new Float32Array(3), ['a']), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(fit(new Float32Array(4), ['a']), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(fit(new Float32Array(4), ['a', 'a']), { code: 'SIDESTREAM_ID_INVALID' })
  await rejects(fit(Float32Array.of(1, 2, 3, Infinity), ['a', 'b']), {
    code: 'SIDESTREAM_VECTOR_NOT_FINITE',
    details: { row: 1, position: 1 },
  })
  for (const sizes of [[], [0], [70_000], [2.5]])
    await rejects(fit(new Float32Array(4), ['a', 'b'], sizes), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})

test('raw vectors far from the origin are fitted and measured by what differs', async () => {
  const rows = 39 * 32
  const near = clustered(rows, dim, 40, 5)
  // Float32 holds steps of .25 at this distance.
  const far = near.map((value) => value + 3e6)
  const fit = await fitCodebooks(far, idsOf(rows), dim, { sizes: [16, 16], seed: 1, normalize: false })
  const codes = encode(far, fit.codebooks, fit.settings)
  const { fvu } = reconstruction(far, codes, fit.codebooks, fit.settings)
  let [left, variance] = [0, 0]
  for (let j = 0; j < dim; j++) {
    const column = Array.from({ length: rows }, (_, row) => far[row * dim + j]!)
    const mean = column.reduce((sum, value) => sum + value, 0) / rows
    for (const [row, value] of column.entries()) {
      const decoded = codes[row * 2]! * dim + j
      const rest = value - fit.codebooks.levels[0]![decoded]! - fit.codebooks.levels[1]![codes[row * 2 + 1]! * dim + j]!
      variance += (value - mean) ** 2
      left += rest * rest
    }
  }
  ok(Math.abs(fvu - left / variance) < 1e-9 && fvu > 0.01 && fvu < 1, `FVU ${fvu}, expected ${left / variance}`)
  ok(Math.abs(fit.fvu - fvu) < 0.01 * fvu, `the fit says ${fit.fvu}, the codes ${fvu}`)
})

test('no code is dead where one dim is far larger than the others, such as a time', async () => {
  const rows = 4000
  const vectors = clustered(rows, dim, 40, 6)
  for (let row = 0; row < rows; row++) vectors[row * dim] = 1.7e9 + 128 * ((row * 37) % 20)
  const fit = await fitCodebooks(vectors, idsOf(rows), dim, { sizes: [8, 8, 8], seed: 1, normalize: false, sampleRowsPerCode: 500 })
  deepStrictEqual(
    usedBy(vectors, fit).levels.map(({ dead }) => dead),
    [0, 0, 0],
  )
})

test('one extreme row does not spoil the rounds over all levels for the others', async () => {
  const rows = 3000
  const vectors = clustered(rows, dim, 60, 7)
  vectors.fill(4e12, 0, dim)
  const leftBy = async (jointRounds: number): Promise<number> => {
    const options = { sizes: [16, 16, 16], seed: 2, iterations: 10, jointRounds, normalize: false }
    const { codebooks, settings } = await fitCodebooks(vectors, idsOf(rows), dim, options)
    const others = vectors.subarray(dim)
    return reconstruction(others, encode(others, codebooks, settings), codebooks, settings).fvu
  }
  ok((await leftBy(3)) < (await leftBy(0)))
})
