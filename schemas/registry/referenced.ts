/**
 * Avro schemas of a registry with everything that they refer to, ready to parse.
 * Invariant: whatever the registry answers, the work is bounded: schemas, their characters and their nesting.
 */
import { limits } from '../limits.ts'
import { parseWriterSchema } from '../avro-types.ts'
import type { WriterSchema } from '../avro-types.ts'
import type { RegisteredSchema, SchemaReference, SchemaRegistryClient } from './client.ts'

/** Why a schema cannot be used, in words. */
export class SchemaRefusal extends Error {}

/**
 * Fetches and parses the schema with this id.
 * @returns the schema, and the characters of all its texts
 * @throws SchemaRefusal when there is none, or none that can be used; and whatever the client throws
 */
export async function fetchWriterSchema(client: SchemaRegistryClient, id: number): Promise<{ schema: WriterSchema; characters: number }> {
  const root = usable(await client.schema(id), `the registry has no schema with id ${id}`)
  const collected: unknown[] = []
  let characters = root.text.length
  const seen = new Set<string>()

  /** Adds what `references` name, each after what it needs itself. */
  async function collect(references: readonly SchemaReference[], depth: number): Promise<void> {
    if (references.length > 0 && depth > limits.schemaReferenceDepth)
      throw new SchemaRefusal(`its references are nested deeper than ${limits.schemaReferenceDepth}`)
    for (const { name, subject, version } of references) {
      const place = `${subject} version ${version}`
      if (seen.has(place)) continue
      seen.add(place)
      if (seen.size > limits.schemaReferences) throw new SchemaRefusal(`it refers to more than ${limits.schemaReferences} schemas`)
      const other = usable(await client.version(subject, version), `its reference ${name} (${place}) is not in the registry`)
      characters += other.text.length
      if (characters > limits.schemaCharacters) throw new SchemaRefusal(tooLong())
      await collect(other.references, depth + 1)
      collected.push(json(other.text))
    }
  }

  if (characters > limits.schemaCharacters) throw new SchemaRefusal(tooLong())
  await collect(root.references, 1)
  try {
    return { schema: parseWriterSchema(json(root.text), collected), characters }
  } catch (error) {
    if (error instanceof SchemaRefusal) throw error
    const text = error instanceof Error ? error.message : String(error)
    throw new SchemaRefusal(`it is no Avro schema: ${text.slice(0, 300)}`)
  }
}

function usable(schema: RegisteredSchema | 'too-large' | undefined, absent: string): RegisteredSchema {
  if (schema === undefined) throw new SchemaRefusal(absent)
  if (schema === 'too-large') throw new SchemaRefusal(tooLong())
  if (schema.kind !== 'AVRO') throw new SchemaRefusal(`it is of type ${schema.kind.slice(0, 40)}; only AVRO is read`)
  return schema
}

function tooLong(): string {
  return `it has, with its references, more than ${limits.schemaCharacters} characters`
}

/** The JSON of a schema's text. */
function json(text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new SchemaRefusal('its text is not JSON')
  }
  const open: { value: unknown; depth: number }[] = [{ value, depth: 0 }]
  for (let top = open.pop(); top !== undefined; top = open.pop()) {
    if (typeof top.value !== 'object' || top.value === null) continue
    if (top.depth > limits.schemaDepth) throw new SchemaRefusal(`it is nested deeper than ${limits.schemaDepth} levels of JSON`)
    for (const inner of Object.values(top.value)) open.push({ value: inner, depth: top.depth + 1 })
  }
  return value
}
