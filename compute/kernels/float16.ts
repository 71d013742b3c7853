/**
 * Half precision in bulk. Invariant: encoding rounds to the nearest half, ties to even, in one rounding step;
 * decoding is exact; overflow gives infinity.
 */

const bits = new Uint32Array(1)
const number = new Float32Array(bits.buffer)
const decoded = decodeTable()

/** Half bits of one float32 number. */
export function toFloat16(value: number): number {
  number[0] = value
  const word = bits[0]!
  const sign = (word >>> 16) & 0x8000
  const magnitude = word & 0x7fffffff
  if (magnitude >= 0x47800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00)
  if (magnitude < 0x38800000) {
    // Below the smallest normal half: units of 2^-24.
    if (magnitude < 0x33000000) return sign
    const shift = 126 - (magnitude >>> 23)
    const mantissa = (magnitude & 0x7fffff) | 0x800000
    const half = mantissa >>> shift
    const rest = mantissa & ((1 << shift) - 1)
    const middle = 1 << (shift - 1)
    return sign | (half + (rest > middle || (rest === middle && (half & 1) === 1) ? 1 : 0))
  }
  const half = (magnitude - 0x38000000) >>> 13
  const rest = magnitude & 0x1fff
  return sign | (half + (rest > 0x1000 || (rest === 0x1000 && (half & 1) === 1) ? 1 : 0))
}

/** The number of half bits. */
export function fromFloat16(half: number): number {
  return decoded[half]!
}

/** Encodes `x` into `out` (same length). */
export function encodeFloat16(x: Float32Array, out: Uint16Array = new Uint16Array(x.length)): Uint16Array {
  for (let i = 0; i < x.length; i++) out[i] = toFloat16(x[i]!)
  return out
}

/** Decodes `x` into `out` (same length). */
export function decodeFloat16(x: Uint16Array, out: Float32Array = new Float32Array(x.length)): Float32Array {
  for (let i = 0; i < x.length; i++) out[i] = decoded[x[i]!]!
  return out
}

function decodeTable(): Float32Array {
  const table = new Float32Array(65536)
  for (let half = 0; half < 65536; half++) {
    const sign = half & 0x8000 ? -1 : 1
    const exponent = (half >>> 10) & 31
    const mantissa = half & 1023
    if (exponent === 31) table[half] = mantissa === 0 ? sign * Infinity : NaN
    else table[half] = sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25))
  }
  return table
}
