/**
 * Records of id-embeddings as the owner takes them in.
 * Invariant: what comes out of here can teach; kinds that nobody configured are passed over, whatever they hold.
 */

import { checkEventTime, teacherFault } from '../distill/index.ts'
import type { LogBatch, LogRecord, State } from '../connectors/index.ts'
import type { Arrival } from './as-of-state.ts'
import { asPoison } from './dead-letters.ts'
import type { PoisonRecord } from './dead-letters.ts'
import type { Project } from './project.ts'
import { isMark } from './record-headers.ts'
import { seenKind, seenPut, teacherEntities, teacherKey } from './teacher-state.ts'
import type { SeenKind } from './teacher-state.ts'

export interface DecodedTeachers {
  readonly arrivals: readonly Arrival[]
  readonly poison: readonly PoisonRecord[]
  /** State entries of what was seen of their kinds; to be asked for when they are committed. */
  readonly puts: () => readonly (readonly [string, Uint8Array])[]
  /** Records of kinds that are not configured. */
  readonly passed: number
}

export class TeacherDecoder {
  readonly #project: Project
  /** Every configured kind; undefined while no embedding of it was seen. */
  readonly #kinds: Map<string, SeenKind | undefined>

  constructor(project: Project, state: State) {
    this.#project = project
    this.#kinds = new Map(teacherEntities(project.config).map((entity) => [entity, seenKind(state, entity)]))
  }

  decode({ topic, partition, records }: Pick<LogBatch, 'topic' | 'partition' | 'records'>): DecodedTeachers {
    const arrivals: Arrival[] = []
    const poison: PoisonRecord[] = []
    const seen = new Set<string>()
    let passed = 0
    for (const record of records) {
      if (isMark(record)) continue
      try {
        const arrival = record.value === null ? this.#tombstone(record) : this.#embedding(record, record.value, seen)
        if (arrival === undefined) passed++
        else arrivals.push(arrival)
      } catch (error) {
        poison.push({ topic, partition, record, error: asPoison(error) })
      }
    }
    // With every batch, as of its commit: another partition may be ahead, and a batch that was not committed comes again.
    const puts = (): [string, Uint8Array][] => [...seen].map((entity) => seenPut(entity, this.#kinds.get(entity)!))
    return { arrivals, poison, puts, passed }
  }

  #embedding(record: LogRecord, value: Uint8Array, seen: Set<string>): Arrival | undefined {
    const { codec, config } = this.#project
    const { entity, entityId, eventTs, vector } = codec.decode('id-embeddings', value)
    if (!this.#kinds.has(entity)) return undefined
    checkEventTime(eventTs, record.timestamp, config.interactions.maxFutureMs)
    const known = this.#kinds.get(entity)
    const fault = teacherFault(vector, config.training.teachers[entity]?.dim ?? known?.dim)
    if (fault !== undefined) throw fault
    this.#kinds.set(entity, { dim: vector.length, sinceTs: Math.min(eventTs, known?.sinceTs ?? Infinity) })
    seen.add(entity)
    const entry = { offset: record.offset, eventTs, value: codec.toOwn('id-embeddings', value) } // the state is read without a registry
    return { id: teacherKey(entity, entityId), entry }
  }

  /** The key of a tombstone is `entity/id`, as that of every record that `import` writes. */
  #tombstone({ key, offset, timestamp }: LogRecord): Arrival | undefined {
    const text = this.#project.codec.decodeItemKey(key ?? new Uint8Array())
    const slash = text.indexOf('/')
    const entity = text.slice(0, Math.max(0, slash))
    if (!this.#kinds.has(entity)) return undefined
    return { id: teacherKey(entity, text.slice(slash + 1)), entry: { offset, eventTs: timestamp, value: undefined } }
  }
}
