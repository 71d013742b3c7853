/**
 * A fit under way as plain bytes: finished levels, and the level it is in after one of its rounds.
 * Invariant: a fit that goes on from these bytes ends with the bytes of one that was never interrupted.
 *
 * Bytes, little-endian: "SSFS", uint8 format (1), 3 bytes zero, uint32 length of the header, the header as JSON in UTF-8, zeros up to a
 * multiple of 8, then the arrays that the header names, in its order, each padded with zeros to a multiple of 8.
 */

import { z } from 'zod'
import { SidestreamError } from '../schemas/index.ts'
import type { LevelState } from './fit-level.ts'

const magic = [0x53, 0x53, 0x46, 0x53]
const format = 1
const fixedBytes = 12

/** A level whose fit is over. */
export interface FittedLevel {
  readonly codebook: Float32Array
  readonly penalties: Float32Array | undefined
  readonly iterations: number
  readonly dead: number
}

export interface FitState {
  /** Of the rows and options; another fit's state is refused. */
  readonly fingerprint: string
  readonly levels: readonly FittedLevel[]
  /** The level under way, after at least one round. */
  readonly current: LevelState | undefined
}

const arrayTypes = { float32: Float32Array, float64: Float64Array, int32: Int32Array } as const
type ArrayType = keyof typeof arrayTypes
type Numbers = Float32Array | Float64Array | Int32Array

const count = z.int().min(0)
const headerSchema = z.object({
  fingerprint: z.string(),
  levels: z.array(z.object({ iterations: count, dead: count, balanced: z.boolean() })),
  current: z.object({ plainRounds: count, balancedRounds: count, settled: z.boolean() }).optional(),
  arrays: z.array(z.object({ type: z.enum(['float32', 'float64', 'int32']), length: count })),
})

export function fitStateToBytes({ fingerprint, levels, current }: FitState): Uint8Array {
  const arrays: Numbers[] = []
  for (const { codebook, penalties } of levels) arrays.push(codebook, ...(penalties ? [penalties] : []))
  if (current) {
    const { left, epsilon, centroids, codes, sums, prices } = current
    arrays.push(centroids, codes, sums, prices, Float64Array.of(left, epsilon))
  }
  const header: z.infer<typeof headerSchema> = {
    fingerprint,
    levels: levels.map(({ iterations, dead, penalties }) => ({ iterations, dead, balanced: penalties !== undefined })),
    ...(current && {
      current: { plainRounds: current.plainRounds, balancedRounds: current.balancedRounds, settled: current.settled },
    }),
    arrays: arrays.map((array) => ({ type: typeOf(array), length: array.length })),
  }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const bodyAt = padded(fixedBytes + text.length)
  const out = new Uint8Array(arrays.reduce((at, array) => at + padded(array.byteLength), bodyAt))
  out.set(magic)
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

/** @throws SIDESTREAM_ARTIFACT_CORRUPT */
export function fitStateFromBytes(bytes: Uint8Array): FitState {
  if (bytes.length < fixedBytes || magic.some((byte, at) => bytes[at] !== byte)) throw corrupt('these are no bytes of a fit')
  if (bytes[4] !== format) throw corrupt(`format ${bytes[4]} is not known (this build reads ${format})`)
  const textBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true)
  const header = headerOf(bytes.subarray(fixedBytes, fixedBytes + textBytes))
  let at = padded(fixedBytes + textBytes)
  const arrays = header.arrays.map(({ type, length }) => {
    const end = at + length * arrayTypes[type].BYTES_PER_ELEMENT
    if (end > bytes.length) throw corrupt(`it ends after ${bytes.length} bytes, in the middle of an array`)
    const array = new arrayTypes[type](bytes.slice(at, end).buffer)
    at = padded(end)
    return array
  })
  const next = <T extends Numbers>(type: new (length: number) => T): T => {
    const array = arrays.shift()
    if (array instanceof type) return array
    throw corrupt('its arrays do not fit its header')
  }
  const levels = header.levels.map(({ iterations, dead, balanced }) => {
    const codebook = next(Float32Array)
    return { codebook, penalties: balanced ? next(Float32Array) : undefined, iterations, dead }
  })
  if (header.current === undefined) return { fingerprint: header.fingerprint, levels, current: undefined }
  const [centroids, codes, sums, prices] = [next(Float32Array), next(Int32Array), next(Float64Array), next(Float64Array)]
  const [left, epsilon] = next(Float64Array)
  if (left === undefined || epsilon === undefined) throw corrupt('its arrays do not fit its header')
  return { fingerprint: header.fingerprint, levels, current: { ...header.current, left, epsilon, centroids, codes, sums, prices } }
}

function headerOf(bytes: Uint8Array): z.infer<typeof headerSchema> {
  try {
    return headerSchema.parse(JSON.parse(new TextDecoder().decode(bytes)))
  } catch (cause) {
    throw corrupt('its header cannot be read', cause)
  }
}

function typeOf(array: Numbers): ArrayType {
  return array instanceof Float32Array ? 'float32' : array instanceof Float64Array ? 'float64' : 'int32'
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}

function corrupt(why: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `state of a fit: ${why}; start the fit anew`, { cause })
}
