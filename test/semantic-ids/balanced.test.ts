import { deepStrictEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { BalancedPrices, squaredDistances } from '../../semantic-ids/balanced.ts'
import { clustered, codebooks, golden, x } from './golden.ts'

const close = (actual: ArrayLike<number>, expected: readonly number[], tolerance = 1e-9): void => {
  equal(actual.length, expected.length)
  expected.forEach((value, at) =>
    ok(Math.abs(actual[at]! - value) <= tolerance * Math.max(1, Math.abs(value)), `${at}: ${actual[at]} is not ${value}`),
  )
}

test('streaming Sinkhorn gives the golden codes and prices, batch by batch', () => {
  const { inputs, batches } = golden.balanced_streaming
  const [dim, size] = [4, 5]
  const codebook = codebooks.levels[0]!.subarray(0, size * dim)
  const rows = Float32Array.from((inputs.row_order as number[]).flatMap((row) => [...x.subarray(row * dim, (row + 1) * dim)]))
  const { epsilon_relative: epsilonShare, iterations, rho: momentum, batch } = inputs
  const prices = new BalancedPrices(size, { epsilonShare, iterations, momentum, batch })
  for (const [index, expected] of batches.entries()) {
    const costs = new Float64Array(batch * size)
    squaredDistances(rows, dim, index * batch, (index + 1) * batch, codebook, costs)
    const codes = new Int32Array(batch)
    prices.assign(costs, codes)
    close([prices.epsilon], [expected.epsilon])
    deepStrictEqual([...codes], expected.plan_row_argmax)
    close(prices.batchLogPrices, expected.log_price_batch)
    close(prices.logPrices, expected.log_price_running)
    close(
      Array.from(prices.logPrices, (price) => price * prices.epsilon),
      expected.squared_distance_price,
    )
  }
  const penalties = prices.penalties()
  const dearest = Math.max(...prices.logPrices)
  equal(Math.min(...penalties), 0)
  close(
    penalties,
    Array.from(prices.logPrices, (price) => prices.epsilon * (dearest - price)),
    1e-6,
  )
})

test('prices make shares equal; far outliers and costs of zero change nothing of that', () => {
  const [dim, size, rows] = [3, 4, 256]
  const vectors = clustered(rows, dim, 2, 5)
  const codebook = Float32Array.from([...vectors.subarray(0, size * dim)])
  const sharesOf = (far: number): number[] => {
    const moved = vectors.slice()
    moved.fill(far, 0, far === 0 ? 0 : dim)
    const costs = new Float64Array(rows * size)
    squaredDistances(moved, dim, 0, rows, codebook, costs)
    const codes = new Int32Array(rows)
    new BalancedPrices(size, { epsilonShare: 0.002, iterations: 2000 }).assign(costs, codes)
    return [0, 1, 2, 3].map((code) => codes.filter((other) => other === code).length)
  }
  for (const share of sharesOf(0)) ok(Math.abs(share - rows / size) <= 4, `${share} of ${rows} rows`)
  for (const share of sharesOf(60)) ok(Math.abs(share - rows / size) <= 16, `${share} of ${rows} rows`)
  // All rows so far from one codeword that its exponentials are zero: prices are found with logarithms.
  const far = new Float64Array(rows * 2).map((_, at) => (at % 2 === 0 ? 1 + at / 1000 : 5000))
  const halves = new Int32Array(rows)
  new BalancedPrices(2, { epsilonShare: 0.001, iterations: 500 }).assign(far, halves)
  ok(Math.abs(halves.reduce((sum, code) => sum + code, 0) - rows / 2) <= 2, 'half of the rows take it all the same')
  const codes = new Int32Array(8).fill(3)
  const still = new BalancedPrices(2)
  still.assign(new Float64Array(16), codes)
  deepStrictEqual(
    [[...codes], [...still.penalties()]],
    [
      [0, 0, 0, 0, 0, 0, 0, 0],
      [0, 0],
    ],
  )
})

test('options out of range are refused', () => {
  for (const options of [{ epsilonShare: 0 }, { momentum: 1 }, { iterations: 0 }, { batch: 1.5 }, { rounds: NaN }])
    throws(() => new BalancedPrices(4, options), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
})
