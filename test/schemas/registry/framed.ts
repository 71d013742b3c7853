/** Records as producers of other teams write them: avsc alone, in schema-registry framing. */

import avro from 'avsc'

/** A 64-bit integer as bigint. */
const bigLong = avro.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(value)
    return bytes
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

const longs = ((schema: unknown) => (schema === 'long' || (schema as { type?: unknown }).type === 'long' ? bigLong : undefined)) as never

/** The frame of a schema id before a body. */
export function framed(id: number, body: Uint8Array): Buffer {
  const frame = Buffer.alloc(5)
  frame.writeInt32BE(id, 1)
  return Buffer.concat([frame, body])
}

/** A value as its writer's library makes it; longs are bigint. @param named - schemas that the schema refers to */
export function written(id: number, schema: unknown, value: unknown, named: readonly unknown[] = []): Buffer {
  const options = { typeHook: longs, registry: {} }
  for (const other of named) avro.Type.forSchema(other as never, options)
  return framed(id, avro.Type.forSchema(schema as never, options).toBuffer(value))
}
