/**
 * Reads records of other teams' schemas as ours: by the names of fields, whatever their order, with the types that
 * `writer-values.ts` takes. Names of their own are given by configuration.
 * Invariant: a field that is not in the writer's schema is absent, or the schema is refused; nothing is guessed.
 */
import avro from 'avsc'
import type { Type } from 'avsc'
import { parseOwn } from './avro-types.ts'
import type { AvroField, OwnSchema } from './avro-types.ts'
import { foreignLogicalTypes } from './writer-values.ts'

/** Names that a topic's writers give to our fields: ours to theirs. `vectors.<modality>` names a field that holds one vector. */
export type FieldNames = Readonly<Record<string, string>>

/** Reads the body that starts at `start`; its bounds were checked. */
export type BodyReader = (bytes: Buffer, start: number) => Record<string, unknown>

/** A field that is read: where it goes, and how the writer calls it. */
interface Source {
  readonly target: string
  readonly theirs: string
  readonly type: unknown
}

const modalityPrefix = 'vectors.'

/**
 * A reader of bodies that `writer` wrote, as values of one of our record types.
 * @throws Error with the reason when a field that is needed is not there, or has a type that cannot be read
 */
export function foreignReader(own: OwnSchema, writer: Type, names: FieldNames = {}): BodyReader {
  if (!(writer instanceof avro.types.RecordType)) throw new Error(`it is of type ${writer.typeName}, not a record`)
  const given = new Set(writer.fields.map(({ name }) => name))
  const modalities = own.name === 'item-content' ? modalitySources(names, given) : []
  const fields = own.json.fields.flatMap((field) => {
    const source = sourceOf(field, names, given)
    const isMade = field.name === 'vectors' && modalities.length > 0
    if (source === undefined && field.default === undefined && !isMade) throw new Error(missing(field, names, given))
    return source === undefined ? [] : [source]
  })
  const sources = [...fields, ...modalities]
  const defaults = own.json.fields.flatMap(({ name, default: value }) => (value === undefined ? [] : [[name, value] as const]))
  const reader = parseOwn(
    {
      ...own.json,
      // Named unlike anything of the writer's, so that each of our fields finds exactly the one that was chosen.
      aliases: writer.name === undefined ? [] : [writer.name],
      fields: sources.map(({ theirs, type }, i) => ({ name: `ss${i}_`, aliases: [theirs], doc: '', type: readable(type) })),
    },
    foreignLogicalTypes,
  )
  const resolver = reader.createResolver(writer, { ignoreNamespaces: true })
  return (bytes, start) => {
    const raw = reader.decode(bytes, start, resolver).value as Record<string, unknown>
    const value: Record<string, unknown> = {}
    for (const [name, fallback] of defaults) value[name] = fallback
    for (let i = 0; i < fields.length; i++) value[fields[i]!.target] = raw[`ss${i}_`]
    if (modalities.length > 0) {
      const vectors: Record<string, unknown> = { ...(value['vectors'] as object | null | undefined) }
      for (let m = 0; m < modalities.length; m++) vectors[modalities[m]!.target] = raw[`ss${fields.length + m}_`]
      value['vectors'] = vectors
    }
    return value
  }
}

function sourceOf({ name, aliases = [], type }: AvroField, names: FieldNames, given: ReadonlySet<string>): Source | undefined {
  const theirs = [names[name], name, ...aliases].find((candidate) => candidate !== undefined && given.has(candidate))
  return theirs === undefined ? undefined : { target: name, theirs, type }
}

function modalitySources(names: FieldNames, given: ReadonlySet<string>): Source[] {
  return Object.entries(names).flatMap(([ours, theirs]) =>
    ours.startsWith(modalityPrefix) && given.has(theirs)
      ? [{ target: ours.slice(modalityPrefix.length), theirs, type: { type: 'bytes', logicalType: 'float32-vector' } }]
      : [],
  )
}

function missing({ name, aliases = [] }: AvroField, names: FieldNames, given: ReadonlySet<string>): string {
  const wanted = [names[name], name, ...aliases].filter((candidate) => candidate !== undefined)
  const has = [...given].slice(0, 20).join(', ')
  return `it has no field for ${name} (${wanted.join(', ')}); its fields are ${has}${given.size > 20 ? ', …' : ''}`
}

/** The type of one of our fields as a reader of other writers' values. */
function readable(type: unknown): unknown {
  if (type === 'string') return { type, logicalType: 'text' }
  if (type === 'double') return { type, logicalType: 'number' }
  if (Array.isArray(type)) return type.map(readable)
  if (typeof type !== 'object' || type === null) return type
  const { type: kind, items } = type as { type?: unknown; items?: unknown }
  if (kind === 'array' && items === 'string') return { ...type, logicalType: 'text-list' }
  return kind === 'map' ? [type, 'null'] : type
}
