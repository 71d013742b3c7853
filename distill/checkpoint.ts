/**
 * A checkpoint as bytes: what encodes (the head) apart from what trains on (optimizer state), beside a JSON summary.
 * Invariants: decoding what was encoded gives the same bits back; `head` parts alone are enough to encode items.
 *
 * Parts: `head.json` {format, spec, statistics rows}, `head.tensors`, and, when training may go on, `training.json`
 * {format, about, options} and `training.tensors`; when ID embeddings taught it, `taught.items` (`taught-items.ts`). A `.tensors` part is: magic `SSTENSOR` (8 bytes), length of the directory
 * (uint32 little-endian), directory (JSON, list of {name, dtype, dims, offset, bytes}), zero padding to a multiple of 8, then
 * each tensor row-major and little-endian at its offset (counted from the end of the padding, a multiple of 8).
 */

import { elementCount, tensor, zeros, type DType, type Tensor } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { requireHead, type Head, type HeadSpec } from './head.ts'
import type { ModalityStatistics } from './statistics.ts'
import { decodeTaught, encodeTaught, type TaughtItems } from './taught-items.ts'

const format = 1
const magic = 'SSTENSOR'
const taughtPart = 'taught.items'

/** Where training stands; plain JSON, kept beside the parts as the artifact's `about`. */
export interface CheckpointPosition {
  /** Event time up to which interactions were trained on, milliseconds. */
  readonly trainedUntil: number
  /** Last round that was trained, -1 before the first. */
  readonly round: number
  /** Next offset of every sample partition, decimal. */
  readonly offsets: Readonly<Record<string, string>>
  /** Steps done since the head was created. */
  readonly step: number
  readonly seeds: Readonly<Record<string, number>>
  readonly metrics: Readonly<Record<string, number>>
}

/** What a trainer needs beside the head to go on bit for bit: optimizer moments and whatever else has state. */
export interface TrainingState {
  /** Steps done. */
  readonly step: number
  /** Plain JSON: the options the state was made with. */
  readonly options: Readonly<Record<string, unknown>>
  readonly tensors: ReadonlyMap<string, Tensor>
}

export interface Checkpoint {
  readonly head: Head
  readonly position: CheckpointPosition
  /** Absent in a checkpoint that was read, or written, for inference only. */
  readonly training?: TrainingState
  /** Items whose ID embeddings taught the head, over all of its training; absent when there are none. */
  readonly taught?: TaughtItems
}

/** An artifact's content: parts, and what its manifest says. */
export interface CheckpointParts {
  readonly parts: Map<string, Uint8Array>
  readonly about: Readonly<Record<string, unknown>>
}

/** The parts of a checkpoint, ready for the artifacts port. */
export function encodeCheckpoint({ head, position, training, taught }: Checkpoint): CheckpointParts {
  const parts = new Map(encodeHead(head))
  if (taught !== undefined && taught.length > 0) parts.set(taughtPart, encodeTaught(taught))
  if (training) {
    parts.set('training.json', encodeJson({ format, step: training.step, options: training.options }))
    parts.set('training.tensors', encodeTensors(training.tensors))
  }
  return { parts, about: { kind: 'head', format, spec: head.spec, position } }
}

/**
 * The checkpoint of an artifact.
 * @param options.training - false: leave the training state out, for encoding only. Default true
 * @throws SIDESTREAM_ARTIFACT_CORRUPT
 */
export function decodeCheckpoint(
  { parts, about }: { parts: ReadonlyMap<string, Uint8Array>; about: Readonly<Record<string, unknown>> },
  options: { training?: boolean } = {},
): Checkpoint {
  const head = decodeHead(parts)
  const position = about['position'] as CheckpointPosition | undefined
  if (about['kind'] !== 'head' || position === undefined) throw corrupt('the summary is not of a head checkpoint')
  const taught = parts.get(taughtPart)
  const known = { head, position, ...(taught !== undefined && { taught: decodeTaught(taught) }) }
  const trainingPart = parts.get('training.json')
  if (trainingPart === undefined || options.training === false) return known
  const { step, options: trained } = decodeJson('training.json', trainingPart) as { step: number; options: Record<string, unknown> }
  return { ...known, training: { step, options: trained, tensors: decodeTensors(requirePart(parts, 'training.tensors')) } }
}

/** `head.json` and `head.tensors`: all that encoding items needs. */
export function encodeHead({ spec, statistics, parameters }: Head): Map<string, Uint8Array> {
  const tensors = new Map<string, Tensor>()
  for (const { name, dim, mean, axes, sd } of statistics) {
    tensors.set(`statistics.${name}.mean`, tensor('float32', [dim], mean))
    tensors.set(`statistics.${name}.axes`, tensor('float32', [dim, dim], axes))
    tensors.set(`statistics.${name}.sd`, tensor('float32', [dim], sd))
  }
  for (const [name, value] of parameters) tensors.set(`parameter.${name}`, value)
  const rows = Object.fromEntries(statistics.map((modality) => [modality.name, modality.rows]))
  return new Map([
    ['head.json', encodeJson({ format, spec, rows })],
    ['head.tensors', encodeTensors(tensors)],
  ])
}

/** @throws SIDESTREAM_ARTIFACT_CORRUPT */
export function decodeHead(parts: ReadonlyMap<string, Uint8Array>): Head {
  const about = decodeJson('head.json', requirePart(parts, 'head.json')) as { spec: HeadSpec; rows: Record<string, number> }
  const tensors = decodeTensors(requirePart(parts, 'head.tensors'))
  const floats = (name: string): Tensor<'float32'> => {
    const found = tensors.get(name)
    if (found?.dtype !== 'float32') throw corrupt(`head.tensors lacks ${name}`)
    return found as Tensor<'float32'>
  }
  const statistics = about.spec.modalities.map(({ name, dim }): ModalityStatistics => {
    const [mean, axes, sd] = ['mean', 'axes', 'sd'].map((part) => floats(`statistics.${name}.${part}`).data) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ]
    return { name, dim, rows: about.rows[name] ?? 0, mean, axes, sd }
  })
  const parameters = new Map<string, Tensor<'float32'>>()
  for (const name of tensors.keys()) if (name.startsWith('parameter.')) parameters.set(name.slice('parameter.'.length), floats(name))
  return requireHead({ spec: about.spec, statistics, parameters })
}

/** Named tensors as one part (layout in the module header). ONNX Runtime runs on little-endian machines only, and so do we. */
export function encodeTensors(tensors: ReadonlyMap<string, Tensor>): Uint8Array {
  let offset = 0
  const directory = [...tensors].map(([name, { dtype, dims, data }]) => {
    const entry = { name, dtype, dims, offset, bytes: data.byteLength }
    offset = align(offset + data.byteLength)
    return entry
  })
  const json = Buffer.from(JSON.stringify(directory))
  const start = align(magic.length + 4 + json.length)
  const out = Buffer.alloc(start + offset)
  out.write(magic, 'latin1')
  out.writeUInt32LE(json.length, magic.length)
  json.copy(out, magic.length + 4)
  for (const [i, { data }] of [...tensors.values()].entries()) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start + directory[i]!.offset)
  }
  return out
}

/** @throws SIDESTREAM_ARTIFACT_CORRUPT */
export function decodeTensors(part: Uint8Array): Map<string, Tensor> {
  const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength)
  const head = magic.length + 4
  if (bytes.length < head || bytes.toString('latin1', 0, magic.length) !== magic)
    throw corrupt('a tensor part does not start with its magic')
  const length = bytes.readUInt32LE(magic.length)
  if (length > bytes.length - head) throw corrupt('a tensor directory is longer than its part')
  const directory = decodeJson('a tensor directory', bytes.subarray(head, head + length)) as {
    name: string
    dtype: DType
    dims: number[]
    offset: number
    bytes: number
  }[]
  const start = align(head + length)
  const tensors = new Map<string, Tensor>()
  for (const { name, dtype, dims, offset, bytes: size } of directory) {
    if (start + offset + size > bytes.length) throw corrupt(`tensor ${name} reaches past the end of its part`)
    const value = zeros(dtype, dims)
    if (value.data.byteLength !== size) throw corrupt(`tensor ${name} of ${elementCount(dims)} elements cannot have ${size} bytes`)
    new Uint8Array(value.data.buffer).set(bytes.subarray(start + offset, start + offset + size))
    tensors.set(name, value)
  }
  return tensors
}

function requirePart(parts: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const part = parts.get(name)
  if (part === undefined) throw corrupt(`part ${name} is missing`)
  return part
}

function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function decodeJson(what: string, bytes: Uint8Array): unknown {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString())
    const stated = (value as { format?: unknown }).format
    if (stated !== undefined && stated !== format) throw new Error(`format ${String(stated)} is not known`)
    return value
  } catch (cause) {
    throw new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `${what} of a head checkpoint cannot be read: ${(cause as Error).message}`, {
      cause,
    })
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}

function corrupt(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `head checkpoint: ${message}; take another checkpoint`)
}
