/** Rounds of a running project that train on several sources, in stages. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { listDeadLetters } from '../../pipeline/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { clicks, hourMs, itemIds, latenessMs, onDisk, startTs, TestProject, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)
const headOf = (hour: number): string => `heads/round-${String(startTs / hourMs + hour).padStart(12, '0')}`

const pairOf = (source: string, queryId: string, targetId: string, eventTs: number, score?: number): SourceEvent => ({
  topic: 'item-pairs',
  eventTs,
  record: { source, queryId, targetId, eventTs, ...(score === undefined ? {} : { score }) },
})
const embeddingOf = (entityId: string, eventTs: number, vector: readonly number[]): SourceEvent => ({
  topic: 'id-embeddings',
  eventTs,
  record: { entity: 'item', entityId, eventTs, vector: Float32Array.from(vector), exposures: 100 },
})

/** Event time of both streams comes to `ts`, by rows that teach nothing. */
const pacers = (ts: number): SourceEvent[] => [
  embeddingOf('pacer', ts + latenessMs, [1, 1]),
  pairOf('tags', 'no item', 'nor this', ts + latenessMs),
  pairOf('other', 'item-1', 'item-2', ts),
]

const training = {
  latenessMs,
  idleMs: hourMs,
  batch: 16,
  warmupSteps: 2,
  learningRate: 0.02,
  teachers: { item: { dim: 2 } },
  sources: {
    clicks: {},
    tags: { kind: 'pairs', learnTemperature: true, scored: true },
    near: { kind: 'pairs', from: 'content' },
    ids: { kind: 'ids', entities: ['item'] },
  },
  stages: [
    { name: 'content', sources: ['tags'], when: 'start', passes: 2 },
    { name: 'refined', sources: ['tags', 'near'], when: 'start', steps: 3, hardNegatives: 2, maskInBatch: true },
    { name: 'together', balance: 'tasks', balanceTemperature: 10, steps: 24 },
  ],
}

async function bootstrap(it: TestProject): Promise<void> {
  await it.bootstrap()
  await it.feed(pacers(startTs + hourMs))
  await it.advance(startTs + hourMs)
}

async function hour(it: TestProject, at: number): Promise<void> {
  const from = startTs + at * hourMs
  await it.feed(
    known.map((id, i) => pairOf('tags', id, known[(i + at) % known.length]!, from + i, i % 3)),
    known.map((id, i) => embeddingOf(id, from + i, [i % 2, 1])),
    clicks(48, from, known),
    pacers(from + hourMs),
  )
  await it.advance(from + hourMs)
}

async function headParts(it: TestProject, at: number): Promise<Record<string, string>> {
  const { parts } = await it.project.artifacts.read(headOf(at))
  return Object.fromEntries([...parts].map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]))
}

test('every source trains the head, the stages of the start once, and a restart between rounds leaves no trace', async (t) => {
  const atOnce = await TestProject.open(t, { changes: { training } })
  await bootstrap(atOnce)
  await hour(atOnce, 1)
  await hour(atOnce, 2)
  const trained = atOnce.control.all('trained').map(({ body }) => body)
  strictEqual(trained.length, 2)
  const [first, second] = trained.map(({ sources }) => sources!)
  // Two passes of two batches, and three steps, before the first round and never again.
  deepStrictEqual(
    trained.map(({ losses }) => losses.length),
    [4 + 3 + 24, 24],
  )
  for (const name of ['clicks', 'tags', 'near', 'ids']) ok(first![name]!['steps']! + second![name]!['steps']! > 0, name)
  strictEqual(
    Object.values(second!).reduce((sum, { steps }) => sum + steps!, 0),
    24,
  )
  deepStrictEqual(new Set(trained[0]!.mined!.map(({ source }) => source)), new Set(['tags', 'near']))
  deepStrictEqual(trained[1]!.mined, [])
  ok(first!['tags']!['tau'] !== 0.2 && first!['clicks']!['tau'] === Math.fround(0.2))
  ok(Math.abs(Object.values(second!).reduce((sum, { share }) => sum + share!, 0) - 1) < 1e-9)
  const status = await atOnce.daemon.status()
  strictEqual(status.training!.sources['ids']!.rows, second!['ids']!['rows'])
  deepStrictEqual([status.owner!.pairs, status.owner!.otherPairs], [2 * known.length + 3, 3])
  strictEqual((await listDeadLetters(atOnce.project)).length, 0)
  const expected = [await headParts(atOnce, 1), await headParts(atOnce, 2)]
  await atOnce.stop()

  const stopped = await TestProject.open(t, { changes: { ...onDisk, training } })
  await bootstrap(stopped)
  await hour(stopped, 1)
  await stopped.stop()
  await stopped.start()
  await hour(stopped, 2)
  deepStrictEqual([await headParts(stopped, 1), await headParts(stopped, 2)], expected)
})

test('a source without rows is passed over, and trains once its rows come', async (t) => {
  const it = await TestProject.open(t, { changes: { training: { ...training, stages: [{ name: 'together' }] } } })
  await bootstrap(it)
  const from = startTs + hourMs
  await it.feed(clicks(48, from, known), pacers(from + hourMs))
  await it.advance(from + hourMs)
  deepStrictEqual(Object.keys(it.control.all('trained')[0]!.body.sources!).sort(), ['clicks', 'near'])
  await hour(it, 2)
  deepStrictEqual(Object.keys(it.control.all('trained')[1]!.body.sources!).sort(), ['clicks', 'ids', 'near', 'tags'])
})

test('a round whose sources with a share have no rows takes no step and is done; the next one trains', async (t) => {
  const stages = [{ name: 'together', balance: 'shares', shares: { clicks: 0, near: 0, tags: 1 }, steps: 6 }]
  const it = await TestProject.open(t, { changes: { training: { ...training, stages } } })
  await bootstrap(it)
  const from = startTs + hourMs
  await it.feed(clicks(48, from, known), pacers(from + hourMs))
  await it.advance(from + hourMs)
  await hour(it, 2)
  deepStrictEqual(
    it.control.all('trained').map(({ body }) => [body.losses.length, Object.keys(body.sources!)]),
    [
      [0, []],
      [6, ['tags']],
    ],
  )
})

test('with a source of pairs a round waits for item-pairs, and pairs that cannot be are dead letters', async (t) => {
  const sources = { clicks: {}, tags: { kind: 'pairs' } }
  const it = await TestProject.open(t, { changes: { training: { ...training, teachers: {}, sources, stages: [{ name: 'together' }] } } })
  await it.bootstrap()
  await it.feed(clicks(48, startTs + hourMs, known))
  await it.advance(startTs + 2 * hourMs)
  strictEqual(it.control.all('trained').length, 0)
  const producer = await it.project.log.producer()
  await producer.send('item-pairs', 0, [{ key: null, value: Buffer.from('no pair') }])
  await producer.close()
  await it.feed(pairOf('tags', 'item-1', 'item-2', startTs + 2 * hourMs + latenessMs))
  strictEqual(it.control.all('trained').length, 1)
  const letters = await listDeadLetters(it.project)
  deepStrictEqual(
    letters.map(({ topic }) => topic),
    ['item-pairs'],
  )
})
