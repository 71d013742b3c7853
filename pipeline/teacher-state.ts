/**
 * The owner's copy of id-embeddings, for the entity kinds of `training.teachers`, and what a round sees of it.
 * Invariant: the dimension of a kind is the configured one, or the one of the first embedding that was taken in; it never changes.
 */

import { contentAsOf, meanExposures } from '../distill/index.ts'
import type { TeacherBatchOptions, TeacherKind, TeacherLookup, TeacherVector } from '../distill/index.ts'
import type { Codec, Config, IdEmbedding } from '../schemas/index.ts'
import type { State } from '../connectors/index.ts'
import { floatBytes, readFloat } from './bytes.ts'
import { entriesOf, entryAsOf } from './as-of-state.ts'

/** Of the state keys of ID embeddings: then come entity, a zero byte, and the ID. */
export const teacherPrefix = 'i\u0000'

const seenKey = (entity: string): string => `teacher/${entity}`

/** Names of the configured kinds, in their order. */
export function teacherEntities({ training }: Config): string[] {
  return Object.keys(training.teachers)
}

/** The key of one ID behind `teacherPrefix`. */
export function teacherKey(entity: string, entityId: string): string {
  return `${entity}\u0000${entityId}`
}

/** What was seen of a kind: the dimension of its embeddings, and the earliest event time among them. */
export interface SeenKind {
  readonly dim: number
  readonly sinceTs: number
}

/** Undefined before the first embedding of a kind. */
export function seenKind(state: State, entity: string): SeenKind | undefined {
  const stored = state.get(seenKey(entity))
  return stored === undefined ? undefined : { dim: readFloat(stored.subarray(0, 8)), sinceTs: readFloat(stored.subarray(8)) }
}

export function seenPut(entity: string, { dim, sinceTs }: SeenKind): [string, Uint8Array] {
  return [seenKey(entity), Buffer.concat([floatBytes(dim), floatBytes(sinceTs)])]
}

/**
 * The kinds that can teach in a round that ends at `endTs`: those with a configured dimension, or with an embedding before it.
 * What has come from later rounds already does not show.
 */
function teacherKinds({ training }: Config, state: State, endTs: number): TeacherKind[] {
  return Object.entries(training.teachers).flatMap(([name, { by, labelPrefix, dim }]) => {
    if (dim !== null) return [{ name, by, labelPrefix, dim }]
    const seen = seenKind(state, name)
    return seen === undefined || seen.sinceTs >= endTs ? [] : [{ name, by, labelPrefix, dim: seen.dim }]
  })
}

/** How ID embeddings teach in a round that ends at `endTs`; undefined while no kind can. `weightBy`: the first of all, known or not. */
export function teacherOptions(
  config: Config,
  state: State,
  endTs: number,
): (TeacherBatchOptions & { readonly weightBy: string }) | undefined {
  const { teacherStaleMs: staleMs, teacherMinExposures: minExposures, teacherSaturation: saturation } = config.training
  const [weightBy] = teacherEntities(config)
  const kinds = teacherKinds(config, state, endTs)
  if (weightBy === undefined || kinds.length === 0) return undefined
  return { kinds, endTs, staleMs, minExposures, saturation, weightBy }
}

/** The items' own embeddings before `endTs`, of the first kind that is joined by the item; undefined while there are none. */
export function ownEmbeddings(
  config: Config,
  state: State,
  codec: Codec,
  endTs: number,
): { readonly dim: number; readonly vector: (itemId: string) => Float32Array | undefined } | undefined {
  const kind = teacherKinds(config, state, endTs).find(({ by }) => by === 'item')
  if (kind === undefined) return undefined
  const vector = (itemId: string): Float32Array | undefined => {
    const value = entryAsOf(state, teacherPrefix, teacherKey(kind.name, itemId), endTs)?.value
    const vector = value === undefined ? undefined : codec.decode('id-embeddings', value).vector
    return vector?.length === kind.dim ? vector : undefined // the configured dimension may have changed since
  }
  return { dim: kind.dim, vector }
}

/**
 * What a round that ends at `endTs` sees of the teachers. What was asked for is remembered.
 * @param item - the items of the round, as of the same end
 */
export function teachersAsOf(state: State, codec: Codec, endTs: number, item: TeacherLookup['item']): TeacherLookup {
  const read = (value: Uint8Array): IdEmbedding => codec.decode('id-embeddings', value)
  const found = new Map<string, TeacherVector | undefined>()
  const means = new Map<string, number>()
  return {
    item,
    embedding: (entity, entityId) => {
      const key = teacherKey(entity, entityId)
      if (!found.has(key)) {
        const value = entryAsOf(state, teacherPrefix, key, endTs)?.value
        found.set(key, value === undefined ? undefined : read(value))
      }
      return found.get(key)
    },
    meanExposures: (entity) => {
      let mean = means.get(entity)
      if (mean === undefined) means.set(entity, (mean = meanExposures(exposuresOf(entity))))
      return mean
    },
  }

  function* exposuresOf(entity: string): Iterable<number> {
    for (const [, entries] of entriesOf(state, `${teacherPrefix}${entity}\u0000`)) {
      const value = contentAsOf(entries, endTs)?.value
      if (value !== undefined) yield read(value).exposures
    }
  }
}
