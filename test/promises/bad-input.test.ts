/**
 * Promise: bad input becomes a dead letter with its reason, or is counted; the stream goes on, later good records are
 * published, and nothing half-written is readable.
 */
import { deepStrictEqual, notDeepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import avro from 'avsc'

import { hashUnit } from '../../compute/index.ts'
import type { LogProducer, ProducerRecord } from '../../connectors/index.ts'
import { importSources, InputFeed, listDeadLetters, openProject, readFeatures, showVersion, startDaemon } from '../../pipeline/index.ts'
import type { Daemon, Project } from '../../pipeline/index.ts'
import type { ItemContent, SourceEvent } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { hourMs, smallConfig, sourceOf, startTs } from './small-world.ts'

/** The wall clock of every project here: all good events are in its past. */
const nowTs = startTs + 10 * hourMs
const items = Array.from({ length: 60 }, (_, i) => `item-${i}`)

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const floats = (vector: ArrayLike<number>): Buffer => Buffer.from(Float32Array.from(vector).buffer)

function vectorOf(itemId: string, dim: number, edition = 0): Float32Array {
  return Float32Array.from({ length: dim }, (_, d) => hashUnit(edition, `${itemId}/${d}`) * 2 - 1)
}

function contentOf(itemId: string, eventTs: number, edition = 0): ItemContent {
  return { itemId, eventTs, vectors: { image: vectorOf(itemId, 12, edition), text: vectorOf(itemId, 8, edition) } }
}

const contentEvent = (itemId: string, eventTs: number, edition = 0): SourceEvent => ({
  topic: 'item-content',
  itemId,
  eventTs,
  record: contentOf(itemId, eventTs, edition),
})

const clickEvent = (userId: string, itemId: string, eventTs: number, behaviors = ['click']): SourceEvent => ({
  topic: 'interactions',
  eventTs,
  record: { userId, itemId, eventTs, behaviors },
})

/** A project on file log and LMDB with a running daemon; closed after the test. */
async function openRunning(
  t: TestContext,
  changes: object = {},
): Promise<{ project: Project; daemon: Daemon; feed: InputFeed; producer: LogProducer }> {
  const { directory, remove } = await scratchDirectory()
  const config = smallConfig({ dataDir: directory }, { refresh: { everyMs: 0, bootstrapMs: hourMs, evalWindowMs: hourMs }, ...changes })
  const project = await openProject(config, { clock: () => nowTs })
  const daemon = await startDaemon(project)
  const feed = await InputFeed.open(project)
  const producer = await project.log.producer()
  t.after(async () => {
    await feed.close()
    await producer.close()
    await daemon.stop()
    await project.close()
    await remove()
  })
  return { project, daemon, feed, producer }
}

/** Bytes of a record that our own codec refuses to write: our frame, and a body with nothing checked. */
function unchecked(project: Project, topic: 'interactions' | 'item-content', record: object): Uint8Array {
  const own = topic === 'interactions' ? clickEvent('u', 'i', startTs) : contentEvent('i', startTs)
  const frame = project.codec.encode(own.topic as never, own.record as never).subarray(0, 10)
  const file = topic === 'interactions' ? 'interaction' : 'item-content'
  const schema = JSON.parse(readFileSync(new URL(`../../schemas/avro/${file}.avsc`, import.meta.url), 'utf8')) as avro.Schema
  return Buffer.concat([frame, avro.Type.forSchema(schema).toBuffer(record)])
}

interface BadRecord {
  readonly name: string
  readonly topic: 'interactions' | 'item-content'
  readonly code: string
  readonly reason: RegExp
  readonly record: (project: Project) => ProducerRecord
}

const longId = 'x'.repeat(600)
const interaction = {
  userId: 'user-1',
  itemId: 'item-1',
  eventTs: startTs + hourMs,
  behaviors: ['click'],
  surface: null,
  dwellMs: null,
  requestId: null,
}
const content = { itemId: 'item-1', eventTs: startTs + hourMs, vectors: { image: floats(vectorOf('bad', 12)) }, labels: [], authorId: null }
const valueOf = (value: (project: Project) => Uint8Array | null, key: Uint8Array | null = text('k')) => {
  return (project: Project): ProducerRecord => ({ key, value: value(project) })
}
const wrong = (topic: BadRecord['topic'], changes: object): BadRecord['record'] =>
  valueOf((project) => unchecked(project, topic, { ...(topic === 'interactions' ? interaction : content), ...changes }))
const encoded = (project: Project, event: SourceEvent): Uint8Array => project.codec.encode(event.topic as never, event.record as never)
const changed = (bytes: Uint8Array, change: (copy: Uint8Array) => Uint8Array): Uint8Array => change(Uint8Array.from(bytes))

const badRecords: readonly BadRecord[] = (['interactions', 'item-content'] as const).flatMap((topic): BadRecord[] => {
  const good: SourceEvent =
    topic === 'interactions' ? clickEvent('user-1', 'item-1', startTs + hourMs) : contentEvent('item-1', startTs + hourMs, 9)
  const id = topic === 'interactions' ? 'userId' : 'itemId'
  const dayAhead = nowTs + 24 * hourMs
  return [
    {
      name: 'unknown schema',
      topic,
      code: 'SIDESTREAM_RECORD_SCHEMA_UNKNOWN',
      reason: /no schema with fingerprint [0-9a-f]{16}/,
      record: valueOf((project) => changed(encoded(project, good), (bytes) => (bytes.fill(7, 2, 10), bytes))),
    },
    {
      name: 'not framed',
      topic,
      code: 'SIDESTREAM_RECORD_UNDECODABLE',
      reason: /single-object|C3 01|frame/i,
      record: valueOf(() => text('{"itemId":"item-1"}')),
    },
    {
      name: 'truncated',
      topic,
      code: 'SIDESTREAM_RECORD_UNDECODABLE',
      reason: /./,
      record: valueOf((project) => changed(encoded(project, good), (bytes) => bytes.subarray(0, bytes.length - 3))),
    },
    { name: 'empty id', topic, code: 'SIDESTREAM_ID_INVALID', reason: new RegExp(`${id} is empty`), record: wrong(topic, { [id]: '' }) },
    { name: 'id of 600 bytes', topic, code: 'SIDESTREAM_ID_INVALID', reason: /600 bytes.*512/, record: wrong(topic, { [id]: longId }) },
    {
      name: 'a day ahead of its log time',
      topic,
      code: 'SIDESTREAM_EVENT_IN_FUTURE',
      reason: /ahead of its log time/,
      record: wrong(topic, { eventTs: dayAhead }),
    },
    { name: 'a negative time', topic, code: 'SIDESTREAM_RECORD_INVALID', reason: /eventTs/, record: wrong(topic, { eventTs: -5 }) },
  ]
})

const more: readonly BadRecord[] = [
  {
    name: 'unknown behavior',
    topic: 'interactions',
    code: 'SIDESTREAM_BEHAVIOR_UNKNOWN',
    reason: /"teleport" is not configured/,
    record: wrong('interactions', { behaviors: ['click', 'teleport'] }),
  },
  { name: 'no value', topic: 'interactions', code: 'SIDESTREAM_RECORD_UNDECODABLE', reason: /./, record: valueOf(() => null) },
  {
    name: 'wrong dimension',
    topic: 'item-content',
    code: 'SIDESTREAM_VECTOR_DIM_MISMATCH',
    reason: /image.*11.*12/,
    record: wrong('item-content', { vectors: { image: floats(new Float32Array(11)) } }),
  },
  {
    name: 'half a number',
    topic: 'item-content',
    code: 'SIDESTREAM_VECTOR_DIM_MISMATCH',
    reason: /not a multiple of 4/,
    record: wrong('item-content', { vectors: { image: Buffer.alloc(47) } }),
  },
  {
    name: 'NaN',
    topic: 'item-content',
    code: 'SIDESTREAM_VECTOR_NOT_FINITE',
    reason: /image/,
    record: wrong('item-content', { vectors: { image: floats([...vectorOf('bad', 11), NaN]) } }),
  },
  {
    name: 'infinity',
    topic: 'item-content',
    code: 'SIDESTREAM_VECTOR_NOT_FINITE',
    reason: /text/,
    record: wrong('item-content', { vectors: { image: floats(vectorOf('bad', 12)), text: floats([...vectorOf('bad', 7), Infinity]) } }),
  },
  {
    name: 'no vector',
    topic: 'item-content',
    code: 'SIDESTREAM_RECORD_INVALID',
    reason: /vector/,
    record: wrong('item-content', { vectors: {} }),
  },
  {
    name: 'delete without a key',
    topic: 'item-content',
    code: 'SIDESTREAM_ID_INVALID',
    reason: /tombstone.* 0/,
    record: valueOf(() => null, null),
  },
  {
    name: 'delete with an empty key',
    topic: 'item-content',
    code: 'SIDESTREAM_ID_INVALID',
    reason: /tombstone.* 0/,
    record: valueOf(() => null, text('')),
  },
  {
    name: 'delete with a key of 600 bytes',
    topic: 'item-content',
    code: 'SIDESTREAM_ID_INVALID',
    reason: /tombstone.*600/,
    record: valueOf(() => null, text(longId)),
  },
  {
    name: 'delete with a key that is no text',
    topic: 'item-content',
    code: 'SIDESTREAM_ID_INVALID',
    reason: /UTF-8/,
    record: valueOf(() => null, Uint8Array.of(0xff, 0xfe)),
  },
]
const allBad = [...badRecords, ...more]

test('every kind of bad record is a dead letter with code and reason; good ones before, between and after are published', async (t) => {
  const { project, daemon, feed, producer } = await openRunning(t)
  const sent = new Map<string, BadRecord>()
  const before = items.slice(0, 30)
  await feed.append(before.map((id, i) => contentEvent(id, startTs + i * 1000)))
  await feed.append(before.map((id, i) => clickEvent(`user-${i % 5}`, id, startTs + hourMs / 2 + i * 1000)))
  for (const [i, bad] of allBad.entries()) {
    // Into one partition, so that the good record follows the bad one.
    for (const [partition, base] of await producer.send(bad.topic, i % 2, [bad.record(project)]))
      sent.set(`${bad.topic}/${partition}/${base}`, bad)
    await feed.append([
      clickEvent('user-1', 'item-3', startTs + hourMs + i * 1000),
      contentEvent(`between-${i}`, startTs + hourMs + i * 1000),
    ])
  }
  await feed.append(items.slice(30).map((id, i) => contentEvent(id, startTs + 2 * hourMs + i * 1000)))
  await feed.append([contentEvent('last', startTs + 4 * hourMs)])
  await feed.end()
  await daemon.idle()

  const letters = await listDeadLetters(project)
  strictEqual(letters.length, allBad.length)
  for (const letter of letters) {
    const place = `${letter.topic}/${letter.partition}/${letter.offset}`
    const bad = sent.get(place)
    ok(bad !== undefined, `${place}: ${letter.reason}`)
    strictEqual(letter.code, bad.code, `${bad.name} in ${bad.topic}: ${letter.reason}`)
    ok(bad.reason.test(letter.reason), `${bad.name} in ${bad.topic}: ${letter.reason}`)
    const { key, value } = bad.record(project)
    deepStrictEqual([letter.key && [...letter.key], letter.value && [...letter.value]], [key && [...key], value && [...value]], bad.name)
  }

  const { live, ingest, owner } = await daemon.status()
  strictEqual(live, 1)
  strictEqual(ingest?.interactions, before.length + allBad.length)
  strictEqual(ingest.poison, allBad.filter(({ topic }) => topic === 'interactions').length)
  const badContents = allBad.filter(({ topic }) => topic === 'item-content').length
  strictEqual(owner?.poison, badContents)

  const wanted = [...items, ...allBad.map((_, i) => `between-${i}`), 'last']
  const { features } = await readFeatures(project, 'main', wanted)
  deepStrictEqual(
    features.flatMap((feature, i) => (feature === undefined ? [wanted[i]] : [])),
    [],
  )
  const unwanted = ['', 'bad', 'i', 'k', longId].filter((id) => id.length > 0 && id.length <= 512)
  deepStrictEqual(
    (await readFeatures(project, 'main', unwanted)).features,
    unwanted.map(() => undefined),
  )
  // Counted as what they are: the version accounts for every record.
  const coverage = (await showVersion(project, 1)).metrics['coverage'] as { rows: number; tombstones: number; poison: number }[]
  const sum = (pick: (part: (typeof coverage)[number]) => number): number => coverage.reduce((total, part) => total + pick(part), 0)
  deepStrictEqual(
    [sum(({ rows }) => rows), sum(({ tombstones }) => tombstones), sum(({ poison }) => poison)],
    [wanted.length, 0, badContents],
  )
})

test('a bad change of a good item leaves its features as they were; a good one replaces them', async (t) => {
  const { project, daemon, feed, producer } = await openRunning(t)
  // Later items in every partition: version 1 waits for event time to pass its cut.
  const later = items.slice(0, 20).map((id) => contentEvent(`later-${id}`, startTs + 3 * hourMs))
  await feed.append([...items.map((id, i) => contentEvent(id, startTs + i * 1000)), ...later])
  await feed.append([clickEvent('user', 'item-0', startTs + 3 * hourMs)])
  await daemon.idle()
  const read = async (): Promise<readonly number[][]> =>
    (await readFeatures(project, 'main', ['item-0', 'item-1'])).features.map((feature) => [...feature!.vector, ...feature!.sid])
  const before = await read()
  for (const id of ['item-0', 'item-1']) {
    const value = unchecked(project, 'item-content', { ...content, itemId: id, vectors: { image: floats([NaN, ...vectorOf(id, 11, 1)]) } })
    await producer.send('item-content', undefined, [{ key: text(id), value }])
  }
  await daemon.idle()
  deepStrictEqual(await read(), before)
  await feed.append([contentEvent('item-1', startTs + 3 * hourMs, 1)])
  await daemon.idle()
  const after = await read()
  deepStrictEqual(after[0], before[0])
  notDeepStrictEqual(after[1], before[1])
})

test('a message of 10 MiB is refused to who sends it', async (t) => {
  const { project, daemon, feed, producer } = await openRunning(t)
  const huge = new Uint8Array(10 * 1024 * 1024)
  for (const topic of ['item-content', 'interactions']) {
    await rejects(producer.send(topic, 0, [{ key: text('huge'), value: huge }]), {
      code: 'SIDESTREAM_RECORD_TOO_LARGE',
      message: /10485764 bytes.* 1000000/,
    })
  }
  await feed.append([contentEvent('item-0', startTs)])
  await daemon.idle()
  strictEqual(daemon.owner!.lanes.counts.contents, 1)
  deepStrictEqual(await listDeadLetters(project), [])
})

test('what is too large to be fed is a dead letter, cut, and the rest of its batch is kept', async (t) => {
  const { project, daemon, feed } = await openRunning(t, { log: { partitions: 2, recordBytes: 20_000 } })
  const labels = Array.from({ length: 256 }, (_, i) => String(i).padEnd(200, '.'))
  const heavy: SourceEvent = {
    topic: 'item-content',
    itemId: 'heavy',
    eventTs: startTs,
    record: { ...contentOf('heavy', startTs), labels },
  }
  const image = new Float32Array(10 * 1024 * 1024).fill(0.5)
  const huge: SourceEvent = {
    topic: 'item-content',
    itemId: 'huge',
    eventTs: startTs,
    record: { itemId: 'huge', eventTs: startTs, vectors: { image } },
  }
  await feed.append([contentEvent('item-0', startTs), heavy, contentEvent('item-1', startTs), huge, contentEvent('item-2', startTs)])
  await daemon.idle()
  const letters = (await listDeadLetters(project)).sort((a, b) => (a.code < b.code ? 1 : -1))
  deepStrictEqual(
    letters.map(({ code }) => code),
    ['SIDESTREAM_VECTOR_DIM_MISMATCH', 'SIDESTREAM_RECORD_TOO_LARGE'],
  )
  for (const { reason, value } of letters) {
    ok(/value cut from \d+ to \d+ bytes/.test(reason), reason)
    ok(value !== null && value.length <= 20_000)
  }
  strictEqual(daemon.owner!.lanes.counts.contents, 3)
})

test('events out of order find their place, events told twice count once', async (t) => {
  const { daemon, feed } = await openRunning(t)
  const at = (minutes: number): number => startTs + minutes * 60_000
  await feed.append(items.slice(0, 5).map((id) => contentEvent(id, startTs)))
  await feed.append([clickEvent('user', 'item-0', at(1)), clickEvent('user', 'item-1', at(2)), clickEvent('user', 'item-1', at(2))])
  await feed.append([clickEvent('user', 'item-3', at(4)), clickEvent('user', 'item-2', at(3)), clickEvent('user', 'item-0', at(1))])
  await feed.append([clickEvent('user', 'item-3', at(4), ['like', 'click']), clickEvent('user', 'item-4', at(5))])
  await daemon.idle()
  const { interactions, duplicates, outOfOrder, samples, poison } = daemon.ingest!.counts
  deepStrictEqual(
    { interactions, duplicates, outOfOrder, samples, poison },
    { interactions: 6, duplicates: 2, outOfOrder: 1, samples: 5, poison: 0 },
  )
})

test('a refused row of an import is one dead letter, however often the file is imported', async (t) => {
  const { project } = await openRunning(t)
  const events: SourceEvent[] = [
    contentEvent('item-0', startTs),
    {
      topic: 'item-content',
      itemId: 'item-1',
      eventTs: startTs,
      record: { itemId: 'item-1', eventTs: startTs, vectors: { image: Float32Array.of(NaN) } },
    },
    clickEvent('', 'item-0', startTs),
    contentEvent('item-2', startTs),
    clickEvent('user', longId, startTs),
  ]
  for (let run = 0; run < 3; run++) await importSources(project, [sourceOf('bad rows', events)])
  const letters = await listDeadLetters(project)
  deepStrictEqual(
    letters.map(({ code }) => code),
    ['SIDESTREAM_VECTOR_NOT_FINITE', 'SIDESTREAM_ID_INVALID', 'SIDESTREAM_ID_INVALID'],
  )
})
