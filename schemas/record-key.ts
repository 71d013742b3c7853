/**
 * The ids that record keys hold: text, or what other teams' serializers make of it.
 * Invariant: a key gives an id that keeps every limit, or a poison error.
 */
import avro from 'avsc'
import type { Type } from 'avsc'
import { findBodyFault } from './avro-bounds.ts'
import { ownSchema, parseOwn } from './avro-types.ts'
import type { WriterSchema } from './avro-types.ts'
import { SidestreamError } from './errors.ts'
import { checkId } from './field-checks.ts'
import { foreignReader } from './foreign-reader.ts'
import type { BodyReader, FieldNames } from './foreign-reader.ts'
import { limits } from './limits.ts'
import { registryFrameBytes } from './registry/frame.ts'

const strict = new TextDecoder('utf-8', { fatal: true })

/** The id that a key of plain text is. @throws SIDESTREAM_ID_INVALID (poison) */
export function textId(key: Uint8Array): string {
  if (key.length === 0 || key.length > limits.idBytes) {
    throw new SidestreamError(
      'SIDESTREAM_ID_INVALID',
      `a tombstone's key must be an id of 1 to ${limits.idBytes} bytes, this one has ${key.length}`,
    )
  }
  try {
    return strict.decode(key)
  } catch (cause) {
    throw new SidestreamError('SIDESTREAM_ID_INVALID', `a tombstone's key must be UTF-8 text`, { cause })
  }
}

const readers = new WeakMap<WriterSchema, BodyReader | string>()

/**
 * The item id in a key of schema-registry framing: its value, or of a record its field `itemId` (by any of its names) or its
 * only field.
 * @throws a poison error
 */
export function keyId(writer: WriterSchema, key: Buffer, names: FieldNames): string {
  let reader = readers.get(writer)
  if (reader === undefined) {
    try {
      reader = keyReader(writer.type, names)
    } catch (error) {
      reader = error instanceof Error ? error.message : String(error)
    }
    readers.set(writer, reader)
  }
  if (typeof reader === 'string') {
    throw new SidestreamError(
      'SIDESTREAM_RECORD_SCHEMA_UNKNOWN',
      `the schema of a key cannot be read as an item id: ${reader.slice(0, 300)}`,
    )
  }
  const fault = findBodyFault(writer.type, key, registryFrameBytes)
  if (fault !== undefined) throw new SidestreamError('SIDESTREAM_RECORD_UNDECODABLE', `a key is not of its schema: ${fault}`)
  return checkId('the item id of a key', reader(key, registryFrameBytes)['itemId'])
}

function keyReader(writer: Type, names: FieldNames): BodyReader {
  const own = ownSchema('item-content')
  const fields = own.json.fields.filter(({ name }) => name === 'itemId')
  if (writer instanceof avro.types.RecordType) {
    const only = writer.fields.length === 1 ? { itemId: writer.fields[0]!.name } : names
    return foreignReader({ ...own, json: { ...own.json, fields } }, writer, only)
  }
  const box = parseOwn({ ...own.json, fields })
  const id = (box as avro.types.RecordType).fields[0]!.type
  const resolver = id.createResolver(writer)
  return (bytes, start) => ({ itemId: id.decode(bytes, start, resolver).value as unknown })
}
