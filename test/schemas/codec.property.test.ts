import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'
import avro from 'avsc'
import fc from 'fast-check'
import { ownSchema } from '../../schemas/avro-types.ts'
import { Codec, isPoison } from '../../schemas/index.ts'
import type { TopicName } from '../../schemas/index.ts'
import { allSamples, arbitraryRecords } from './sample-records.ts'

const codec = new Codec()

for (const [topic, arbitrary] of Object.entries(arbitraryRecords) as [TopicName, fc.Arbitrary<never>][]) {
  test(`every valid record of ${topic} reads back equal`, () => {
    fc.assert(
      fc.property(arbitrary, (record) => {
        deepStrictEqual(codec.decode(topic, codec.encode(topic, record)), record)
      }),
    )
  })
}

/** Decodes, and fails on anything but a record or a poison error. */
function decodesOrPoisons(topic: TopicName, bytes: Uint8Array): void {
  try {
    codec.decode(topic, bytes)
  } catch (error) {
    ok(isPoison(error), `not a poison error: ${error instanceof Error ? error.stack : String(error)}`)
  }
}

test('random bytes give nothing but poison, framed or not', () => {
  fc.assert(
    fc.property(fc.constantFrom(...allSamples()), fc.uint8Array({ maxLength: 200 }), ([, topic, record], noise) => {
      decodesOrPoisons(topic, noise)
      decodesOrPoisons(topic, Buffer.concat([codec.encode(topic, record).subarray(0, 10), noise]))
    }),
    { numRuns: 2000 },
  )
})

test('a valid record with some bytes changed gives a record or poison', () => {
  const change = fc.tuple(fc.nat(), fc.nat({ max: 255 }))
  fc.assert(
    fc.property(fc.constantFrom(...allSamples()), fc.array(change, { minLength: 1, maxLength: 4 }), ([, topic, record], changes) => {
      const bytes = Buffer.from(codec.encode(topic, record))
      for (const [at, value] of changes) bytes[10 + (at % (bytes.length - 10))] = value
      decodesOrPoisons(topic, bytes)
    }),
    { numRuns: 3000 },
  )
})

test('the hand-written item-content reader accepts what avsc accepts, with equal records', () => {
  const own = ownSchema('item-content')
  const foreign = new Codec()
  // The same body under a schema with one more (empty) field takes the avsc path.
  const json = { ...own.json, name: 'Copy', fields: [...own.json.fields, { name: 'more', type: 'null' }] }
  const fingerprint = Buffer.alloc(8)
  fingerprint.writeBigUInt64LE(BigInt(`0x${foreign.register(json, 'item-content')}`))
  const outcome = (bytes: Uint8Array): unknown => {
    try {
      return foreign.decode('item-content', bytes)
    } catch (error) {
      ok(isPoison(error))
      return 'poison'
    }
  }
  const change = fc.tuple(fc.nat(), fc.nat({ max: 255 }))
  fc.assert(
    fc.property(arbitraryRecords['item-content'], fc.array(change, { maxLength: 3 }), (record, changes) => {
      const bytes = Buffer.from(codec.encode('item-content', record))
      for (const [at, value] of changes) bytes[10 + (at % (bytes.length - 10))] = value
      const copy = Buffer.concat([bytes.subarray(0, 2), fingerprint, bytes.subarray(10)])
      deepStrictEqual(outcome(bytes), outcome(copy))
    }),
    { numRuns: 2000 },
  )
})

test('bodies are plain Avro: avsc alone reads them with the published schema', () => {
  fc.assert(
    fc.property(arbitraryRecords['interactions'], (record) => {
      const type = avro.Type.forSchema(ownSchema('interaction').json as never)
      const value = type.fromBuffer(Buffer.from(codec.encode('interactions', record)).subarray(10)) as Record<string, unknown>
      for (const [field, expected] of Object.entries(record)) deepStrictEqual(value[field], expected)
    }),
    { numRuns: 50 },
  )
})
