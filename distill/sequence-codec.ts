/**
 * Bytes of a user's history in worker state: chunks of at most 64 events, oldest first.
 * Invariant: decode(encode(events)) equals events; a chunk that cannot be read whole is an error, never a shorter history.
 */
import { SidestreamError } from '../schemas/index.ts'
import type { HistoryEvent } from '../schemas/index.ts'

/** Events per chunk. Fixed: chunk number = sequence number >> 6. */
export const chunkEvents = 64

const format = 1
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** The newest chunk of a user, with where the history begins and ends. */
export interface TailChunk {
  /** Number of the oldest chunk still kept. */
  readonly firstChunk: number
  /** Number of this chunk. */
  readonly chunk: number
  readonly events: HistoryEvent[]
}

/** State key of a user's newest chunk. */
export function tailKey(userId: string): string {
  return `t/${userId}`
}

/** State key of a full chunk. The number comes first and has a fixed width, so no two (user, chunk) share a key. */
export function chunkKey(userId: string, chunk: number): string {
  return `c/${chunk.toString(36).padStart(8, '0')}/${userId}`
}

/**
 * The result is a view into a larger block.
 * @param events - at most 64, ascending event time
 */
export function encodeChunk(events: readonly HistoryEvent[]): Uint8Array {
  const writer = new ByteWriter()
  writeChunk(writer, events)
  return writer.bytes()
}

/** @throws SIDESTREAM_STORE_CORRUPT */
export function decodeChunk(bytes: Uint8Array): HistoryEvent[] {
  return readWhole(bytes, readChunk)
}

/** A tail is a chunk behind the numbers of the oldest and of this chunk. The result is a view into a larger block. */
export function encodeTail({ firstChunk, chunk, events }: TailChunk): Uint8Array {
  const writer = new ByteWriter()
  writer.varint(firstChunk)
  writer.varint(chunk)
  writeChunk(writer, events)
  return writer.bytes()
}

/** @throws SIDESTREAM_STORE_CORRUPT */
export function decodeTail(bytes: Uint8Array): TailChunk {
  return readWhole(bytes, (reader) => ({ firstChunk: reader.varint(), chunk: reader.varint(), events: readChunk(reader) }))
}

function writeChunk(writer: ByteWriter, events: readonly HistoryEvent[]): void {
  const sets = new Map<string, number>()
  // Events that were read together share their arrays: most sets are found without looking into them.
  const known = new Map<readonly string[], number>()
  const named: (readonly string[])[] = []
  const setOf = events.map(({ behaviors }) => {
    const shared = known.get(behaviors)
    if (shared !== undefined) return shared
    const key = JSON.stringify(behaviors)
    let index = sets.get(key)
    if (index === undefined) {
      index = named.push(behaviors) - 1
      sets.set(key, index)
    }
    known.set(behaviors, index)
    return index
  })
  writer.varint(format)
  writer.varint(named.length)
  for (const behaviors of named) {
    writer.varint(behaviors.length)
    for (const behavior of behaviors) writer.text(behavior)
  }
  writer.varint(events.length)
  let previous = 0
  for (let i = 0; i < events.length; i++) {
    const { itemId, eventTs } = events[i]!
    writer.signed(eventTs - previous)
    writer.varint(setOf[i]!)
    writer.text(itemId)
    previous = eventTs
  }
}

function readChunk(reader: ByteReader): HistoryEvent[] {
  if (reader.varint() !== format) throw new RangeError('unknown chunk format')
  const sets: (readonly string[])[] = []
  for (let n = reader.count(); n > 0; n--) {
    const behaviors: string[] = []
    for (let k = reader.count(); k > 0; k--) behaviors.push(reader.text())
    sets.push(behaviors)
  }
  const events: HistoryEvent[] = []
  let eventTs = 0
  for (let n = reader.count(); n > 0; n--) {
    eventTs += reader.signed()
    const behaviors = sets[reader.varint()]
    if (!behaviors) throw new RangeError('behavior set out of range')
    events.push({ itemId: reader.text(), eventTs, behaviors })
  }
  return events
}

function readWhole<T>(bytes: Uint8Array, read: (reader: ByteReader) => T): T {
  const reader = new ByteReader(bytes)
  try {
    const value = read(reader)
    if (!reader.done) throw new RangeError('bytes left over')
    return value
  } catch (cause) {
    throw new SidestreamError(
      'SIDESTREAM_STORE_CORRUPT',
      'a history chunk in the ingest state is unreadable; rebuild the state from the log',
      {
        cause,
        bytes: bytes.length,
      },
    )
  }
}

/** Chunks are written side by side: thousands of small arrays cost far more to make and to collect. */
const blockBytes = 65_536
let block = new Uint8Array(blockBytes)
let blockUsed = 0

/** Numbers are LEB128 over float64 integers, so that millisecond times pass 2^32 without bigint. One writer at a time. */
class ByteWriter {
  #bytes = block
  #start = blockUsed
  #at = blockUsed

  #reserve(more: number): void {
    if (this.#at + more <= this.#bytes.length) return
    const written = this.#bytes.subarray(this.#start, this.#at)
    this.#bytes = new Uint8Array(Math.max(blockBytes, 2 * (written.length + more)))
    this.#bytes.set(written)
    this.#start = 0
    this.#at = written.length
  }

  varint(value: number): void {
    this.#reserve(8)
    while (value >= 128) {
      this.#bytes[this.#at++] = (value % 128) + 128
      value = Math.floor(value / 128)
    }
    this.#bytes[this.#at++] = value
  }

  /** Zigzag: small negative steps stay small. */
  signed(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value)
  }

  text(value: string): void {
    this.#reserve(value.length * 3 + 8)
    if (value.length < 128 && this.#ascii(value)) return
    // The length comes first: one byte of it suits nearly all ids; longer texts are encoded again behind two.
    const { written } = encoder.encodeInto(value, this.#bytes.subarray(this.#at + 1))
    if (written < 128) {
      this.#bytes[this.#at] = written
      this.#at += 1 + written
      return
    }
    this.varint(written)
    this.#at += encoder.encodeInto(value, this.#bytes.subarray(this.#at)).written
  }

  /** Nearly all ids are short ASCII, which costs less here than a call into the runtime. False: nothing was written. */
  #ascii(value: string): boolean {
    const { length } = value
    const bytes = this.#bytes
    const from = this.#at + 1
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i)
      if (unit > 127) return false
      bytes[from + i] = unit
    }
    bytes[this.#at] = length
    this.#at = from + length
    return true
  }

  /** What was written, as a view; the block goes on behind it. */
  bytes(): Uint8Array {
    block = this.#bytes
    blockUsed = this.#at
    return this.#bytes.subarray(this.#start, this.#at)
  }
}

class ByteReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined || scale > 2 ** 56) throw new RangeError('number cut off')
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }

  signed(): number {
    const value = this.varint()
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2
  }

  /** A count of things that take at least one byte each. */
  count(): number {
    const value = this.varint()
    if (value > this.#bytes.length - this.#at) throw new RangeError('count passes the end')
    return value
  }

  text(): string {
    const length = this.count()
    const from = this.#at
    this.#at += length
    let plain = true
    for (let i = from; i < this.#at; i++) if (this.#bytes[i]! >= 128) plain = false
    // Nearly all ids are ASCII, which Node reads several times faster than it checks UTF-8.
    return plain ? this.#bytes.toString('latin1', from, this.#at) : decoder.decode(this.#bytes.subarray(from, this.#at))
  }
}
