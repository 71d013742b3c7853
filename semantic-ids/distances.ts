/** Distances and steps of one float64 residual, sums in index order: what the reference walks are made of. */

/** Dims between two looks at the bound. */
const stretch = 16

/**
 * Lowest index of the code of least cost.
 * @param residual - float64, shape [dim]
 * @param codebook - row-major float32, shape [size, dim]
 * @param penalties - float32, shape [size], none below 0
 * @param guess - a code that is likely the one: saves work, never changes the outcome
 */
export function cheapest(
  residual: Float64Array,
  codebook: Float32Array,
  size: number,
  penalties: Float32Array | undefined,
  guess = 0,
): number {
  const dim = residual.length
  let best = guess < size ? guess : 0
  let least = squaredDistance(residual, codebook, best * dim) + (penalties?.[best] ?? 0)
  for (let code = 0, at = 0; code < size; code++, at += dim) {
    let cost = boundedDistance(residual, codebook, at, least)
    if (penalties !== undefined) cost += penalties[code]!
    if (cost < least || (cost === least && code < best)) {
      least = cost
      best = code
    }
  }
  return best
}

/** Squared distance of a residual to the codeword at `at`, or the part of it with which it is above `bound` already. */
export function boundedDistance(residual: Float64Array, codebook: Float32Array, at: number, bound: number): number {
  const dim = residual.length
  let sum = 0
  for (let from = 0; from < dim; from += stretch) {
    const to = Math.min(dim, from + stretch)
    for (let j = from; j < to; j++) {
      const difference = residual[j]! - codebook[at + j]!
      sum += difference * difference
    }
    if (sum > bound) return sum
  }
  return sum
}

/** Squared distance of a residual to the codeword at `at`. */
export function squaredDistance(residual: Float64Array, codebook: Float32Array, at: number): number {
  let sum = 0
  for (let j = 0; j < residual.length; j++) {
    const difference = residual[j]! - codebook[at + j]!
    sum += difference * difference
  }
  return sum
}

/** Takes the codeword at `at` away, in place. */
export function subtract(residual: Float64Array, codebook: Float32Array, at: number): void {
  const dim = residual.length
  let j = 0
  for (; j + 4 <= dim; j += 4) {
    residual[j] = residual[j]! - codebook[at + j]!
    residual[j + 1] = residual[j + 1]! - codebook[at + j + 1]!
    residual[j + 2] = residual[j + 2]! - codebook[at + j + 2]!
    residual[j + 3] = residual[j + 3]! - codebook[at + j + 3]!
  }
  for (; j < dim; j++) residual[j] = residual[j]! - codebook[at + j]!
}

function squaredNorm(row: Float64Array): number {
  let sum = 0
  for (let j = 0; j < row.length; j++) sum += row[j]! * row[j]!
  return sum
}

/**
 * Squared distances of float32 rows to what the codewords of their IDs add up to.
 * @param x - row-major float32, shape [n, dim]
 * @param codes - of the rows from row `first` on, row-major, shape [m, stride]; -1 where a row has no ID
 * @param levels - the first ones of `stride`: a finite-scalar level adds nothing
 * @param distances - written, shape [m]; 0 where a row has no ID
 */
export function distancesToIds(
  x: Float32Array,
  dim: number,
  codes: Uint16Array | Int32Array,
  levels: readonly Float32Array[],
  distances: Float64Array,
  first = 0,
): void {
  const residual = new Float64Array(dim)
  const stride = codes.length / distances.length
  const last = levels.length - 1
  for (let row = 0, at = 0; row < distances.length; row++, at += stride) {
    distances[row] = 0
    if (codes[at] === -1) continue
    const from = (first + row) * dim
    let level = 0
    if (last < 2) residual.set(x.subarray(from, from + dim))
    else {
      subtractTwo(residual, x, from, levels[0]!, codes[at]! * dim, levels[1]!, codes[at + 1]! * dim)
      level = 2
    }
    for (; level < last; level++) subtract(residual, levels[level]!, codes[at + level]! * dim)
    distances[row] = squaredDistanceInFour(residual, levels[last]!, codes[at + last]! * dim)
  }
}

/** to = x[from…] - y[yAt…] - z[zAt…]. Loops of their own, here and below: within one over rows they ran several times slower. */
function subtractTwo(to: Float64Array, x: Float32Array, from: number, y: Float32Array, yAt: number, z: Float32Array, zAt: number): void {
  const dim = to.length
  let j = 0
  for (; j + 4 <= dim; j += 4) {
    const a = x[from + j]! - y[yAt + j]! - z[zAt + j]!
    const b = x[from + j + 1]! - y[yAt + j + 1]! - z[zAt + j + 1]!
    const c = x[from + j + 2]! - y[yAt + j + 2]! - z[zAt + j + 2]!
    const d = x[from + j + 3]! - y[yAt + j + 3]! - z[zAt + j + 3]!
    to[j] = a
    to[j + 1] = b
    to[j + 2] = c
    to[j + 3] = d
  }
  for (; j < dim; j++) to[j] = x[from + j]! - y[yAt + j]! - z[zAt + j]!
}

/** `squaredDistance` in four sums: one would wait for itself. The reference walks keep to one, which decides their codes. */
function squaredDistanceInFour(residual: Float64Array, codebook: Float32Array, at: number): number {
  const dim = residual.length
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  let j = 0
  for (; j + 4 <= dim; j += 4) {
    const d0 = residual[j]! - codebook[at + j]!
    const d1 = residual[j + 1]! - codebook[at + j + 1]!
    const d2 = residual[j + 2]! - codebook[at + j + 2]!
    const d3 = residual[j + 3]! - codebook[at + j + 3]!
    a += d0 * d0
    b += d1 * d1
    c += d2 * d2
    d += d3 * d3
  }
  for (; j < dim; j++) a += (residual[j]! - codebook[at + j]!) ** 2
  return a + b + (c + d)
}

/**
 * Cost of a whole ID: squared distance to what its codewords add up to, and their penalties, level after level.
 * @param row - float64, shape [dim]
 * @param at - where the ID begins in `codes`
 * @param residual - float64, shape [dim]; afterwards what the ID leaves
 */
export function costOfId(
  row: Float64Array,
  codes: ArrayLike<number>,
  at: number,
  levels: readonly Float32Array[],
  penalties: readonly (Float32Array | undefined)[] | undefined,
  residual: Float64Array,
): number {
  residual.set(row)
  let spent = 0
  for (let level = 0; level < levels.length; level++) {
    const code = codes[at + level]!
    subtract(residual, levels[level]!, code * row.length)
    spent += penalties?.[level]?.[code] ?? 0
  }
  return squaredNorm(residual) + spent
}

/** Brings a row to unit length in place; a zero row stays zero. */
export function toUnitLength(row: Float64Array): void {
  const squared = squaredNorm(row)
  if (squared === 0) return
  const norm = Math.sqrt(squared)
  for (let j = 0; j < row.length; j++) row[j] = row[j]! / norm
}
