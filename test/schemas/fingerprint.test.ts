import { equal } from 'node:assert/strict'
import { test } from 'node:test'
import { Codec, crc64Avro, fingerprintHex } from '../../schemas/index.ts'

/** From the Avro project's own test data, `schema-tests.txt`, as signed 64-bit numbers. */
const published: [string, bigint][] = [
  ['"null"', 7_195_948_357_588_979_594n],
  ['"boolean"', -6_970_731_678_124_411_036n],
  ['"int"', 8_247_732_601_305_521_295n],
  ['"long"', -3_434_872_931_120_570_953n],
  ['"float"', 5_583_340_709_985_441_680n],
  ['"double"', -8_181_574_048_448_539_266n],
  ['"bytes"', 5_746_618_253_357_095_269n],
  ['"string"', -8_142_146_995_180_207_161n],
]
for (const [schema, fingerprint] of published) {
  test(`the fingerprint of ${schema} is the one that Avro publishes`, () => {
    equal(BigInt.asIntN(64, crc64Avro(schema)), fingerprint)
    equal(BigInt.asIntN(64, BigInt(`0x${new Codec().register(schema)}`)), fingerprint)
  })
}

test('docs, aliases, defaults and logical types do not change a fingerprint', () => {
  const codec = new Codec()
  const plain = { type: 'record', name: 'a.B', fields: [{ name: 'x', type: 'long' }] }
  const adorned = {
    name: 'B',
    namespace: 'a',
    type: 'record',
    doc: 'about B',
    aliases: ['C'],
    fields: [{ type: { logicalType: 'timestamp-millis', type: 'long' }, doc: 'x', default: 0, order: 'ignore', aliases: ['y'], name: 'x' }],
  }
  equal(codec.register(adorned), codec.register(plain))
  equal(codec.register(plain), fingerprintHex(crc64Avro('{"name":"a.B","type":"record","fields":[{"name":"x","type":"long"}]}')))
})
