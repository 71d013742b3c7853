/**
 * k-means++: rows that start clusters, each drawn with probability proportional to its squared distance to those before.
 * Invariant: same rows in the same order and same draws give the same choice on every machine.
 */

/**
 * Draws up to `size` rows.
 * @param rows - row-major float32; the first `distances.length` may be drawn
 * @param distances - written in place, float64: squared distance to the nearest start so far. In: 0 where a row is no start, above 0
 *   (`Infinity` without any start) where it may be one
 * @param at - a number in [0, 1) for draw i; the first draw looks at weights alone
 * @param weights - how often each row counts; all 1 when left out
 * @returns row numbers in the order of their draw; fewer than `size` when no distinct rows are left
 */
export function plusPlusRows(
  rows: Float32Array,
  dim: number,
  size: number,
  distances: Float64Array,
  at: (draw: number) => number,
  weights?: ArrayLike<number>,
): Int32Array {
  const chosen = new Int32Array(size)
  for (let draw = 0; draw < size; draw++) {
    const row = drawRow(distances, at(draw), draw === 0, weights)
    if (row < 0) return chosen.subarray(0, draw)
    chosen[draw] = row
    lowerDistances(rows, dim, row, distances)
  }
  return chosen
}

/** A row drawn by distance times weight (`evenly`: by weight alone where the distance is above 0); -1 when none is left. */
function drawRow(distances: Float64Array, at: number, evenly: boolean, weights: ArrayLike<number> | undefined): number {
  const shareOf = (row: number): number =>
    (evenly ? Math.sign(distances[row]!) : distances[row]!) * (weights === undefined ? 1 : weights[row]!)
  let total = 0
  for (let row = 0; row < distances.length; row++) total += shareOf(row)
  let left = at * total
  let last = -1
  for (let row = 0; row < distances.length; row++) {
    const share = shareOf(row)
    if (share === 0) continue
    last = row
    left -= share
    if (left < 0) break
  }
  return last
}

/** Dims added up before four distances are given up that are too large already. */
const stretch = 32

/** Lowers every distance to that of the new start where it is nearer; 0 (no start) stays 0. */
function lowerDistances(rows: Float32Array, dim: number, startRow: number, distances: Float64Array): void {
  const start = Float64Array.from(rows.subarray(startRow * dim, (startRow + 1) * dim))
  const last = distances.length - 1
  // Four sums at a time: one would wait for itself.
  for (let row = 0; row <= last; row += 4) {
    let at0 = row * dim
    let at1 = Math.min(row + 1, last) * dim
    let at2 = Math.min(row + 2, last) * dim
    let at3 = Math.min(row + 3, last) * dim
    let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0]
    const [most0, most1] = [distances[row]!, distances[Math.min(row + 1, last)]!]
    const [most2, most3] = [distances[Math.min(row + 2, last)]!, distances[Math.min(row + 3, last)]!]
    for (let j = 0; j < dim && (sum0 < most0 || sum1 < most1 || sum2 < most2 || sum3 < most3);) {
      for (const end = Math.min(dim, j + stretch); j < end; j++) {
        const value = start[j]!
        const d0 = rows[at0++]! - value
        const d1 = rows[at1++]! - value
        const d2 = rows[at2++]! - value
        const d3 = rows[at3++]! - value
        sum0 += d0 * d0
        sum1 += d1 * d1
        sum2 += d2 * d2
        sum3 += d3 * d3
      }
    }
    distances[row] = Math.min(distances[row]!, sum0)
    if (row + 1 <= last) distances[row + 1] = Math.min(distances[row + 1]!, sum1)
    if (row + 2 <= last) distances[row + 2] = Math.min(distances[row + 2]!, sum2)
    if (row + 3 <= last) distances[row + 3] = Math.min(distances[row + 3]!, sum3)
  }
}
