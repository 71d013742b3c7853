/**
 * Vectors as int8 with one float32 scale each: x ≈ scale * code, codes in [-127, 127].
 * Invariant: the error of an entry is at most scale / 2 (up to float32 rounding); a zero vector has scale 0.
 */

/** Encodes one vector; returns its scale, max |x| / 127 in float32. Ties round to even. */
export function encodeInt8(x: Float32Array, out: Int8Array): number {
  let largest = 0
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i]!))
  const scale = Math.fround(largest / 127)
  for (let i = 0; i < x.length; i++) out[i] = scale === 0 ? 0 : Math.max(-127, Math.min(127, roundToEven(x[i]! / scale)))
  return scale
}

/** Decodes one vector into `out`. */
export function decodeInt8(codes: Int8Array, scale: number, out: Float32Array = new Float32Array(codes.length)): Float32Array {
  for (let i = 0; i < codes.length; i++) out[i] = codes[i]! * scale
  return out
}

function roundToEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}
