/**
 * Seeded random numbers by counter (Philox 4x32-10): the value at (seed, stream, index) depends on nothing else, so
 * work may be split, skipped or repeated. Invariant: same numbers on every machine.
 */

const keyStepLow = 0x9e3779b9
const keyStepHigh = 0xbb67ae85
const multiplierA = 0xd2511f53
const multiplierB = 0xcd9e8d57

/** Four random 32-bit words of counter (index, stream) under key `seed`, written to `out[0..4)`. */
export function philox(seed: number, stream: number, index: number, out: Uint32Array): void {
  let c0 = index >>> 0
  let c1 = Math.floor(index / 2 ** 32) >>> 0
  let c2 = stream >>> 0
  let c3 = Math.floor(stream / 2 ** 32) >>> 0
  let k0 = seed >>> 0
  let k1 = Math.floor(seed / 2 ** 32) >>> 0
  for (let round = 0; round < 10; round++) {
    const highA = multiplyHigh(c0, multiplierA)
    const lowA = Math.imul(c0, multiplierA)
    const highB = multiplyHigh(c2, multiplierB)
    const lowB = Math.imul(c2, multiplierB)
    c0 = (highB ^ c1 ^ k0) >>> 0
    c1 = lowB >>> 0
    c2 = (highA ^ c3 ^ k1) >>> 0
    c3 = lowA >>> 0
    k0 = (k0 + keyStepLow) >>> 0
    k1 = (k1 + keyStepHigh) >>> 0
  }
  out[0] = c0
  out[1] = c1
  out[2] = c2
  out[3] = c3
}

/** High 32 bits of the 64-bit product. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(((middle & 0xffff) + aLow * bHigh) / 65536)) >>> 0
}

const words = new Uint32Array(4)

/** A number in [0, 1) with 53 random bits. `stream` names the use (an integer), `index` the draw. */
export function uniform(seed: number, stream: number, index: number): number {
  philox(seed, stream, index, words)
  return (words[0]! * 2 ** 21 + (words[1]! >>> 11)) / 2 ** 53
}

/** An integer in [0, bound), bound at most 2^32. */
export function uniformInt(seed: number, stream: number, index: number, bound: number): number {
  return Math.floor(uniform(seed, stream, index) * bound)
}

/** Fills `out` with uniform numbers in [0, 1), draws `from`, `from + 1`, … */
export function fillUniform(out: Float32Array | Float64Array, seed: number, stream: number, from = 0): void {
  // Float32 keeps 24 bits: rounding 53 bits could give 1.
  const single = out instanceof Float32Array
  for (let i = 0; i < out.length; i++) {
    philox(seed, stream, from + i, words)
    out[i] = single ? (words[0]! >>> 8) / 2 ** 24 : (words[0]! * 2 ** 21 + (words[1]! >>> 11)) / 2 ** 53
  }
}

/** Fills `out` with standard normal numbers (Box-Muller, one pair per counter). */
export function fillNormal(out: Float32Array | Float64Array, seed: number, stream: number): void {
  for (let i = 0; i < out.length; i += 2) {
    philox(seed, stream, i >>> 1, words)
    // 1 - u lies in (0, 1]: the logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - (words[0]! * 2 ** 21 + (words[1]! >>> 11)) / 2 ** 53))
    const angle = 2 * Math.PI * ((words[2]! * 2 ** 21 + (words[3]! >>> 11)) / 2 ** 53)
    out[i] = radius * Math.cos(angle)
    if (i + 1 < out.length) out[i + 1] = radius * Math.sin(angle)
  }
}

/** Puts `items` in a random order in place (Fisher-Yates). */
export function shuffle<T extends { [index: number]: number; readonly length: number }>(items: T, seed: number, stream: number): T {
  for (let i = items.length - 1; i > 0; i--) {
    const j = uniformInt(seed, stream, i, i + 1)
    const other = items[j]!
    items[j] = items[i]!
    items[i] = other
  }
  return items
}
