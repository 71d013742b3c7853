/**
 * The state port on LMDB: one environment, a table for data and one for positions.
 * Invariant: a commit is one transaction over both tables; what was acknowledged survives a kill at any moment.
 */

import { closedError } from '../closed.ts'
import { environmentFailure, openEnvironment, openTable } from '../lmdb-environment.ts'
import type { Environment, Table } from '../lmdb-environment.ts'
import { checkCommit } from './checks.ts'
import type { State, StateCommit } from './state.ts'

export interface LmdbStateOptions {
  /** Directory of this environment alone; created when missing. */
  readonly directory: string
}

/**
 * Entries read at a time by `range`, so that no cursor stays open while the caller works: few at first, for callers that
 * want the first entries only, then more.
 */
const firstPage = 16
const largestPage = 1024
/** Size of the blocks that values are copied to. */
const copyBlockBytes = 65_536
/** Blocks kept between commits, and the largest that is. */
const keptBlocks = 2
const keptBlockBytes = 16 << 20

/** Opens a worker's state. @throws SIDESTREAM_FILE_UNREADABLE */
export async function openLmdbState(options: LmdbStateOptions): Promise<State> {
  return new LmdbState(options, await openEnvironment(options.directory, 4))
}

class LmdbState implements State {
  readonly #directory: string
  readonly #environment: Environment
  readonly #data: Table
  readonly #positions: Table
  readonly #blocks: Uint8Array[] = []
  #closing: Promise<void> | undefined

  constructor({ directory }: LmdbStateOptions, environment: Environment) {
    this.#directory = directory
    this.#environment = environment
    this.#data = openTable(this.#environment, 'data')
    this.#positions = openTable(this.#environment, 'positions')
  }

  get(key: string): Uint8Array | undefined {
    this.#assertOpen()
    return this.#read(key, new Copies(0))
  }

  getMany(keys: readonly string[]): (Uint8Array | undefined)[] {
    this.#assertOpen()
    const copies = new Copies(copyBlockBytes)
    return keys.map((key) => this.#read(key, copies))
  }

  #read(key: string, copies: Copies): Uint8Array | undefined {
    const bytes = key.length === 0 ? undefined : this.#data.getBinaryFast(key)
    return bytes === undefined ? undefined : copies.of(bytes)
  }

  *range(start: string, end: string): Iterable<readonly [key: string, value: Uint8Array]> {
    let from = start === '' ? '\0' : start
    let exclusiveStart = false
    for (let limit = firstPage; ; limit = Math.min(limit * 4, largestPage)) {
      this.#assertOpen()
      const page: [string, Uint8Array][] = []
      const copies = new Copies(Math.min(limit * 256, copyBlockBytes))
      if (end === '') return
      for (const { key, value } of this.#data.getRange({ start: from, end, exclusiveStart, limit })) {
        page.push([key, copies.of(value)])
      }
      yield* page
      if (page.length < limit) return
      from = page.at(-1)![0]
      exclusiveStart = true
    }
  }

  position(name: string): bigint | undefined {
    this.#assertOpen()
    const bytes = this.#positions.getBinary(name)
    return bytes === undefined ? undefined : Buffer.from(bytes).readBigUInt64BE()
  }

  async commit(change: StateCommit): Promise<void> {
    this.#assertOpen()
    checkCommit(change)
    const { puts = [], deletes = [], positions = [] } = change
    if (puts.length + deletes.length + positions.length === 0) return
    // The writer's thread reads the values later: it gets copies, so that the caller may reuse its buffers at once.
    const block = this.#takeBlock(puts.reduce((sum, [, value]) => sum + value.length, 0))
    const copies = new Copies(copyBlockBytes, block)
    try {
      await this.#environment.batch(() => {
        for (const [key, value] of puts) void this.#data.put(key, copies.of(value))
        for (const key of deletes) void this.#data.remove(key)
        for (const [name, next] of positions) void this.#positions.put(name, positionBytes(next))
      })
    } catch (error) {
      throw await environmentFailure(error, this.#directory)
    }
    if (block.length <= keptBlockBytes && this.#blocks.length < keptBlocks) this.#blocks.push(block)
  }

  /** A block that no commit uses. Used again, since blocks of their own for all commits would keep the collector busy. */
  #takeBlock(bytes: number): Uint8Array {
    const fitting = this.#blocks.findIndex(({ length }) => length >= bytes)
    if (fitting >= 0) return this.#blocks.splice(fitting, 1)[0]!
    this.#blocks.shift()
    return Buffer.allocUnsafeSlow(Math.max(copyBlockBytes, bytes + (bytes >> 2)))
  }

  close(): Promise<void> {
    this.#closing ??= this.#environment.close()
    return this.#closing
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closedError('the state')
  }
}

/** Copies side by side in blocks, for thousands of small ones cost far more to make and to collect. */
class Copies {
  readonly #blockBytes: number
  #block: Uint8Array
  #at = 0

  /**
   * @param blockBytes - size of further blocks; a larger copy has one of its own
   * @param block - the first block
   */
  constructor(blockBytes: number, block: Uint8Array = new Uint8Array(0)) {
    this.#blockBytes = blockBytes
    this.#block = block
  }

  of(bytes: Uint8Array): Uint8Array {
    // The driver reads into memory that it uses again, and only overrides its length.
    const { length } = bytes
    if (this.#at + length > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(this.#blockBytes, length))
      this.#at = 0
    }
    const copy = new Uint8Array(this.#block.buffer, this.#block.byteOffset + this.#at, length)
    copy.set(bytes.byteLength === length ? bytes : bytes.subarray(0, length))
    this.#at += length
    return copy
  }
}

function positionBytes(next: bigint): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(next)
  return bytes
}
