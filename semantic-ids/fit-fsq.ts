/**
 * The projection of a finite-scalar last level: principal axes of what the codebooks leave, each scaled so that its digits are used.
 * Invariant: no draw is made; equal residuals in equal order give equal bytes.
 *
 * Digit j of a residual r is the number of its cuts (`fsq.ts`) that u = p_j . r reaches, p_j = scale_j * axis_j. Of the scales tried, a
 * geometric grid around 1 / (standard deviation along the axis), the one with the largest entropy of the digit is taken.
 */

import { pca } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { fsqOf, type Fsq } from './fsq.ts'

/** Scales tried: `leastScale * scaleStep ** i` standard deviations. */
const leastScale = 0.25
const scaleStep = 1.08
const scaleTrials = 60
const mostCodes = 65_536

/** @throws SIDESTREAM_SHAPE_MISMATCH unless there are 1 to `dim` digits of 2 values or more, together 65,536 IDs at most */
export function checkDigits(digits: readonly number[], dim: number): void {
  const size = digits.reduce((product, values) => product * values, 1)
  const whole = digits.every((values) => Number.isInteger(values) && values >= 2)
  if (digits.length < 1 || digits.length > dim || !whole || size > mostCodes) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `a finite-scalar level needs 1 to ${dim} digits of at least 2 values, together at most ${mostCodes} codes; got [${digits.join(', ')}]`,
    )
  }
}

/**
 * Projection for digits of these sizes.
 * @param residuals - row-major float32, shape [n, dim]
 * @param digits - values per digit, the first along the longest axis
 */
export function fitFsq(residuals: Float32Array, dim: number, digits: readonly number[]): Fsq {
  checkDigits(digits, dim)
  const rows = residuals.length / dim
  const { axes, variances } = pca(residuals, rows, dim)
  const projection = new Float32Array(digits.length * dim)
  const { cuts } = fsqOf(digits, projection)
  const along = new Float64Array(rows)
  for (const digit of digits.keys()) {
    const axis = axes.subarray(digit * dim, (digit + 1) * dim)
    for (let row = 0; row < rows; row++) {
      let sum = 0
      for (let j = 0; j < dim; j++) sum += residuals[row * dim + j]! * axis[j]!
      along[row] = sum
    }
    const scale = bestScale(along, cuts[digit]!, Math.sqrt(variances[digit]!))
    for (let j = 0; j < dim; j++) projection[digit * dim + j] = scale * axis[j]!
  }
  return fsqOf(digits, projection)
}

/** Scale of the largest entropy, the smallest on ties; 1 where nothing varies. */
function bestScale(along: Float64Array, cuts: Float32Array, deviation: number): number {
  if (!(deviation > 0)) return 1
  let best = 0
  let most = -1
  for (let trial = 0; trial < scaleTrials; trial++) {
    const scale = (leastScale * scaleStep ** trial) / deviation
    const entropy = digitEntropy(along, cuts, scale)
    if (entropy > most) {
      most = entropy
      best = scale
    }
  }
  return best
}

function digitEntropy(along: Float64Array, cuts: Float32Array, scale: number): number {
  const counts = new Int32Array(cuts.length + 1)
  for (let row = 0; row < along.length; row++) {
    let digit = 0
    for (const cut of cuts) if (along[row]! * scale >= cut) digit++
    counts[digit]!++
  }
  let entropy = 0
  for (const count of counts) if (count > 0) entropy -= (count / along.length) * Math.log(count / along.length)
  return entropy
}
