import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import { encode, fitCodebooks, fitFromSource, reconstruction, type Fit, type RowBatch, type RowSource } from '../../semantic-ids/index.ts'
import { clustered } from './golden.ts'

const dim = 6
const rows = 900
const vectors = clustered(rows, dim, 25, 7)
const ids = Array.from({ length: rows }, (_, row) => `item-${row}`)
const bytesOf = ({ codebooks }: Fit): Buffer[] => codebooks.levels.map((level) => Buffer.from(level.buffer))

/** The rows in batches of `batch`, in steps of `stride`. */
function sourceOf(batch: number, stride = 1, x = vectors, names = ids): RowSource & { opened: number } {
  const order = names.map((_, row) => (row * stride) % names.length)
  const source = {
    dim,
    opened: 0,
    async *open(): AsyncIterable<RowBatch> {
      source.opened++
      for (let from = 0; from < order.length; from += batch) {
        const part = order.slice(from, from + batch)
        yield {
          ids: part.map((row) => names[row]!),
          vectors: Float32Array.from(part.flatMap((row) => [...x.subarray(row * dim, (row + 1) * dim)])),
        }
      }
    },
  }
  return source
}

test('a fit on a source is the fit in memory, in any order and batches, and reads it once', async () => {
  const options = { sizes: [16, 8], seed: 5, iterations: 6, sampleRowsPerCode: 30 }
  const inMemory = await fitCodebooks(vectors, ids, dim, options)
  const sums = new Set<unknown>()
  for (const [batch, stride] of [
    [64, 1],
    [7, 7],
    [5000, 101],
  ] as const) {
    const source = sourceOf(batch, stride)
    const fit = await fitFromSource(source, options)
    deepStrictEqual(bytesOf(fit), bytesOf(inMemory))
    deepStrictEqual([fit.fvu, fit.training['rows'], fit.training['sampleRows'], source.opened], [inMemory.fvu, rows, 480, 1])
    sums.add(fit.training['itemsSha256Sum'])
  }
  equal(sums.size, 1, 'the hash of the items does not depend on their order')
  const other = await fitFromSource(sourceOf(64, 1, vectors.subarray(dim), ids.slice(1)), options)
  ok(!sums.has(other.training['itemsSha256Sum']))
})

test('passes read the source once each, bring codewords to the means of all rows, and go on from a state', async () => {
  const options = { sizes: [12, 6], seed: 5, iterations: 4, sampleRowsPerCode: 12, normalize: false }
  const distortion = (fit: Fit): number =>
    reconstruction(vectors, encode(vectors, fit.codebooks, fit.settings), fit.codebooks, fit.settings).distortion
  const sampled = await fitFromSource(sourceOf(100), options)
  const source = sourceOf(100)
  const states: Uint8Array[] = []
  const passed = await fitFromSource(source, { ...options, passes: 3, onProgress: ({ state }) => void states.push(state()) })
  deepStrictEqual([source.opened, passed.training['jointRounds']], [1 + 2 * 3, 0])
  ok(distortion(passed) < 0.97 * distortion(sampled), `${distortion(passed)} is not well below ${distortion(sampled)}`)
  const again = await fitFromSource(sourceOf(41), { ...options, passes: 3, resume: states[6]! })
  again.codebooks.levels[0]!.forEach((value, at) => ok(Math.abs(value - passed.codebooks.levels[0]![at]!) < 1e-5))
  deepStrictEqual(bytesOf(await fitFromSource(sourceOf(100), { ...options, passes: 3, resume: states[2]! })), bytesOf(passed))
  await rejects(fitFromSource(sourceOf(100), { ...options, resume: states[2]! }), { code: 'SIDESTREAM_USAGE_INVALID' })
})

test('bad rows of a source are refused, with the rows before them counted', async () => {
  const options = { sizes: [4], seed: 1 }
  const bad = vectors.slice()
  bad[150 * dim + 2] = NaN
  await rejects(fitFromSource(sourceOf(100, 1, bad), options), {
    code: 'SIDESTREAM_VECTOR_NOT_FINITE',
    message: /after 100 rows: vector 50 /,
  })
  await rejects(fitFromSource(sourceOf(100, 1, new Float32Array(0), []), options), { code: 'SIDESTREAM_ITEMS_TOO_FEW' })
  await rejects(fitFromSource({ ...sourceOf(100), dim: 7 }, options), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await rejects(fitFromSource(sourceOf(100, 1, vectors, [...ids.slice(0, -1), 'item-3']), options), { code: 'SIDESTREAM_ID_INVALID' })
  await rejects(fitFromSource(sourceOf(100), { ...options, passes: -1 }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})
