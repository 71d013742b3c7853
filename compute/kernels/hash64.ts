/**
 * A seeded 64-bit hash of text for ordering and sampling rows: FNV-1a over UTF-16 code units (low byte, high byte) in
 * two seeded 32-bit lanes, finished by Murmur3's mixer. Not for security.
 * Invariant: same number on every machine; never change it, training order hangs on it.
 */

/** Hash of `text` under an integer `seed`, unsigned 64 bits. */
export function hash64(seed: number, text: string): bigint {
  hashInto(seed, text)
  return (BigInt(high) << 32n) | BigInt(low)
}

/** The same as a number in [0, 1) with the upper 53 bits, cheaper than a bigint. */
export function hashUnit(seed: number, text: string): number {
  hashInto(seed, text)
  return (high * 2 ** 21 + (low >>> 11)) / 2 ** 53
}

let high = 0
let low = 0

function hashInto(seed: number, text: string): void {
  const upper = Math.floor(seed / 2 ** 32)
  let a = mix(0x811c9dc5 ^ seed) ^ upper
  let b = mix(0x9747b28c ^ seed ^ Math.imul(upper, 0x5bd1e995))
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    a = Math.imul(a ^ (unit & 255), 0x01000193)
    a = Math.imul(a ^ (unit >>> 8), 0x01000193)
    b = Math.imul(b ^ unit, 0xcc9e2d51)
    b = (b << 15) | (b >>> 17)
  }
  a = mix(a ^ text.length)
  b = mix(b ^ a)
  high = mix(a + b) >>> 0
  low = b >>> 0
}

function mix(word: number): number {
  let h = word
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
