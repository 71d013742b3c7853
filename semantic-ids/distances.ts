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
 * Squared distance of a float32 row to what the codewords of an ID add up to.
 * @param from - where the row begins in `x`
 * @param at - where the ID begins in `codes`
 * @param residual - float64, shape [dim]; afterwards what the ID leaves
 */
export function distanceToId(
  x: Float32Array,
  from: number,
  codes: ArrayLike<number>,
  at: number,
  levels: readonly Float32Array[],
  residual: Float64Array,
): number {
  const dim = residual.length
  difference(residual, x, from, levels[0]!, codes[at]! * dim)
  for (let level = 1; level < levels.length; level++) subtract(residual, levels[level]!, codes[at + level]! * dim)
  return squaredNormInFour(residual)
}

/** to = x[from…] - y[at…]. A loop of its own: within one over rows it ran several times slower. */
function difference(to: Float64Array, x: Float32Array, from: number, y: Float32Array, at: number): void {
  const dim = to.length
  let j = 0
  for (; j + 4 <= dim; j += 4) {
    to[j] = x[from + j]! - y[at + j]!
    to[j + 1] = x[from + j + 1]! - y[at + j + 1]!
    to[j + 2] = x[from + j + 2]! - y[at + j + 2]!
    to[j + 3] = x[from + j + 3]! - y[at + j + 3]!
  }
  for (; j < dim; j++) to[j] = x[from + j]! - y[at + j]!
}

/** Where no reference walk decides by it: one sum would wait for itself. */
function squaredNormInFour(row: Float64Array): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  let j = 0
  for (; j + 4 <= row.length; j += 4) {
    a += row[j]! * row[j]!
    b += row[j + 1]! * row[j + 1]!
    c += row[j + 2]! * row[j + 2]!
    d += row[j + 3]! * row[j + 3]!
  }
  for (; j < row.length; j++) a += row[j]! * row[j]!
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
