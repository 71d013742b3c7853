/**
 * The schemas of other teams' producers, by registry id, ready before a batch is decoded: decoding does not wait.
 * Invariants: an id is called unknown only on the registry's word, and that word is believed for a bounded time; when the
 * registry cannot be asked, the batch waits and no record is refused.
 */
import { SidestreamError } from '../errors.ts'
import type { WriterSchema } from '../avro-types.ts'
import { BoundedCache } from './bounded-cache.ts'
import type { SchemaRegistryClient } from './client.ts'
import { isRegistryFramed, schemaIdOf } from './frame.ts'
import { fetchWriterSchema, SchemaRefusal } from './referenced.ts'

export interface WriterSchemasOptions {
  /**
   * How long "no such schema" is believed, milliseconds. Higher: fewer questions, later use of a schema that was registered
   * after its records.
   * @default 30000
   */
  readonly unknownMs?: number
  /** Milliseconds since epoch. @default Date.now */
  readonly clock?: () => number
}

/** A record as far as its framing tells who wrote it. */
export interface FramedRecord {
  readonly key: Uint8Array | null
  /** null is a tombstone: then its key says what it deletes. */
  readonly value: Uint8Array | null
}

export interface PrepareOptions<R> {
  /** Records for which a known "no such schema" is asked again, such as retried ones. @default none */
  readonly again?: (record: R) => boolean
  /** Ends the wait, not what is being fetched. */
  readonly signal?: AbortSignal
}

/** What is known of an id. */
interface Known {
  readonly schema: WriterSchema | undefined
  /** Why there is no schema. */
  readonly reason: string
  /** When to ask again. */
  readonly untilTs: number
}

/** Ids that something is known of, and the characters of their schemas together. Beyond it the least used are asked again. */
const keptIds = 50_000
const keptCharacters = 32_000_000
/** What an id takes beside its schema's text. */
const idCharacters = 200
/** Schemas that are fetched at the same time. */
const inFlight = 8

export class WriterSchemas {
  readonly #client: SchemaRegistryClient | undefined
  readonly #unknownMs: number
  readonly #clock: () => number
  readonly #known = new BoundedCache<number, Known>(keptIds, keptCharacters)

  /** @param client - without one, records in schema-registry framing are refused with the option to set */
  constructor(client?: SchemaRegistryClient, { unknownMs = 30_000, clock = Date.now }: WriterSchemasOptions = {}) {
    this.#client = client
    this.#unknownMs = unknownMs
    this.#clock = clock
  }

  /** True when there is a registry to ask. */
  get configured(): boolean {
    return this.#client !== undefined
  }

  /**
   * Fetches what the records need that is not known yet. Afterwards each can be decoded, or refused for good reason.
   * @throws SIDESTREAM_REGISTRY_UNREACHABLE (try the batch again), SIDESTREAM_REGISTRY_ACCESS_DENIED, SIDESTREAM_REGISTRY_ANSWER_INVALID,
   * or the signal's reason
   */
  async prepare<R extends FramedRecord>(records: readonly R[], { again, signal }: PrepareOptions<R> = {}): Promise<void> {
    const client = this.#client
    if (client === undefined) return
    const wanted = this.#unknownOf(records, again)
    if (wanted.length === 0) return
    const worker = async (): Promise<void> => {
      for (let id = wanted.pop(); id !== undefined; id = wanted.pop()) await this.#fetch(client, id)
    }
    await unlessAborted(Promise.all(Array.from({ length: Math.min(inFlight, wanted.length) }, worker)), signal)
  }

  /**
   * The schema with this id, without waiting.
   * @throws SIDESTREAM_RECORD_SCHEMA_UNKNOWN (poison) when there is none or no registry; SIDESTREAM_REGISTRY_UNREACHABLE when
   * `prepare` has not seen it
   */
  find(id: number): WriterSchema {
    if (this.#client === undefined) {
      throw unknown(id, `written in schema-registry framing with schema id ${id}, and no registry is configured: set schemaRegistry.url`)
    }
    if (id < 1) throw unknown(id, `written in schema-registry framing with schema id ${id}, which no registry gives`)
    const known = this.#known.peek(id)
    if (known === undefined) {
      throw new SidestreamError('SIDESTREAM_REGISTRY_UNREACHABLE', `schema id ${id} has not been fetched from ${this.#client.url} yet`, {
        id,
      })
    }
    if (known.schema === undefined)
      throw unknown(id, `schema id ${id} of the registry at ${this.#client.url} cannot be used: ${known.reason}`)
    return known.schema
  }

  /** Closes the connections to the registry. */
  close(): void {
    this.#client?.close()
  }

  #unknownOf<R extends FramedRecord>(records: readonly R[], again: ((record: R) => boolean) | undefined): number[] {
    const now = this.#clock()
    const wanted = new Set<number>()
    let last = 0
    for (const record of records) {
      const bytes = record.value ?? record.key
      if (bytes === null || !isRegistryFramed(bytes)) continue
      const id = schemaIdOf(bytes)
      if (id === last && again === undefined) continue
      last = id
      if (id < 1) continue
      const known = this.#known.get(id)
      const isStale = known === undefined || (known.schema === undefined && (known.untilTs <= now || again?.(record) === true))
      if (isStale) wanted.add(id)
    }
    return [...wanted]
  }

  async #fetch(client: SchemaRegistryClient, id: number): Promise<void> {
    try {
      const { schema, characters } = await fetchWriterSchema(client, id)
      // Another lane may have been first: readers are kept by schema.
      if (this.#known.get(id)?.schema === undefined)
        this.#known.set(id, { schema, reason: '', untilTs: Infinity }, characters + idCharacters)
    } catch (error) {
      if (!(error instanceof SchemaRefusal)) throw error
      this.#known.set(id, { schema: undefined, reason: error.message, untilTs: this.#clock() + this.#unknownMs }, idCharacters)
    }
  }
}

function unknown(id: number, message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_RECORD_SCHEMA_UNKNOWN', message, { id })
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work
  let stop!: () => void
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error)
  })
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
