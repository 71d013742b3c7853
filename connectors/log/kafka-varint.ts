/**
 * Whole numbers as Kafka's record batches have them: zigzag, seven bits a byte, lowest first. As doubles: exact up to 2^52, which
 * lengths, offsets in a batch and milliseconds between records stay below.
 */
import { SidestreamError } from '../../schemas/index.ts'

/** A zigzag number takes at most so many bytes. */
const mostBytes = 10

const zigzag = (value: number): number => (value >= 0 ? 2 * value : -2 * value - 1)

/** Bytes that `writeVarint` takes. */
export function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = zigzag(value); rest >= 128; rest = Math.floor(rest / 128)) bytes++
  return bytes
}

/** Writes `value` at `at`; returns where it ends. */
export function writeVarint(out: Uint8Array, at: number, value: number): number {
  let rest = zigzag(value)
  for (; rest >= 128; rest = Math.floor(rest / 128)) out[at++] = (rest % 128) | 128
  out[at++] = rest
  return at
}

/** Reads numbers and stretches of bytes, one after the other. */
export class VarintReader {
  readonly bytes: Uint8Array
  at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  /** @throws SIDESTREAM_LOG_CORRUPT when it goes on behind the end */
  number(): number {
    const { bytes } = this
    const first = bytes[this.at++]
    if (first !== undefined && first < 128) return first & 1 ? -(first + 1) / 2 : first / 2
    return this.#long(first)
  }

  /** A stretch with its length before it; null for a length of -1. A view. @throws SIDESTREAM_LOG_CORRUPT */
  stretch(): Uint8Array | null {
    const length = this.number()
    if (length < 0) return null
    const start = this.at
    this.at += length
    if (this.at > this.bytes.length) throw cutOff()
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, length)
  }

  #long(first: number | undefined): number {
    let byte = first
    let value = 0
    for (let i = 0, unit = 1; i < mostBytes; i++, unit *= 128) {
      if (byte === undefined) throw cutOff()
      value += (byte & 127) * unit
      if (byte < 128) return value % 2 === 1 ? -(value + 1) / 2 : value / 2
      byte = this.bytes[this.at++]
    }
    throw new SidestreamError('SIDESTREAM_LOG_CORRUPT', `a number in a record batch has more than ${mostBytes} bytes`)
  }
}

function cutOff(): SidestreamError {
  return new SidestreamError('SIDESTREAM_LOG_CORRUPT', 'a record goes on behind the end of its batch')
}
