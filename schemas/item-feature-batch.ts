/**
 * Writes the `item-features` records of one view at once: one block for all, no object per field.
 * Invariant: bytes and refusals are those of `Codec.encode`.
 */
import { ownSchema } from './avro-types.ts'
import { SidestreamError } from './errors.ts'
import { checkId, checkInteger, checkText, checkTs } from './field-checks.ts'
import { frameBytes, writeFrame } from './fingerprint.ts'
import { limits } from './limits.ts'

/** What a version published in one view. */
export interface ItemFeatureRows {
  readonly view: string
  readonly version: number
  /** When the store acknowledged the rows, milliseconds. */
  readonly ackedTs: number
  readonly entries: readonly { readonly id: string; readonly value: Uint8Array }[]
}

/** Key and value of a log record, views into one block. */
export interface KeyedRecord {
  /** The item id in UTF-8. */
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** Most bytes of a whole number as Avro writes it. */
const longBytes = 10

/**
 * One record per entry, in order.
 * @throws a poison error when a record breaks a limit
 */
export function encodeItemFeatures({ view, version, ackedTs, entries }: ItemFeatureRows): KeyedRecord[] {
  const start = Buffer.alloc(frameBytes)
  writeFrame(start, ownSchema('item-feature').fingerprint)
  const middle = written((out) => writeLong(out, writeText(out, 0, checkText('view', view)), checkInteger('version', version, 0)))
  const end = written((out) => writeLong(out, 0, checkTs('ackedTs', ackedTs)))
  let room = 0
  for (const { id, value } of entries) {
    room += start.length + middle.length + end.length + 2 * longBytes + 3 * checkId('itemId', id).length + value.length
  }
  const block = Buffer.allocUnsafeSlow(room)
  const records: KeyedRecord[] = []
  let from = 0
  for (const { id, value } of entries) {
    block.set(start, from)
    const keyEnd = writeText(block, from + start.length, id)
    block.set(middle, keyEnd)
    let at = writeLong(block, keyEnd + middle.length, value.length)
    block.set(value, at)
    at += value.length
    block.set(end, at)
    at += end.length
    if (at - from > limits.recordBytes) throw tooLarge(at - from)
    // Up to 63 bytes have a length of one byte, up to 8,191 one of two; an id has at most 512.
    const keyStart = from + start.length + (keyEnd - from - start.length > 64 ? 2 : 1)
    records.push({ key: viewOf(block, keyStart, keyEnd), value: viewOf(block, from, at) })
    from = at
  }
  return records
}

/** The bytes that `write` leaves behind; it returns where they end. */
function written(write: (out: Buffer) => number): Buffer {
  const out = Buffer.alloc(limits.textBytes + 3 * longBytes)
  return out.subarray(0, write(out))
}

/** Length and UTF-8; returns the end. Short ASCII texts, nearly all ids, cost less here than a call into the runtime. */
function writeText(out: Buffer, at: number, text: string): number {
  const { length } = text
  if (length < 64) {
    let i = 0
    for (; i < length; i++) {
      const unit = text.charCodeAt(i)
      if (unit > 127) break
      out[at + 1 + i] = unit
    }
    if (i === length) {
      out[at] = length * 2
      return at + 1 + length
    }
  }
  const start = writeLong(out, at, Buffer.byteLength(text))
  return start + out.write(text, start)
}

/** A zigzag varint of a whole number from 0; returns the end. */
function writeLong(out: Buffer, at: number, value: number): number {
  let rest = value * 2
  for (; rest >= 128; rest = Math.floor(rest / 128)) out[at++] = (rest % 128) | 128
  out[at++] = rest
  return at
}

function viewOf(block: Buffer, from: number, to: number): Uint8Array {
  return new Uint8Array(block.buffer, block.byteOffset + from, to - from)
}

function tooLarge(bytes: number): SidestreamError {
  const message = `a record of item-features has ${bytes} bytes, at most ${limits.recordBytes} are allowed`
  return new SidestreamError('SIDESTREAM_RECORD_TOO_LARGE', message, { topic: 'item-features', bytes, most: limits.recordBytes })
}
