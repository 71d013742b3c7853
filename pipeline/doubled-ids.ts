/**
 * Finds items that stand twice in a stream of any length, in bounded memory: 4 MiB, and at the end 8 bytes for one in 256 of the ids.
 *
 * A 64-bit hash of each id goes to one of 256 parts by its first byte. Full blocks of a part go to a file; at the end the parts are
 * sorted one after another. Equal hashes are suspects only: whoever asks compares the ids.
 */

import { open, rm, type FileHandle } from 'node:fs/promises'
import { hash64 } from '../compute/index.ts'
import { fileError } from '../schemas/index.ts'

const parts = 256
const blockIds = 2048
const hashBytes = 8

export class DoubledIds {
  readonly #file: string
  readonly #blockIds: number
  #handle: FileHandle | undefined
  /** What came last of each part, shape [parts, blockIds], and how much that is. */
  readonly #open: BigUint64Array
  readonly #filled = new Uint32Array(parts)
  /** Part of each block in the file, in its order. */
  readonly #blocks: number[] = []

  /**
   * @param file - is made when blocks are full, removed by `close`
   * @param ofBlock - ids per block
   */
  constructor(file: string, ofBlock = blockIds) {
    this.#file = file
    this.#blockIds = ofBlock
    this.#open = new BigUint64Array(parts * ofBlock)
  }

  /** @throws SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE */
  async note(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const hash = idHash(id)
      const part = Number(hash >> 56n)
      this.#open[part * this.#blockIds + this.#filled[part]!++] = hash
      if (this.#filled[part] === this.#blockIds) await this.#flush(part)
    }
  }

  /** Hashes that came more than once, each once. */
  async *suspects(): AsyncGenerator<bigint> {
    for (let part = 0; part < parts; part++) {
      const hashes = await this.#all(part)
      hashes.sort()
      for (let at = 1; at < hashes.length; at++)
        if (hashes[at] === hashes[at - 1] && (at === 1 || hashes[at] !== hashes[at - 2])) yield hashes[at]!
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close()
    if (this.#handle !== undefined) await rm(this.#file, { force: true })
  }

  async #flush(part: number): Promise<void> {
    const block = this.#open.subarray(part * this.#blockIds, (part + 1) * this.#blockIds)
    try {
      this.#handle ??= await open(this.#file, 'wx+')
      await this.#handle.write(block, 0, block.byteLength, this.#blocks.length * block.byteLength)
    } catch (error) {
      throw fileError(this.#file, error)
    }
    this.#blocks.push(part)
    this.#filled[part] = 0
  }

  async #all(part: number): Promise<BigUint64Array> {
    const own = this.#blocks.flatMap((of, block) => (of === part ? [block] : []))
    const hashes = new BigUint64Array(own.length * this.#blockIds + this.#filled[part]!)
    for (const [at, block] of own.entries()) {
      const bytes = new Uint8Array(hashes.buffer, at * this.#blockIds * hashBytes, this.#blockIds * hashBytes)
      await this.#handle!.read(bytes, 0, bytes.length, block * bytes.length)
    }
    const from = part * this.#blockIds
    hashes.set(this.#open.subarray(from, from + this.#filled[part]!), own.length * this.#blockIds)
    return hashes
  }
}

/** What `DoubledIds` knows of an id. */
export function idHash(id: string): bigint {
  return hash64(0, id)
}
