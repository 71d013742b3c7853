/**
 * The last offset of each key, in bounded memory: an open hash table over the keys themselves.
 * Invariant: exact; keys are compared byte by byte, so two keys never pass for one. Offsets are noted in ascending order.
 */
import { murmur2 } from '../../compute/index.ts'

/** Slots to begin with, a power of two. */
const firstSlots = 1024
/** Part of the slots that may be taken. */
const fullness = 0.7
/** Bytes of a slot: hash, place of the key, offset. */
const slotBytes = 16
const chunkBytes = 1 << 20
/** Bytes before a key: its length. */
const lengthBytes = 4

export class KeyMap {
  readonly #limitBytes: number
  #hashes = new Int32Array(firstSlots)
  /** Chunk and position in it; 0 for a free slot. */
  #places = new Uint32Array(firstSlots)
  #offsets = new Float64Array(firstSlots)
  #size = 0
  /** Keys, one after another: u32 length, bytes. The first byte of the first chunk is not used, so that no place is 0. */
  readonly #chunks: Buffer[] = [Buffer.alloc(chunkBytes)]
  #chunkAt = 1
  #keyBytes = chunkBytes

  /** @param limitBytes - memory that the map may take; it holds some keys however small the limit is */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** Distinct keys. */
  get size(): number {
    return this.#size
  }

  /** Notes the newest offset of a key. False: the map is full and has not taken it. */
  note(key: Uint8Array, offset: number): boolean {
    const hash = murmur2(key)
    let slot = this.#find(key, hash)
    if (this.#places[slot] === 0) {
      if (this.#size + 1 > this.#places.length * fullness) {
        if (!this.#grow()) return false
        slot = this.#find(key, hash)
      }
      const place = this.#keep(key)
      if (place === undefined) return false
      this.#hashes[slot] = hash
      this.#places[slot] = place
      this.#size++
    }
    this.#offsets[slot] = offset
    return true
  }

  /** Undefined for a key that was not noted. */
  last(key: Uint8Array): number | undefined {
    const slot = this.#find(key, murmur2(key))
    return this.#places[slot] === 0 ? undefined : this.#offsets[slot]
  }

  /** The slot of the key, or the free one where it would go. */
  #find(key: Uint8Array, hash: number): number {
    const mask = this.#places.length - 1
    let slot = homeOf(hash, this.#places.length)
    for (; this.#places[slot] !== 0; slot = (slot + 1) & mask) {
      if (this.#hashes[slot] === hash && this.#isAt(this.#places[slot]!, key)) break
    }
    return slot
  }

  #isAt(place: number, key: Uint8Array): boolean {
    const chunk = this.#chunks[Math.floor(place / chunkBytes)]!
    const at = place % chunkBytes
    if (chunk.readUInt32LE(at) !== key.length) return false
    return chunk.compare(key, 0, key.length, at + lengthBytes, at + lengthBytes + key.length) === 0
  }

  /** Copies the key in. Undefined: no room. */
  #keep(key: Uint8Array): number | undefined {
    const bytes = lengthBytes + key.length
    if (this.#chunkAt + bytes > this.#chunks.at(-1)!.length) {
      const size = Math.max(chunkBytes, bytes) // a key above a chunk gets one of its own
      if (this.#size > 0 && this.#bytes() + size > this.#limitBytes) return undefined
      this.#chunks.push(Buffer.allocUnsafeSlow(size))
      this.#keyBytes += size
      this.#chunkAt = 0
    }
    const chunk = this.#chunks.at(-1)!
    const place = (this.#chunks.length - 1) * chunkBytes + this.#chunkAt
    chunk.writeUInt32LE(key.length, this.#chunkAt)
    chunk.set(key, this.#chunkAt + lengthBytes)
    this.#chunkAt += bytes
    return place
  }

  /** Twice the slots. False: they would pass the limit. */
  #grow(): boolean {
    const [hashes, places, offsets] = [this.#hashes, this.#places, this.#offsets]
    const slots = places.length * 2
    if (this.#bytes() + slots * slotBytes > this.#limitBytes) return false // both are there for a moment
    this.#hashes = new Int32Array(slots)
    this.#places = new Uint32Array(slots)
    this.#offsets = new Float64Array(slots)
    for (let old = 0; old < places.length; old++) {
      if (places[old] === 0) continue
      let slot = homeOf(hashes[old]!, slots)
      while (this.#places[slot] !== 0) slot = (slot + 1) & (slots - 1)
      this.#hashes[slot] = hashes[old]!
      this.#places[slot] = places[old]!
      this.#offsets[slot] = offsets[old]!
    }
    return true
  }

  #bytes(): number {
    return this.#keyBytes + this.#places.length * slotBytes
  }
}

/** Slot to look first, from all bits of the hash: its low ones are much the same within a partition, which was chosen by them. */
function homeOf(hash: number, slots: number): number {
  return Math.imul(hash, 0x9e3779b1) >>> (Math.clz32(slots) + 1)
}
