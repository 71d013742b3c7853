/** Batches that other producers compressed: Java's own, and damaged or oversized ones. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'

import kafkajs from 'kafkajs'
import { compress as snap } from 'snappyjs'

import { limitBytes, registerCodecs } from '../../../connectors/log/kafka-codecs.ts'
import { SidestreamError } from '../../../schemas/index.ts'
import { isMissing, kafkaToolsDirectory, runKafkaTool } from '../../services/index.ts'
import { gate, start, text } from '../../contract/log-fixture.ts'
import { bareProducer, brokers, freshTopic, openTestLog, skipWithoutKafka } from './kafka-bench.ts'

const tools = skipWithoutKafka === false ? await kafkaToolsDirectory() : ''
const skipWithoutJava = typeof tools === 'string' ? skipWithoutKafka : isMissing(tools) && tools.missing

const lines = Array.from({ length: 3000 }, (_, i) => ({ key: `item-${i % 97}`, value: `${i} ${'größe '.repeat(i % 9)}${i * 7919}` }))

for (const codec of ['gzip', 'snappy', 'lz4', 'zstd']) {
  test(`${codec}: records of Java's producer are read as they were written`, { skip: skipWithoutJava }, async (t) => {
    const log = await openTestLog()
    t.after(() => log.close())
    const topic = await freshTopic(log, 1)
    const args = ['--bootstrap-server', brokers.join(','), '--topic', topic, '--compression-codec', codec, '--batch-size', '200000']
    const reading = ['parse.key=true', 'key.separator=|', 'parse.headers=true', 'headers.delimiter=~'].flatMap((one) => ['--property', one])
    const input = lines.map(({ key, value }, i) => `trace:${i},${i % 3}:b,trace:again~${key}|${value}\n`).join('')
    await runKafkaTool('org.apache.kafka.tools.ConsoleProducer', [...args, ...reading], input)
    const seen: { key: string | null; value: string | null; headers: string }[] = []
    await log.read(topic, ({ records }) => {
      for (const { key, value, headers } of records)
        seen.push({ key: text(key), value: text(value), headers: headers.map(([name, bytes]) => `${name}:${text(bytes)}`).join(',') })
    })
    deepStrictEqual(
      seen,
      lines.map((line, i) => ({ ...line, headers: `trace:${i},${i % 3}:b,trace:again` })),
    )
    let count = 0
    const all = gate()
    const consumer = await start(
      log,
      { group: topic, topics: [topic] },
      { onBatch: async ({ records }) => void ((count += records.length) === lines.length && all.open()) },
    )
    await all.opened
    await consumer.stop({ drainMs: 1000 })
  })
}

test('what we write, with gzip too, is read by Java and is smaller', { skip: skipWithoutJava }, async (t) => {
  const sizes: number[] = []
  for (const compression of ['none', 'gzip'] as const) {
    const log = await openTestLog({ compression })
    t.after(() => log.close())
    const topic = await freshTopic(log, 1)
    const producer = await log.producer()
    const headers = [
      ['trace', Buffer.from('1')],
      ['2', Buffer.from('b')],
      ['trace', Buffer.from('again')],
    ] as const
    const records = lines.map(({ key, value }) => ({
      key: Buffer.from(key),
      value: Buffer.from(value),
      headers,
      timestamp: 1_700_000_000_000,
    }))
    await producer.send(topic, 0, records)
    const args = ['--bootstrap-server', brokers.join(','), '--topic', topic, '--from-beginning', '--max-messages', String(lines.length)]
    const printing = ['print.key=true', 'key.separator=|', 'print.headers=true', 'print.timestamp=true'].flatMap((one) => [
      '--formatter-property',
      one,
    ])
    const printed = await runKafkaTool('org.apache.kafka.tools.consumer.ConsoleConsumer', [...args, ...printing])
    const expected = lines.map(({ key, value }) => `CreateTime:1700000000000|trace:1,2:b,trace:again|${key}|${value}`)
    deepStrictEqual(printed.trimEnd().split('\n'), expected)
    sizes.push(await bytesOnDisk(topic))
  }
  ok(sizes[1]! < sizes[0]! / 3)
})

test('a codec that is not known ends the reader with what to do, and moves nothing', { skip: skipWithoutKafka }, async (t) => {
  const log = await openTestLog()
  t.after(async () => {
    registerCodecs()
    await log.close()
  })
  const topic = await freshTopic(log, 1)
  const producer = await bareProducer()
  await producer.send({ topic, compression: 1, messages: [{ key: 'k', value: 'v'.repeat(1000) }] })
  await producer.disconnect()
  const codecs = kafkajs.CompressionCodecs as unknown as Record<number, unknown>
  codecs[1] = codecs[5] // what a number without a meaning has
  const fatal = gate<Error>()
  const batches: unknown[] = []
  await start(
    log,
    { group: topic, topics: [topic] },
    { onBatch: async (batch) => void batches.push(batch), onFatal: (error) => fatal.open(error) },
  )
  const error = (await fatal.opened) as SidestreamError
  strictEqual(error.code, 'SIDESTREAM_LOG_CODEC_UNKNOWN')
  match(error.message, /gzip, snappy, lz4 or zstd/)
  deepStrictEqual(batches, [])
  await rejects(
    log.read(topic, () => {}),
    { code: 'SIDESTREAM_LOG_CODEC_UNKNOWN' },
  )
  registerCodecs()
  deepStrictEqual(await (await log.admin()).committed(topic, topic), [undefined])
  const values: (string | null)[] = []
  await log.read(topic, ({ records }) => void values.push(...records.map(({ value }) => text(value))))
  deepStrictEqual(values, ['v'.repeat(1000)])
})

async function bytesOnDisk(topic: string): Promise<number> {
  const printed = await runKafkaTool('org.apache.kafka.tools.LogDirsCommand', [
    ...['--bootstrap-server', brokers.join(',')],
    ...['--describe', '--topic-list', topic],
  ])
  return Number(/"size":(\d+)/.exec(printed)![1])
}

type Codec = () => { decompress(bytes: Buffer): Promise<Buffer> }

function codec(id: number): ReturnType<Codec> {
  registerCodecs()
  return (kafkajs.CompressionCodecs as unknown as Record<number, Codec>)[id]!()
}

async function damage(id: number, bytes: Buffer): Promise<SidestreamError> {
  const error = await codec(id)
    .decompress(bytes)
    .then(
      () => undefined,
      (reason: unknown) => reason,
    )
  ok(error instanceof SidestreamError, 'it was taken')
  return error
}

test('damaged and cut batches are told as damage, not guessed', async () => {
  const plain = Buffer.from('the same words, the same words, the same words')
  strictEqual((await codec(2).decompress(snap(plain))).toString(), plain.toString()) // without Java's frame
  const framed = Buffer.concat([Buffer.from('82534e41505059000000000100000001', 'hex'), Buffer.from([0, 0, 0, 9])])
  const cases: [number, Buffer][] = [
    [1, gzipSync(plain).subarray(0, 20)],
    [1, Buffer.from('no gzip at all')],
    [2, snap(plain).subarray(0, 9)],
    [2, framed],
    [3, Buffer.from('no lz4 frame at all')],
    [3, Buffer.from('04224d186040821000000000', 'hex')],
    [4, Buffer.from('no zstd at all')],
    [4, Buffer.from('28b52ffd0458', 'hex')],
  ]
  for (const [id, bytes] of cases) strictEqual((await damage(id, bytes)).code, 'SIDESTREAM_LOG_CORRUPT', `${id} ${bytes.toString('hex')}`)
})

test('a batch that would become too large is refused before it is', async () => {
  const claims = Buffer.alloc(5)
  let size = limitBytes + 1
  for (let i = 0; i < 5; i++, size >>>= 7) claims[i] = (size & 127) | (i < 4 ? 128 : 0)
  match((await damage(2, claims)).message, /too big|expect at most/)
  match((await damage(1, gzipSync(Buffer.alloc(limitBytes + 1)))).message, /larger than|cannot be read/)
  const blocks = Array.from({ length: limitBytes / 4_194_304 + 1 }, () => Buffer.from([1, 0, 0, 0, 0]))
  const lz4 = Buffer.concat([Buffer.from('04224d18607073', 'hex'), ...blocks, Buffer.alloc(4)])
  match((await damage(3, lz4)).message, /more than 134217728/)
  match((await damage(4, Buffer.from('28b52ffd00b8000000', 'hex'))).message, /window is larger/)
})
