/**
 * A client of a schema registry that speaks Confluent's API: schemas by id and by version, look-up, registration,
 * compatibility. Schemas are immutable, so an answer is kept; whoever asks for what is being asked for waits for that answer.
 * Invariant: "not there" is said only when the registry itself says so; any other 404 is an error, not an unknown schema.
 */
import { z } from 'zod'
import { SidestreamError } from '../errors.ts'
import { BoundedCache } from './bounded-cache.ts'
import { RegistryHttp, said } from './http.ts'
import type { RegistryAnswer, RegistryConnection, RegistryMethod } from './http.ts'

/** A named schema that another one uses. */
export interface SchemaReference {
  /** Full name of the type, as the other schema writes it. */
  readonly name: string
  readonly subject: string
  readonly version: number
}

/** A schema as the registry keeps it. */
export interface RegisteredSchema {
  /** AVRO, JSON or PROTOBUF. */
  readonly kind: string
  /** The schema's text: for AVRO, JSON. */
  readonly text: string
  readonly references: readonly SchemaReference[]
}

/** Where a subject has a schema. */
export interface SchemaPlace {
  readonly id: number
  readonly version: number
}

/** Whether a schema may follow those of its subject. */
export interface Compatibility {
  readonly compatible: boolean
  /** The registry's reasons; empty when there are none, or when it gives none. */
  readonly reasons: readonly string[]
}

const referenceShape = z.object({ name: z.string(), subject: z.string(), version: z.int().min(1) })
const schemaShape = z.object({
  schema: z.string(),
  schemaType: z.string().nullish(),
  references: z.array(referenceShape).nullish(),
})
const placeShape = z.object({ id: z.int(), version: z.int() })
const idShape = z.object({ id: z.int() })
const compatibilityShape = z.object({ is_compatible: z.boolean(), messages: z.array(z.string()).nullish() })
const levelShape = z.object({ compatibilityLevel: z.string() }).or(z.object({ compatibility: z.string() }))
const errorShape = z.object({ error_code: z.int(), message: z.string().nullish() })

/** Codes of the API that mean "not there": subject, version, schema. */
const absentCodes = new Set([40401, 40402, 40403])

/** Schemas kept, and their characters together. */
const keptSchemas = 1000
const keptCharacters = 32_000_000

export class SchemaRegistryClient {
  readonly #http: RegistryHttp
  readonly #schemas = new BoundedCache<string, RegisteredSchema>(keptSchemas, keptCharacters)
  readonly #registered = new BoundedCache<string, number>(keptSchemas)
  readonly #asking = new Map<string, Promise<RegisteredSchema | 'too-large' | undefined>>()

  constructor(connection: RegistryConnection) {
    this.#http = new RegistryHttp(connection)
  }

  /** Where the registry is, for messages. */
  get url(): string {
    return this.#http.url
  }

  /**
   * The schema with this id; undefined when the registry has none, `too-large` when it is larger than is taken.
   * @throws SIDESTREAM_REGISTRY_UNREACHABLE, SIDESTREAM_REGISTRY_ACCESS_DENIED, SIDESTREAM_REGISTRY_ANSWER_INVALID, as every method
   */
  schema(id: number): Promise<RegisteredSchema | 'too-large' | undefined> {
    return this.#fetched(`/schemas/ids/${id}`)
  }

  /** The schema of one version of a subject; undefined when there is none. */
  version(subject: string, version: number): Promise<RegisteredSchema | 'too-large' | undefined> {
    return this.#fetched(`/subjects/${encodeURIComponent(subject)}/versions/${version}`)
  }

  /** Where the subject has exactly this schema; undefined when it has not. */
  async lookup(subject: string, text: string): Promise<SchemaPlace | undefined> {
    const path = `/subjects/${encodeURIComponent(subject)}`
    const answer = await this.#http.send('POST', path, { schema: text })
    return this.#isAbsent(answer) ? undefined : this.#checked('POST', path, answer, placeShape)
  }

  /** Newest version of a subject; undefined when it has none. */
  async latest(subject: string): Promise<SchemaPlace | undefined> {
    const path = `/subjects/${encodeURIComponent(subject)}/versions/latest`
    const answer = await this.#http.send('GET', path)
    return this.#isAbsent(answer) ? undefined : this.#checked('GET', path, answer, placeShape)
  }

  /**
   * Registers a schema; the same one again is the same id.
   * @returns its id
   * @throws SIDESTREAM_SCHEMA_REFUSED when it is not compatible with its subject, or no valid schema
   */
  async register(subject: string, text: string): Promise<number> {
    const key = `${subject}\n${text}`
    const known = this.#registered.get(key)
    if (known !== undefined) return known
    const path = `/subjects/${encodeURIComponent(subject)}/versions`
    const answer = await this.#http.send('POST', path, { schema: text })
    if (answer.status === 409 || answer.status === 422) {
      const message = `the schema registry at ${this.url} refuses a schema for ${subject} with status ${answer.status}${said(answer.json)}`
      throw new SidestreamError('SIDESTREAM_SCHEMA_REFUSED', message, { subject })
    }
    const { id } = this.#checked('POST', path, answer, idShape)
    this.#registered.set(key, id)
    return id
  }

  /** Whether the registry would take this schema after the newest of its subject; a subject without any takes all. */
  async compatibility(subject: string, text: string): Promise<Compatibility> {
    const path = `/compatibility/subjects/${encodeURIComponent(subject)}/versions/latest?verbose=true`
    const answer = await this.#http.send('POST', path, { schema: text })
    if (this.#isAbsent(answer)) return { compatible: true, reasons: [] }
    if (answer.status === 422) return { compatible: false, reasons: [`not a valid schema${said(answer.json)}`] }
    const { is_compatible: compatible, messages } = this.#checked('POST', path, answer, compatibilityShape)
    return { compatible, reasons: messages ?? [] }
  }

  /** The registry's default compatibility level: the answer says that it is there and lets us in. */
  async level(): Promise<string> {
    const level = this.#checked('GET', '/config', await this.#http.send('GET', '/config'), levelShape)
    return 'compatibilityLevel' in level ? level.compatibilityLevel : level.compatibility
  }

  /** Ends idle connections; requests under way fail. */
  close(): void {
    this.#http.close()
  }

  #fetched(path: string): Promise<RegisteredSchema | 'too-large' | undefined> {
    const kept = this.#schemas.get(path)
    if (kept !== undefined) return Promise.resolve(kept)
    let asking = this.#asking.get(path)
    if (asking === undefined) {
      asking = this.#fetch(path).finally(() => this.#asking.delete(path))
      this.#asking.set(path, asking)
    }
    return asking
  }

  async #fetch(path: string): Promise<RegisteredSchema | 'too-large' | undefined> {
    const answer = await this.#http.send('GET', path)
    if (this.#isAbsent(answer)) return undefined
    if (answer.tooLarge && answer.status === 200) return 'too-large'
    const { schema, schemaType, references } = this.#checked('GET', path, answer, schemaShape)
    const found = { kind: schemaType ?? 'AVRO', text: schema, references: references ?? [] }
    this.#schemas.set(path, found, schema.length)
    return found
  }

  #isAbsent({ status, json }: RegistryAnswer): boolean {
    return status === 404 && absentCodes.has(errorShape.safeParse(json).data?.error_code ?? 0)
  }

  #checked<T>(method: RegistryMethod, path: string, answer: RegistryAnswer, shape: z.ZodType<T>): T {
    if (answer.status >= 200 && answer.status < 300) {
      const result = shape.safeParse(answer.json)
      if (result.success) return result.data
    }
    const what = answer.tooLarge ? 'with more than is taken' : `with status ${answer.status}${said(answer.json)}`
    const message = `${this.url} answers ${method} ${path} ${what}, not as a schema registry does: schemaRegistry.url must be the base of Confluent's API (for Apicurio it ends with /apis/ccompat/v7)`
    throw new SidestreamError('SIDESTREAM_REGISTRY_ANSWER_INVALID', message, { status: answer.status })
  }
}
