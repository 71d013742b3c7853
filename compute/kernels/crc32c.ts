/**
 * CRC-32C (Castagnoli, reflected 0x82F63B78), sixteen bytes a turn by tables. zlib's crc32 is another polynomial.
 * Invariant: `crc32c(b, crc32c(a))` equals `crc32c(a then b)`. The machine is little-endian.
 */

/** Sixteen tables in one: `table[256 t + b]` is what byte `b` does to the checksum when `t` more bytes follow it in a turn. */
const table: Int32Array = buildTable()

function buildTable(): Int32Array {
  const all = new Int32Array(16 * 256)
  for (let i = 0; i < 256; i++) {
    let c = i
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1
    all[i] = c
  }
  for (let i = 256; i < all.length; i++) all[i] = all[all[i - 256]! & 255]! ^ (all[i - 256]! >>> 8)
  return all
}

/** Below this a view of words costs more than it saves. */
const wordsFrom = 96

/**
 * Checksum of `bytes[from, to)`, unsigned 32 bits.
 * @param seed - checksum of the bytes before, to continue it
 */
export function crc32c(bytes: Uint8Array, seed = 0, from = 0, to = bytes.length): number {
  let crc = ~seed
  let i = from
  if (to - from >= wordsFrom) {
    for (; ((bytes.byteOffset + i) & 3) !== 0; i++) crc = table[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8)
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + i, ((to - i) >>> 4) * 4)
    crc = turns(words, crc)
    i += words.byteLength
  }
  for (const end = to - 3; i < end; i += 4) {
    const a = crc ^ (bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24))
    crc = table[768 + (a & 255)]! ^ table[512 + ((a >>> 8) & 255)]! ^ table[256 + ((a >>> 16) & 255)]! ^ table[a >>> 24]!
  }
  for (; i < to; i++) crc = table[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8)
  return ~crc >>> 0
}

/** Four words a turn; their number is a multiple of four. */
function turns(words: Int32Array, start: number): number {
  let crc = start
  for (let i = 0; i < words.length; i += 4) {
    const a = crc ^ words[i]!
    const b = words[i + 1]!
    const c = words[i + 2]!
    const d = words[i + 3]!
    const ofA = table[3840 + (a & 255)]! ^ table[3584 + ((a >>> 8) & 255)]! ^ table[3328 + ((a >>> 16) & 255)]! ^ table[3072 + (a >>> 24)]!
    const ofB = table[2816 + (b & 255)]! ^ table[2560 + ((b >>> 8) & 255)]! ^ table[2304 + ((b >>> 16) & 255)]! ^ table[2048 + (b >>> 24)]!
    const ofC = table[1792 + (c & 255)]! ^ table[1536 + ((c >>> 8) & 255)]! ^ table[1280 + ((c >>> 16) & 255)]! ^ table[1024 + (c >>> 24)]!
    const ofD = table[768 + (d & 255)]! ^ table[512 + ((d >>> 8) & 255)]! ^ table[256 + ((d >>> 16) & 255)]! ^ table[d >>> 24]!
    crc = ofA ^ ofB ^ ofC ^ ofD
  }
  return crc
}
