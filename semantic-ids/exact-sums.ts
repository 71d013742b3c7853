/** Numbers whose float64 sums are exact: the same in whatever order they are added, taken away and added again. */

/** Numbers below this many steps of the grid lose digits that count: their float32 step is 24 bits below them. */
const leastSteps = 2 ** 20
/** Share of the numbers (zeros left out) that may do so. */
const mostBlurred = 1 / 16

/**
 * Rounds numbers in place to a grid on which all sums of up to `rows` of them fit into float64's 53 bits. The grid is so fine (for a
 * million rows, 2^-32 of the largest number) that few numbers lose digits, unless one is far larger than most.
 * @returns whether it did; where too many would lose digits, as beside an outlier, nothing is changed
 */
export function roundForExactSums(x: Float32Array, rows: number): boolean {
  const largest = largestOf(x)
  if (largest === 0) return true
  const bits = 52 - Math.ceil(Math.log2(Math.max(1, rows)))
  const step = 2 ** (Math.floor(Math.log2(largest)) + 1 - bits)
  if (shareBelow(x, leastSteps * step) > mostBlurred) return false
  // Float64 numbers about as large as this one are multiples of the step.
  roundAll(x, 1.5 * 2 ** 52 * step)
  return true
}

function largestOf(x: Float32Array): number {
  let largest = 0
  for (let at = 0; at < x.length; at++) {
    const size = Math.abs(x[at]!)
    if (size > largest) largest = size
  }
  return largest
}

/** Of the numbers that are not 0. */
function shareBelow(x: Float32Array, bound: number): number {
  let below = 0
  let zeros = 0
  for (let at = 0; at < x.length; at++) {
    const size = Math.abs(x[at]!)
    if (size === 0) zeros++
    else if (size < bound) below++
  }
  return below / Math.max(1, x.length - zeros)
}

function roundAll(x: Float32Array, magnet: number): void {
  for (let at = 0; at < x.length; at++) x[at] = x[at]! + magnet - magnet
}
