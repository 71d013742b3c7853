/**
 * The messages of the control socket: the service as gRPC libraries take it, and how answers and errors become messages and
 * back. The words and units stand in `schemas/proto/control.proto`.
 * Invariants: what goes over the wire comes back equal; an error keeps its code, so that exit codes are the same on every way.
 */

import { Metadata, status } from '@grpc/grpc-js'
import type { MethodDefinition, ServiceError } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { errorClasses, isSidestreamError, limits, protoFile, SidestreamError } from '../schemas/index.ts'
import type { ErrorClass, ErrorCode, SidOrigin, VectorDtype } from '../schemas/index.ts'
import type { FeatureRead, VersionRecord } from '../features/index.ts'
import type { PointerChange } from '../connectors/index.ts'
import type { VersionLine } from './commands.ts'
import type { ListedLetter, RetryReport } from './dead-letters.ts'
import type { TaskResult } from './owner-commands.ts'

/** Most bytes of one message: one dead letter with all its fields. Requests are small, and bounded by the library's 4 MiB. */
export const messageBytes = limits.deadLetterBytes + 1_048_576
/** About how many bytes of features stand in one chunk. */
const chunkBytes = 524_288

/** 64-bit integers are decimal text on the way in. */
type Int64 = string | number
type Definition = MethodDefinition<object, object>

export interface ControlMethods {
  readonly Import: Definition
  readonly Refresh: Definition
  readonly ListVersions: Definition
  readonly ShowVersion: Definition
  readonly Activate: Definition
  readonly Rollback: Definition
  readonly Collect: Definition
  readonly ReadFeatures: Definition
  readonly ListDeadLetters: Definition
  readonly RetryDeadLetters: Definition
  readonly Status: Definition
}

/** The service of `control.proto`. */
export function controlMethods(): ControlMethods {
  const loaded = loadSync(protoFile('control'), { longs: String, defaults: true, oneofs: true })
  return loaded['sidestream.control.v1.Control'] as unknown as ControlMethods
}

export interface CountsMessage {
  readonly appended: Int64
  readonly skipped: Int64
  readonly refused: Int64
}

export interface ImportMessage {
  readonly interactions?: string
  readonly content?: string
  readonly idEmbeddings?: string
  readonly pairs?: string
  readonly recipe?: string
  readonly data?: string
  readonly end: boolean
}

export interface ImportEventMessage {
  readonly progress?: CountsMessage
  readonly refused?: string
  readonly note?: string
  readonly done?: CountsMessage
}

export interface RefreshEventMessage {
  readonly round?: { readonly round: Int64; readonly rows: Int64; readonly loss?: number }
  readonly task?: string
  readonly done?: TaskMessage
}

export interface TaskMessage {
  readonly outcome: string
  readonly version?: Int64
  readonly code?: string
  readonly message: string
  readonly detailsJson?: string
}

export interface VersionLineMessage {
  readonly version: Int64
  readonly state: string
  readonly parent?: Int64
  readonly head: string
  readonly codebook: string
  readonly entries: Int64
  readonly bytes: Int64
}

export interface ChangeMessage {
  readonly seq: Int64
  readonly version: Int64
  readonly epoch: Int64
  readonly action: string
  readonly commandId: string
  readonly at: Int64
}

export interface FeatureRequestMessage {
  readonly view?: string
  readonly items: readonly string[]
  readonly version?: Int64
}

export interface FeatureChunkMessage {
  readonly version: Int64
  readonly features: readonly FeatureMessage[]
}

interface FeatureMessage {
  readonly found: boolean
  readonly vector?: Uint8Array
  readonly dtype?: string
  readonly sid?: readonly number[]
  readonly sidOrigin?: string
  readonly eventTs?: Int64
  readonly stream?: number
  readonly offset?: Int64
}

export interface LetterMessage {
  readonly place: string
  readonly topic: string
  readonly partition: number
  readonly offset: Int64
  readonly timestamp: Int64
  readonly key?: Uint8Array
  readonly value?: Uint8Array
  readonly headers: readonly { readonly name: string; readonly value: Uint8Array }[]
  readonly code: string
  readonly reason: string
  readonly at: Int64
  readonly notWhole?: string
  readonly retriedAt?: Int64
}

export interface RetryMessage {
  readonly retried: Int64
  readonly left: readonly { readonly place: string; readonly reason: string }[]
}

export function taskMessage({ outcome, version, code, message, details }: TaskResult): TaskMessage {
  return {
    ...{ outcome, message },
    ...(version !== null && { version }),
    ...(code !== null && { code }),
    ...(details !== undefined && { detailsJson: JSON.stringify(details) }),
  }
}

export function taskOf({ outcome, version, code, message, detailsJson }: TaskMessage): TaskResult {
  return {
    outcome: outcome as TaskResult['outcome'],
    version: version === undefined ? null : Number(version),
    code: code ?? null,
    message,
    ...(detailsJson !== undefined && { details: JSON.parse(detailsJson) as NonNullable<TaskResult['details']> }),
  }
}

export function versionLineMessage({ parent, ...line }: VersionLine): VersionLineMessage {
  return { ...line, ...(parent !== null && { parent }) }
}

export function versionLineOf({ version, state, parent, head, codebook, entries, bytes }: VersionLineMessage): VersionLine {
  return {
    version: Number(version),
    state: state as VersionRecord['state'],
    parent: parent === undefined ? null : Number(parent),
    head,
    codebook,
    entries: Number(entries),
    bytes: Number(bytes),
  }
}

export function changeOfMessage({ seq, version, epoch, action, commandId, at }: ChangeMessage): PointerChange {
  return {
    seq: Number(seq),
    version: Number(version),
    epoch: Number(epoch),
    action: action as PointerChange['action'],
    commandId,
    at: Number(at),
  }
}

/** The answer in pieces of about half a MiB, at least one. */
export function* featureChunks({ version, features }: FeatureRead): Generator<FeatureChunkMessage> {
  let chunk: FeatureMessage[] = []
  let bytes = 0
  for (const feature of features) {
    if (feature === undefined) chunk.push({ found: false })
    else {
      const { vector, dtype, sid, sidOrigin, eventTs, stream, offset } = feature
      const plain = Float32Array.from(vector)
      bytes += plain.byteLength
      chunk.push({
        found: true,
        vector: new Uint8Array(plain.buffer),
        dtype,
        sid: [...sid],
        sidOrigin,
        eventTs,
        stream,
        offset: String(offset),
      })
    }
    bytes += 64
    if (bytes < chunkBytes) continue
    yield { version, features: chunk }
    chunk = []
    bytes = 0
  }
  yield { version, features: chunk }
}

export function featuresOf({ features }: FeatureChunkMessage): FeatureRead['features'] {
  return features.map(({ found, vector, dtype, sid, sidOrigin, eventTs, stream, offset }) => {
    if (!found) return undefined
    return {
      deleted: false,
      vector: new Float32Array(Uint8Array.from(vector!).buffer),
      dtype: dtype as VectorDtype,
      sid: Uint16Array.from(sid!),
      sidOrigin: sidOrigin as SidOrigin,
      eventTs: Number(eventTs),
      stream: stream!,
      offset: BigInt(offset!),
    }
  })
}

export function letterMessage({ offset, key, value, headers, notWhole, retriedAt, ...letter }: ListedLetter): LetterMessage {
  return {
    ...letter,
    offset: String(offset),
    headers: headers.map(([name, bytes]) => ({ name, value: bytes })),
    ...(key !== null && { key }),
    ...(value !== null && { value }),
    ...(notWhole !== null && { notWhole }),
    ...(retriedAt !== null && { retriedAt }),
  }
}

export function letterOf({ offset, timestamp, at, key, value, headers, notWhole, retriedAt, ...letter }: LetterMessage): ListedLetter {
  const { place, topic, partition, code, reason } = letter
  return {
    place,
    topic,
    partition,
    code,
    reason,
    offset: BigInt(offset),
    timestamp: Number(timestamp),
    at: Number(at),
    key: key ?? null,
    value: value ?? null,
    headers: headers.map((header) => [header.name, header.value] as const),
    notWhole: (notWhole as ListedLetter['notWhole'] | undefined) ?? null,
    retriedAt: retriedAt === undefined ? null : Number(retriedAt),
  }
}

export function retryOf({ retried, left }: RetryMessage): RetryReport {
  return { retried: Number(retried), left: left.map(({ place, reason }) => ({ place, reason })) }
}

const errorKey = 'sidestream-error-bin'
/** Trailers have little room: HTTP/2 peers take 8 to 64 KiB of them. */
const mostMessage = 4000

const statusOfClass: Readonly<Record<ErrorClass, status>> = {
  retryable: status.UNAVAILABLE,
  fenced: status.ABORTED,
  fatal: status.FAILED_PRECONDITION,
  poison: status.INVALID_ARGUMENT,
}

/** An error as gRPC takes it, with its code in the trailers. */
export function wireError(error: unknown): Partial<ServiceError> {
  const text = error instanceof Error ? error.message : String(error)
  const message = text.length > mostMessage ? `${text.slice(0, mostMessage)}…` : text
  const metadata = new Metadata()
  if (!isSidestreamError(error)) return { code: status.INTERNAL, details: message, metadata }
  metadata.set(errorKey, Buffer.from(JSON.stringify({ code: error.code, message })))
  return { code: statusOfClass[error.class], details: error.code, metadata }
}

/** The error of the daemon; undefined when the failure is not the daemon's answer. */
export function errorOf({ metadata }: Pick<ServiceError, 'metadata'>): SidestreamError | undefined {
  const [bytes] = metadata?.get(errorKey) ?? []
  if (!(bytes instanceof Buffer)) return undefined
  try {
    const { code, message } = JSON.parse(bytes.toString()) as { code?: unknown; message?: unknown }
    if (typeof code !== 'string' || typeof message !== 'string') return undefined
    // A code of a newer daemon is not known here; what it says is.
    return new SidestreamError(code in errorClasses ? (code as ErrorCode) : 'SIDESTREAM_CLOSED', message)
  } catch {
    return undefined
  }
}
