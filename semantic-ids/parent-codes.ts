/**
 * The parent version's semantic IDs at the cut, and the last ones of items that are away (`withVanished`): item id to codes, compact enough
 * to travel inside a bundle.
 * Invariant: equal contents give equal bytes, whatever order they came in.
 *
 * Bytes, little-endian: "SSPC", uint8 format (1), uint8 levels, uint16 zero, uint32 rows, uint32 length of the ids; then
 * uint32 ends [rows] (of each id in the text), uint16 codes [rows, levels], the ids one after another in UTF-8. Rows are
 * sorted by id as JavaScript compares strings (UTF-16 code units).
 */

import { murmur2 } from '../compute/index.ts'
import { limits, SidestreamError } from '../schemas/index.ts'
import { rowsOf } from './codebooks.ts'
import { requireDistinct, sortedOrder } from './id-order.ts'

const magic = [0x53, 0x53, 0x50, 0x43]
const format = 1
const headerBytes = 16
const encoder = new TextEncoder()
const decoder = new TextDecoder()

export class ParentCodes {
  /** Codes per ID. */
  readonly levels: number
  /** Number of items. */
  readonly rows: number
  readonly #ends: Uint32Array
  readonly #codes: Uint16Array
  readonly #text: Uint8Array
  /** Row + 1 by hash of the id, open addressing; made at the first look-up. */
  #slots: Uint32Array | undefined
  readonly #scratch = new Uint8Array(limits.idBytes + 4)

  private constructor(levels: number, ends: Uint32Array, codes: Uint16Array, text: Uint8Array) {
    this.levels = levels
    this.rows = ends.length
    this.#ends = ends
    this.#codes = codes
    this.#text = text
  }

  /** No item: everything is encoded freely. */
  static empty(levels: number): ParentCodes {
    return new ParentCodes(levels, new Uint32Array(0), new Uint16Array(0), new Uint8Array(0))
  }

  /**
   * @param ids - one per row, each once
   * @param codes - row-major, shape [ids.length, levels]
   * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_ID_INVALID for an id that stands twice
   */
  static of(ids: readonly string[], codes: Uint16Array, levels: number): ParentCodes {
    if (rowsOf(codes, levels) !== ids.length) {
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${ids.length} items need ${ids.length * levels} codes, got ${codes.length}`)
    }
    const order = sortedOrder(ids)
    requireDistinct(ids, order)
    const ends = new Uint32Array(ids.length)
    const sorted = new Uint16Array(codes.length)
    const parts: Uint8Array[] = []
    let end = 0
    for (let row = 0; row < order.length; row++) {
      const from = order[row]!
      const bytes = encoder.encode(ids[from])
      parts.push(bytes)
      end += bytes.length
      ends[row] = end
      sorted.set(codes.subarray(from * levels, (from + 1) * levels), row * levels)
    }
    const text = new Uint8Array(end)
    for (let row = 0, at = 0; row < parts.length; row++) {
      text.set(parts[row]!, at)
      at = ends[row]!
    }
    return new ParentCodes(levels, ends, sorted, text)
  }

  /** @throws SIDESTREAM_ARTIFACT_CORRUPT */
  static fromBytes(bytes: Uint8Array): ParentCodes {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const corrupt = (why: string): SidestreamError => new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `parent codes: ${why}`)
    if (bytes.length < headerBytes || magic.some((byte, at) => bytes[at] !== byte)) throw corrupt('not a table of parent codes')
    if (bytes[4] !== format) throw corrupt(`format ${bytes[4]} is not known (this build reads ${format})`)
    const levels = bytes[5]!
    const rows = view.getUint32(8, true)
    const textBytes = view.getUint32(12, true)
    const codesAt = headerBytes + rows * 4
    const textAt = codesAt + rows * levels * 2
    if (levels === 0 || bytes.length !== textAt + textBytes)
      throw corrupt(`${bytes.length} bytes do not fit ${rows} rows of ${levels} levels`)
    const ends = new Uint32Array(bytes.slice(headerBytes, codesAt).buffer)
    const codes = new Uint16Array(bytes.slice(codesAt, textAt).buffer)
    if (rows > 0 && ends[rows - 1] !== textBytes) throw corrupt('ids and their ends differ')
    for (let row = 1; row < rows; row++) if (ends[row]! < ends[row - 1]!) throw corrupt('ends of ids are out of order')
    return new ParentCodes(levels, ends, codes, bytes.slice(textAt))
  }

  toBytes(): Uint8Array {
    const codesAt = headerBytes + this.#ends.byteLength
    const textAt = codesAt + this.#codes.byteLength
    const out = new Uint8Array(textAt + this.#text.length)
    const view = new DataView(out.buffer)
    out.set(magic)
    out[4] = format
    out[5] = this.levels
    view.setUint32(8, this.rows, true)
    view.setUint32(12, this.#text.length, true)
    out.set(new Uint8Array(this.#ends.buffer, this.#ends.byteOffset, this.#ends.byteLength), headerBytes)
    out.set(new Uint8Array(this.#codes.buffer, this.#codes.byteOffset, this.#codes.byteLength), codesAt)
    out.set(this.#text, textAt)
    return out
  }

  /**
   * Codes of a batch of items, as `Sticky.old` wants them.
   * @returns row-major, shape [ids.length, levels]; a row of -1 for an item that is not in the table
   */
  lookup(ids: readonly string[]): Int32Array {
    const out = new Int32Array(ids.length * this.levels).fill(-1)
    if (this.rows === 0) return out
    for (let i = 0; i < ids.length; i++) {
      const row = this.#find(ids[i]!)
      if (row < 0) continue
      for (let level = 0; level < this.levels; level++) out[i * this.levels + level] = this.#codes[row * this.levels + level]!
    }
    return out
  }

  /** Every item with its codes, sorted by id. */
  *entries(): IterableIterator<readonly [id: string, codes: Uint16Array]> {
    for (let row = 0; row < this.rows; row++)
      yield [decoder.decode(this.#idBytes(row)), this.#codes.slice(row * this.levels, (row + 1) * this.levels)]
  }

  /** Largest code of each level; -1 without items. */
  largestCodes(): number[] {
    const most = Array.from({ length: this.levels }, () => -1)
    for (let at = 0; at < this.#codes.length; at++) most[at % this.levels] = Math.max(most[at % this.levels]!, this.#codes[at]!)
    return most
  }

  #idBytes(row: number): Uint8Array {
    return this.#text.subarray(row === 0 ? 0 : this.#ends[row - 1]!, this.#ends[row]!)
  }

  #find(id: string): number {
    const { read, written } = encoder.encodeInto(id, this.#scratch)
    if (read < id.length) return -1
    const key = this.#scratch.subarray(0, written)
    const slots = (this.#slots ??= this.#index())
    const mask = slots.length - 1
    for (let slot = murmur2(key) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      if (equalBytes(this.#idBytes(slots[slot]! - 1), key)) return slots[slot]! - 1
    }
    return -1
  }

  #index(): Uint32Array {
    const slots = new Uint32Array(2 ** Math.ceil(Math.log2(this.rows * 2 + 1)))
    const mask = slots.length - 1
    for (let row = 0; row < this.rows; row++) {
      let slot = murmur2(this.#idBytes(row)) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = row + 1
    }
    return slots
  }
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
