/** Numbers whose float64 sums are exact: the same in whatever order they are added, taken away and added again. */

/**
 * Rounds numbers in place to a grid on which all sums of up to `rows` of them fit into float64's 53 bits. The grid is so fine (for a
 * million rows, 2^-32 of the largest number) that only numbers far below the largest lose digits.
 */
export function roundForExactSums(x: Float32Array, rows: number): void {
  const largest = largestOf(x)
  if (largest === 0) return
  const bits = 52 - Math.ceil(Math.log2(Math.max(1, rows)))
  const step = 2 ** (Math.floor(Math.log2(largest)) + 1 - bits)
  // Float64 numbers about as large as this one are multiples of the step.
  roundAll(x, 1.5 * 2 ** 52 * step)
}

function largestOf(x: Float32Array): number {
  let largest = 0
  for (let at = 0; at < x.length; at++) {
    const size = Math.abs(x[at]!)
    if (size > largest) largest = size
  }
  return largest
}

function roundAll(x: Float32Array, magnet: number): void {
  for (let at = 0; at < x.length; at++) x[at] = x[at]! + magnet - magnet
}
