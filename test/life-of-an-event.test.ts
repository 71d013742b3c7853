/**
 * Follows one item content record and one interaction through the daemon, hop by hop, in the order of
 * docs/life-of-an-event.md. At every hop the value is looked at where it lies, and made again by hand with the room's own
 * functions: what the daemon stored must be what the hops give.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { partitionForKey } from '../compute/index.ts'
import { memoryState } from '../connectors/index.ts'
import type { LogRecord } from '../connectors/index.ts'
import { applyInteractions, decodeCheckpoint, HeadEncoder, prepareRound, sampleKey } from '../distill/index.ts'
import type { Head } from '../distill/index.ts'
import { decodeValue, encodeValues, FeatureReader, quantizeRows } from '../features/index.ts'
import { importSources, openProject, startDaemon } from '../pipeline/index.ts'
import type { Daemon, Project } from '../pipeline/index.ts'
import { checkConfig, createItemContentBatch, rowStates } from '../schemas/index.ts'
import type { DistillSample, Interaction, ItemContent, SourceEvent } from '../schemas/index.ts'
import { bundleFromParts, encode } from '../semantic-ids/index.ts'
import { scratchDirectory } from './connectors/scratch-directory.ts'

const hourMs = 3_600_000
/** 2024-01-08T00:00:00Z, the start of a round. */
const startTs = 1_704_672_000_000

const modalities = [
  { name: 'text', dim: 4 },
  { name: 'image', dim: 3 },
]

/** The item that is followed: it has no image. */
const content: ItemContent = {
  itemId: 'lamp',
  eventTs: startTs + 5,
  vectors: { text: Float32Array.of(0.5, -1, 0.25, 2) },
  labels: ['kind:light'],
}

/** The interaction that is followed: ada, who liked two items before, clicks the lamp. */
const interaction: Interaction = { userId: 'ada', itemId: 'lamp', eventTs: startTs + 90_000, behaviors: ['click'] }

/** Whatever else happens: eleven more items, ada's earlier likes, and a few more users. */
function others(): SourceEvent[] {
  const events: SourceEvent[] = []
  for (let i = 0; i < 11; i++) {
    const vectors = {
      text: Float32Array.from({ length: 4 }, (_, d) => Math.sin(i * 3 + d)),
      image: Float32Array.from({ length: 3 }, (_, d) => Math.cos(i * 2 + d)),
    }
    const itemId = `item-${i}`
    events.push({ topic: 'item-content', itemId, eventTs: startTs + i, record: { itemId, eventTs: startTs + i, vectors } })
  }
  const like = (userId: string, itemId: string, eventTs: number): SourceEvent => ({
    topic: 'interactions',
    eventTs,
    record: { userId, itemId, eventTs, behaviors: ['click'] },
  })
  events.push(like('ada', 'item-3', startTs + 60_000), like('ada', 'item-7', startTs + 70_000))
  for (const [u, userId] of ['bob', 'cyd', 'dee'].entries()) {
    for (let i = 0; i < 4; i++) events.push(like(userId, `item-${(u * 3 + i * 2) % 11}`, startTs + 100_000 + i * 10_000 + u))
  }
  return events
}

let project: Project
let daemon: Daemon
let removeDirectory: () => Promise<void>

before(async () => {
  const { directory, remove } = await scratchDirectory()
  removeDirectory = remove
  const config = checkConfig({
    project: 'shop',
    dataDir: directory,
    content: { modalities: Object.fromEntries(modalities.map(({ name, dim }) => [name, { dim }])) },
    interactions: { positiveBehaviors: ['click'] },
    head: { dim: 4, prefixes: [2, 4], hidden: 8 },
    training: { batch: 8 },
    semanticIds: { levels: [3, 2] },
    refresh: { everyMs: 0 },
    log: { driver: 'memory', partitions: 2 },
    store: { driver: 'memory' },
  })
  project = await openProject(config)
  daemon = await startDaemon(project)
  const followed: SourceEvent[] = [
    { topic: 'item-content', itemId: content.itemId, eventTs: content.eventTs, record: content },
    { topic: 'interactions', eventTs: interaction.eventTs, record: interaction },
  ]
  const events = [...others(), ...followed].sort((a, b) => a.eventTs - b.eventTs)
  await importSources(
    project,
    [
      {
        identity: async () => 'life of an event',
        events: async function* () {
          yield events
        },
      },
    ],
    { end: true },
  )
  await daemon.idle()
})

after(async () => {
  await daemon.stop()
  await project.close()
  await removeDirectory()
})

// A group goes on where it stopped: every look is a group of its own.
let looks = 0

/** All records of a topic, by partition. */
async function recordsOf(topic: string): Promise<LogRecord[][]> {
  const { partitions, end } = await (await project.log.admin()).describe(topic)
  const records: LogRecord[][] = Array.from({ length: partitions }, () => [])
  const consumer = await project.log.consumer({ group: `look-${looks++}`, topics: [topic], start: 'earliest' })
  const waiting = setInterval(() => {}, 1000) // nothing of an idle log keeps the process up
  await new Promise<void>((resolve, reject) => {
    const whole = (): boolean => end.every((offset, p) => records[p]!.length >= Number(offset))
    if (whole()) resolve()
    void consumer.run({
      onBatch: async (batch) => {
        records[batch.partition]!.push(...batch.records)
        if (whole()) resolve()
      },
      onFatal: reject,
    })
  })
  clearInterval(waiting)
  await consumer.stop({ drainMs: 0 })
  return records
}

/** The record with a key, where the key's hash says it must be. */
async function recordOf(topic: string, key: string): Promise<{ record: LogRecord; partition: number }> {
  const bytes = new TextEncoder().encode(key)
  const partition = partitionForKey(bytes, 2)
  const record = (await recordsOf(topic))[partition]!.findLast((found) => found.key !== null && Buffer.from(found.key).equals(bytes))
  ok(record !== undefined, `${key} is in partition ${partition} of ${topic}`)
  return { record, partition }
}

async function headOf(name: string): Promise<Head> {
  const { manifest, parts } = await project.artifacts.read(name)
  return decodeCheckpoint({ parts, about: manifest.about }, { training: false }).head
}

test('the life of an item content record', async () => {
  // Hop 1, connectors/log: bytes in the partition of the item's key, in the order of arrival.
  const { record } = await recordOf('item-content', 'lamp')
  strictEqual(Buffer.from(record.value!.subarray(0, 2)).toString('hex'), 'c301', 'single-object Avro')
  deepStrictEqual(
    record.headers.map(([name]) => name),
    ['ss-file', 'ss-row'],
    'an imported record says which row of which file it is',
  )

  // Hop 2, schemas: bytes to vectors of the configured dims; what is absent is marked absent, not filled with zeros that count.
  deepStrictEqual(project.codec.decode('item-content', record.value!), content)
  const batch = createItemContentBatch(1, modalities)
  project.codec.decodeItemContentBatch([record.value], batch)
  deepStrictEqual([batch.ids[0], batch.states[0], batch.eventTs[0]], ['lamp', rowStates.content, content.eventTs])
  deepStrictEqual([...batch.vectors[0]!.subarray(0, 4)], [0.5, -1, 0.25, 2])
  deepStrictEqual([batch.present[0]![0], batch.present[1]![0]], [1, 0])

  // Hop 3, pipeline: the version writer has counted the record in the coverage of version 1.
  const lag = await daemon.versions.lag()
  deepStrictEqual([...lag.keys()], ['v1/item-content/0', 'v1/item-content/1'])
  deepStrictEqual([...new Set(lag.values())], [0n])

  // Hop 4, distill: the head makes one vector of unit length, distilled and content part side by side.
  const head = await headOf('heads/bootstrap')
  const encoder = await HeadEncoder.create(head)
  const { published } = await encoder.encode([content.vectors])
  await encoder.close()
  strictEqual(published.length, 8)
  ok(Math.abs(Math.hypot(...published) - 1) < 1e-6)

  // The bytes that readers get, and hop 6 backwards: header, semantic ID and float16 numbers from one value.
  const target = { project: 'shop', view: 'main', version: 1 }
  const stored = (await project.store.read(target, ['lamp'])).values[0]!
  const feature = decodeValue(stored)
  deepStrictEqual([feature.deleted, feature.dtype, feature.eventTs, feature.offset], [false, 'f16', content.eventTs, record.offset])
  published.forEach((x, d) => ok(Math.abs(x - feature.vector[d]!) <= 2 ** -11, `dim ${d}: half a step of float16 at most`))

  // Hop 5, semantic-ids: anyone can compute the ID again from the published numbers and the bundle.
  const bundle = await project.artifacts.read('codebooks/v1')
  const { codebooks, settings } = bundleFromParts({ parts: bundle.parts, about: bundle.manifest.about })
  deepStrictEqual(codebooks.sizes, [3, 2])
  const codes = encode(feature.vector, codebooks, settings)
  deepStrictEqual([...feature.sid], [...codes])
  strictEqual(feature.sidOrigin, 'encoded')

  // Hop 6, features: the same row, packed by hand, has the same bytes.
  const { stored: numbers, scales } = quantizeRows(feature.vector, 8, 'f16')
  const [value] = encodeValues({
    rows: 1,
    dtype: 'f16',
    dim: 8,
    stored: numbers,
    scales,
    levels: 2,
    codes,
    origins: ['encoded'],
    eventTs: Float64Array.of(content.eventTs),
    stream: feature.stream,
    offsets: BigUint64Array.of(record.offset),
  })
  deepStrictEqual(Buffer.from(value!), Buffer.from(stored))

  // Hop 7, connectors/store: an older or equal source changes nothing; a reader sees the live version alone.
  deepStrictEqual(await project.store.write(target, [{ id: 'lamp', value: value! }]), ['stale'])
  const read = await new FeatureReader({ store: project.store, project: 'shop' }).read('main', ['lamp', 'nobody'])
  deepStrictEqual([read.version, read.features[1]], [1, undefined])
  deepStrictEqual(read.features[0]!.vector, feature.vector)

  // Beside the store: what was published, with version and acknowledgment, for the archive that replay reads.
  const { record: publishedRecord } = await recordOf('item-features', 'lamp')
  const published1 = project.codec.decode('item-features', publishedRecord.value!)
  deepStrictEqual([published1.itemId, published1.view, published1.version], ['lamp', 'main', 1])
  deepStrictEqual(Buffer.from(published1.value), Buffer.from(stored))
})

test('the life of an interaction', async () => {
  // Hop 1, connectors/log: in the partition of the user's key, behind what the user did before.
  const { record, partition } = await recordOf('interactions', 'ada')

  // Hop 2, schemas: bytes to an interaction with known behaviors.
  deepStrictEqual(project.codec.decode('interactions', record.value!, { behaviors: new Set(['click']) }), interaction)

  // Hop 3, pipeline: ingest has taken everything in; no record was set aside.
  const { ingest } = await daemon.status()
  deepStrictEqual([ingest!.interactions, ingest!.poison, ingest!.duplicates], [15, 0, 0])

  // Hop 4, distill: the click joins ada's history; since it is positive it is a target, and her earlier likes are its input.
  const source = `interactions/${partition}`
  const rows = (await recordsOf('interactions'))
    [partition]!.filter(({ value }) => value!.length > 0)
    .map(({ offset, value }) => ({
      offset,
      value: project.codec.decode('interactions', value!),
    }))
  const options = { positiveBehaviors: new Set(['click']), historyLength: 10, sequenceEvents: 1000, emptyHistories: true }
  const next = record.offset + 1n
  const applied = applyInteractions({ source, rows, next }, memoryState(), options)
  const sample = applied.samples.find(({ userId, targetId }) => userId === 'ada' && targetId === 'lamp')!
  const expected: DistillSample = {
    kind: 'sample',
    source: 'seq2item',
    userId: 'ada',
    targetId: 'lamp',
    eventTs: interaction.eventTs,
    history: ['item-3', 'item-7'],
  }
  deepStrictEqual(sample, expected)
  deepStrictEqual(applied.commit.positions, [[source, next]], 'history and position move in one transaction')

  // The sample is in its topic under its key; a watermark says up to where the source has been read.
  const { record: sampleRecord } = await recordOf('distill-samples', sampleKey(sample))
  deepStrictEqual(project.codec.decode('distill-samples', sampleRecord.value!), expected)
  const notes = (await recordsOf('distill-samples')).flat().map(({ value }) => project.codec.decode('distill-samples', value!))
  const marks = notes.filter((note) => note.kind === 'watermark' && note.partition === partition)
  strictEqual(
    marks.some((note) => note.kind === 'watermark' && note.watermarkTs === Infinity),
    true,
    'the import said that nothing more comes',
  )

  // The round of its event time: cut, trained and kept as a checkpoint, from the same rows in the same order.
  const round = Math.floor(interaction.eventTs / hourMs)
  const { control, lanes } = daemon.owner!
  strictEqual(lanes.clock.roundOf(interaction.eventTs), round)
  const trained = control.find('trained', `round-${round}`)!.body
  const samples = notes.filter((note): note is DistillSample => note.kind === 'sample' && note.history.length > 0)
  const prepared = prepareRound(
    samples.map((row) => ({ key: sampleKey(row), waited: false, sample: row })),
    { round, seed: project.config.seed, isKnown: () => true },
  )
  strictEqual(trained.rows, prepared.rows.length)
  ok(prepared.rows.some(({ targetId }) => targetId === 'lamp'))
  strictEqual(trained.losses.length, Math.ceil(prepared.rows.length / project.config.training.batch))
  const [checkpoint] = await project.artifacts.list('heads/round-')
  strictEqual(checkpoint, `heads/round-${String(round).padStart(12, '0')}`)

  // What was learned reaches readers as the next version, or not at all.
  const before = await headOf('heads/bootstrap')
  const learned = await headOf(checkpoint!)
  ok([...learned.parameters].some(([name, { data }]) => data.some((x, i) => x !== before.parameters.get(name)!.data[i])))
  const { outcome, version } = await daemon.refresh('next')
  deepStrictEqual([outcome, version], ['live', 2])
  strictEqual((await new FeatureReader({ store: project.store, project: 'shop' }).read('main', ['lamp'])).version, 2)
})
