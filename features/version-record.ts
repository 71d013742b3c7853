/**
 * The version record: everything that made one published set of bytes, and its state.
 * Invariants: a record says all that is needed to make its bytes again; its state changes only along `moves`; times are the
 * store's clock. It is stored as JSON, so that anybody can read it.
 */

import { z } from 'zod'

import { SidestreamError } from '../schemas/index.ts'

/** States of a version, and the states that may follow each. */
export const moves = {
  building: ['ready', 'collecting'],
  ready: ['live', 'collecting'],
  live: ['kept'],
  kept: ['live', 'collecting'],
  collecting: ['gone'],
  gone: [],
} as const satisfies Record<string, readonly string[]>

export type VersionState = keyof typeof moves

const time = z.number().int()
const offset = z.string().regex(/^\d+$/)

const recordSchema = z.strictObject({
  format: z.literal(1),
  version: z.number().int().min(1),
  state: z.enum(Object.keys(moves) as [VersionState, ...VersionState[]]),
  project: z.string(),
  /** The version that must be live for this one to follow it; null for the first. */
  parent: z.number().int().min(1).nullable(),
  views: z
    .array(
      z.strictObject({
        name: z.string(),
        /** Distilled dims of the view. */
        prefix: z.number().int().min(1),
        /** Dims of the published vector. */
        dim: z.number().int().min(1),
        dtype: z.enum(['f32', 'f16', 'i8']),
        /** Whether semantic IDs are computed from this view's published bytes. */
        ownsCodebooks: z.boolean(),
      }),
    )
    .min(1),
  /** Artifact names. */
  head: z.string().min(1),
  codebook: z.string().min(1),
  /** What the build covers: event time, and the next offset per partition. */
  cut: z.strictObject({
    eventTs: z.number(),
    offsets: z.array(z.strictObject({ topic: z.string(), partition: z.number().int().min(0), next: offset })),
  }),
  seeds: z.record(z.string(), z.number()),
  metrics: z.record(z.string(), z.unknown()),
  /** Event times until which each part has seen the stream, milliseconds. */
  trainedUntil: z.number(),
  teacherUntil: z.number(),
  codebookUntil: z.number(),
  createdAt: time,
  readyAt: time.nullable(),
  /** Since when it is live, or was last live. */
  liveSince: time.nullable(),
  /** When another version took its place; null while it is live or never was. */
  liveUntil: time.nullable(),
  /** When a pin was last seen on it. */
  pinnedAt: time.nullable(),
  goneAt: time.nullable(),
  /** Bytes the build was expected to take. */
  estimateBytes: z.number().min(0),
  /** Why it was made, refused or given up. */
  reason: z.string().nullable(),
})

export type VersionRecord = z.infer<typeof recordSchema>
export type VersionView = VersionRecord['views'][number]

/**
 * JSON bytes of a record.
 * @throws SIDESTREAM_USAGE_INVALID when a field is not what it must be (also numbers that JSON cannot hold)
 */
export function encodeVersion(record: VersionRecord): Uint8Array {
  const checked = recordSchema.safeParse(record)
  if (!checked.success) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      `the record of version ${record.version} is wrong: ${z.prettifyError(checked.error)}`,
    )
  }
  return new TextEncoder().encode(JSON.stringify(checked.data))
}

/** @throws SIDESTREAM_STORE_CORRUPT when the bytes are no version record of this format */
export function decodeVersion(bytes: Uint8Array): VersionRecord {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SidestreamError('SIDESTREAM_STORE_CORRUPT', 'a version record is no JSON: restore the store or rebuild the version', {
      cause,
    })
  }
  const parsed = recordSchema.safeParse(json)
  if (parsed.success) return parsed.data
  throw new SidestreamError('SIDESTREAM_STORE_CORRUPT', `a version record does not have format 1: ${z.prettifyError(parsed.error)}`)
}

/** Whether `to` may follow `from`. */
export function mayMove(from: VersionState, to: VersionState): boolean {
  return (moves[from] as readonly VersionState[]).includes(to)
}

/**
 * The record in its next state, with the times that follow from it. Pure.
 * @param at - store clock, milliseconds
 * @throws SIDESTREAM_VERSION_STATE_INVALID when the move is not legal
 */
export function moveVersion(record: VersionRecord, to: VersionState, at: number): VersionRecord {
  const { state: from, version } = record
  if (!mayMove(from, to)) {
    const next: readonly string[] = moves[from]
    throw new SidestreamError(
      'SIDESTREAM_VERSION_STATE_INVALID',
      `version ${version} is ${from} and cannot become ${to}; from ${from} it can become ${next.length === 0 ? 'nothing else' : next.join(' or ')}`,
      { version, from, to },
    )
  }
  switch (to) {
    case 'ready':
      return { ...record, state: to, readyAt: at }
    case 'live':
      return { ...record, state: to, liveSince: at, liveUntil: null }
    case 'kept':
      return { ...record, state: to, liveUntil: at }
    case 'gone':
      return { ...record, state: to, goneAt: at }
    default:
      return { ...record, state: to }
  }
}
