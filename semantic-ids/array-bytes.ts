/**
 * A JSON header and typed arrays as plain bytes, for states that a caller keeps.
 *
 * Bytes, little-endian: four bytes of magic, uint8 format, 3 bytes zero, uint32 length of the header, the header as JSON in UTF-8, zeros
 * up to a multiple of 8, then the arrays that the header names under `arrays`, in its order, each padded with zeros to a multiple of 8.
 */

import { z } from 'zod'
import { SidestreamError } from '../schemas/index.ts'

const arrayTypes = { float32: Float32Array, float64: Float64Array, int32: Int32Array } as const
const fixedBytes = 12
/** What fits of all methods leave. */
const stateMagics = ['SSFS', 'SSRQ']

export type Numbers = Float32Array | Float64Array | Int32Array

/** Which bytes these are; four letters. */
export interface ByteFormat {
  readonly magic: string
  readonly format: number
  /** Begins the messages of errors, e.g. `state of a fit`. */
  readonly what: string
}

const arraysSchema = z.object({
  about: z.unknown(),
  arrays: z.array(z.object({ type: z.enum(['float32', 'float64', 'int32']), length: z.int().min(0) })),
})

/** @param about - plain JSON */
export function packArrays({ magic, format }: ByteFormat, about: unknown, arrays: readonly Numbers[]): Uint8Array {
  const header: z.infer<typeof arraysSchema> = { about, arrays: arrays.map((array) => ({ type: typeOf(array), length: array.length })) }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const bodyAt = padded(fixedBytes + text.length)
  const out = new Uint8Array(arrays.reduce((at, array) => at + padded(array.byteLength), bodyAt))
  out.set(new TextEncoder().encode(magic))
  out[4] = format
  new DataView(out.buffer).setUint32(8, text.length, true)
  out.set(text, fixedBytes)
  let at = bodyAt
  for (const array of arrays) {
    out.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at)
    at += padded(array.byteLength)
  }
  return out
}

/** @throws SIDESTREAM_ARTIFACT_CORRUPT; SIDESTREAM_USAGE_INVALID for the state of another method */
export function unpackArrays<A>(
  { magic, format, what }: ByteFormat,
  bytes: Uint8Array,
  schema: z.ZodType<A>,
): { about: A; arrays: Numbers[] } {
  const found = new TextDecoder().decode(bytes.subarray(0, 4))
  if (found !== magic && stateMagics.includes(found)) throw otherState()
  if (bytes.length < fixedBytes || found !== magic) throw corruptBytes(what, 'these are other bytes')
  if (bytes[4] !== format) throw corruptBytes(what, `format ${bytes[4]} is not known (this build reads ${format})`)
  const textBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true)
  let about: A
  let kinds: z.infer<typeof arraysSchema>['arrays']
  try {
    const header = arraysSchema.parse(JSON.parse(new TextDecoder().decode(bytes.subarray(fixedBytes, fixedBytes + textBytes))))
    about = schema.parse(header.about)
    kinds = header.arrays
  } catch (cause) {
    throw corruptBytes(what, 'its header cannot be read', cause)
  }
  let at = padded(fixedBytes + textBytes)
  const arrays = kinds.map(({ type, length }) => {
    const end = at + length * arrayTypes[type].BYTES_PER_ELEMENT
    if (end > bytes.length) throw corruptBytes(what, `it ends after ${bytes.length} bytes, in the middle of an array`)
    const array = new arrayTypes[type](bytes.slice(at, end).buffer)
    at = padded(end)
    return array
  })
  return { about, arrays }
}

/** The state is whole, and of another fit than the one that is asked for. */
export function otherState(): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    'the state to go on from is of a fit of other items or options, or of another version of the program; give the same ones, or start anew without it',
  )
}

export function corruptBytes(what: string, why: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `${what}: ${why}; start anew without it`, { cause })
}

export function typeOf(array: Numbers): keyof typeof arrayTypes {
  return array instanceof Float32Array ? 'float32' : array instanceof Float64Array ? 'float64' : 'int32'
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}
