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

/** Lowers every distance to that of the new start where it is nearer; 0 (no start) stays 0. */
function lowerDistances(rows: Float32Array, dim: number, startRow: number, distances: Float64Array): void {
  const startAt = startRow * dim
  for (let row = 0; row < distances.length; row++) {
    const most = distances[row]!
    if (most === 0) continue
    const at = row * dim
    let sum = 0
    for (let j = 0; j < dim; j++) {
      const difference = rows[at + j]! - rows[startAt + j]!
      sum += difference * difference
    }
    if (sum < most) distances[row] = sum
  }
}
