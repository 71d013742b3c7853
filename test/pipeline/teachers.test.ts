/** ID embeddings in the running project: what a round sees of them, what it waits for, and what is set aside. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { memoryState } from '../../connectors/index.ts'
import { hasTaught, nobodyTaught } from '../../distill/index.ts'
import { listDeadLetters } from '../../pipeline/index.ts'
import { entryPuts, Scratch } from '../../pipeline/as-of-state.ts'
import { readCheckpoint } from '../../pipeline/training.ts'
import { configuredTraining } from '../../pipeline/training-plan.ts'
import { roundSources, roundTeachers, type RoundInput } from '../../pipeline/round-sources.ts'
import { ownEmbeddings, seenPut, teacherKey, teacherOptions, teacherPrefix, teachersAsOf } from '../../pipeline/teacher-state.ts'
import { Codec } from '../../schemas/index.ts'
import type { IdEmbedding, SourceEvent } from '../../schemas/index.ts'
import { clickOf, clicks, hourMs, itemIds, items, latenessMs, onDisk, startTs, testConfig, TestProject, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)

function embeddingOf(entity: string, entityId: string, eventTs: number, vector: readonly number[], exposures = 100): SourceEvent {
  return { topic: 'id-embeddings', eventTs, record: { entity, entityId, eventTs, vector: Float32Array.from(vector), exposures } }
}

/** Event time of `id-embeddings` comes to `ts` by a kind that is configured and an ID that no item has. */
const pacer = (ts: number): SourceEvent => embeddingOf('item', 'pacer', ts + latenessMs, [1, 1])

const teachers = { item: { by: 'item' }, author: { by: 'author', dim: 3 } }

/** The bootstrap catalogue, every item of one of two authors. */
const catalogue = (): SourceEvent[] =>
  items(wantedItems).map((event, i) => {
    if (event.topic !== 'item-content' || event.record === null) return event
    return { ...event, record: { ...event.record, authorId: `author-${i % 2}` } }
  })

async function bootstrap(it: TestProject): Promise<void> {
  await it.feed(catalogue())
  await it.feed(pacer(startTs + hourMs))
  await it.advance(startTs + hourMs)
}

test('a round counts what teaches its targets, as of its end', async (t) => {
  const it = await TestProject.open(t, {
    changes: { training: { latenessMs, idleMs: hourMs, teachers: { ...teachers, brand: { by: 'label', labelPrefix: 'brand:' } } } },
  })
  await bootstrap(it)
  const at = startTs + hourMs
  await it.feed(
    known.map((id) => clickOf('user-0', id, at + 1000)),
    known.map((id) => clickOf('user-1', id, at + 2000)),
    embeddingOf('item', 'item-2', at, [1, 2]),
    embeddingOf('item', 'item-3', at + hourMs, [3, 4]), // the next round's
    embeddingOf('author', 'author-1', at, [1, 2, 3]),
    pacer(at + hourMs),
  )
  await it.advance(at + hourMs)
  // All items but the first, which nobody liked anything before: 12 of them are of author-1.
  deepStrictEqual(it.control.all('trained').at(-1)!.body.teachers, {
    item: { present: 1, missing: 22, stale: 0, refused: 0 },
    author: { present: 12, missing: 11, stale: 0, refused: 0 },
    brand: { present: 0, missing: 23, stale: 0, refused: 0 }, // nobody sent any
  })
  const { idEmbeddings, otherIdEmbeddings } = (await it.daemon.status()).owner!
  deepStrictEqual([idEmbeddings, otherIdEmbeddings], [5, 0])
})

test('with teachers a round waits for id-embeddings; without, nobody reads them', async (t) => {
  const it = await TestProject.open(t, { changes: { training: { latenessMs, idleMs: hourMs, teachers } } })
  await bootstrap(it)
  await it.feed(clicks(48, startTs + hourMs, known))
  await it.advance(startTs + 2 * hourMs)
  strictEqual(it.control.all('trained').length, 0)
  await it.feed(pacer(startTs + 2 * hourMs))
  strictEqual(it.control.all('trained').length, 1)
  ok(
    it.control
      .all('cut')
      .at(-1)!
      .body.positions.some(({ topic }) => topic === 'id-embeddings'),
  )

  const plain = await TestProject.open(t)
  await plain.bootstrap()
  await plain.feed(clicks(48, startTs + hourMs, known), embeddingOf('item', 'item-0', startTs, [0, 0]))
  await plain.advance(startTs + 2 * hourMs)
  strictEqual(plain.control.all('trained').length, 1)
  deepStrictEqual(plain.control.all('trained')[0]!.body.teachers, {})
  strictEqual((await listDeadLetters(plain.project)).length, 0)
})

test('embeddings that cannot teach are dead letters, those of other kinds are passed over', async (t) => {
  const it = await TestProject.open(t, { changes: { training: { latenessMs, idleMs: hourMs, teachers } } })
  const atTs = startTs + 1000
  await it.feed(
    embeddingOf('item', 'item-0', atTs, [1, 2]),
    embeddingOf('item', 'item-1', atTs, [1, 2, 3]), // the first one has two numbers
    embeddingOf('item', 'item-2', atTs, [0, 0]),
    embeddingOf('author', 'author-0', atTs, [1, 2]), // configured to have three
    embeddingOf('item', 'item-3', it.now + 10 * hourMs, [1, 2]),
    embeddingOf('song', 'song-0', atTs, [0]),
  )
  const letters = await listDeadLetters(it.project)
  deepStrictEqual(
    letters.map(({ topic, code }) => [topic, code]),
    [
      ['id-embeddings', 'SIDESTREAM_VECTOR_DIM_MISMATCH'],
      ['id-embeddings', 'SIDESTREAM_RECORD_INVALID'],
      ['id-embeddings', 'SIDESTREAM_VECTOR_DIM_MISMATCH'],
      ['id-embeddings', 'SIDESTREAM_EVENT_IN_FUTURE'],
    ],
  )
  const { idEmbeddings, otherIdEmbeddings, poison } = (await it.daemon.status()).owner!
  deepStrictEqual([idEmbeddings, otherIdEmbeddings, poison], [1, 1, 4])
})

test('a running project may get teachers, lose them and get them again', async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  const withTeachers = { adjust: () => testConfig(it.directory, { ...onDisk, training: { latenessMs, idleMs: hourMs, teachers } }) }
  await it.bootstrap()
  await it.feed(clicks(48, startTs + hourMs, known), embeddingOf('item', 'item-0', startTs, [1, 2]))
  await it.advance(startTs + 2 * hourMs)
  await it.stop()

  await it.start(withTeachers)
  await it.feed(clicks(48, startTs + 2 * hourMs, known))
  await it.advance(startTs + 3 * hourMs)
  strictEqual(it.control.all('trained').length, 1)
  await it.feed(pacer(startTs + 3 * hourMs))
  deepStrictEqual(it.control.all('trained').at(-1)!.body.teachers!['item']!['present'], 1)
  await it.stop()

  await it.start()
  await it.feed(clicks(48, startTs + 3 * hourMs, known))
  await it.advance(startTs + 4 * hourMs)
  deepStrictEqual(it.control.all('trained').at(-1)!.body.teachers, {})
  await it.stop()

  await it.start(withTeachers)
  await it.feed(clicks(48, startTs + 4 * hourMs, known), pacer(startTs + 5 * hourMs))
  await it.advance(startTs + 5 * hourMs)
  strictEqual(it.control.all('trained').length, 4)
  deepStrictEqual(it.control.all('trained').at(-1)!.body.teachers!['item']!['present'], 1)
})

test('a checkpoint knows all items whose ID embeddings taught its head, over rounds and a restart', async (t) => {
  const sources = { clicks: {}, ids: { kind: 'ids', entities: ['item'] } }
  const training = { latenessMs, idleMs: hourMs, replayShare: 0, teachers: { item: { by: 'item' } }, sources }
  const it = await TestProject.open(t, { changes: { ...onDisk, training } })
  await bootstrap(it)
  // Nothing is known of the last items, and nobody likes the ones before; users of the second round are others.
  await it.feed(known.slice(0, 20).map((id) => embeddingOf('item', id, startTs + hourMs, [1, Number(id.slice(5))])))
  const round = async (n: number, liked: readonly string[]): Promise<void> => {
    const at = startTs + n * hourMs
    await it.feed(
      liked.flatMap((id, i) => [0, 1, 2].map((user) => clickOf(`user-${n}-${user}`, id, at + 1000 * (i + 1)))),
      pacer(at + hourMs),
    )
    await it.advance(at + hourMs)
  }
  const taught = async (n: number): Promise<string[]> => {
    const name = `heads/round-${String(startTs / hourMs + n).padStart(12, '0')}`
    const { taught: own = nobodyTaught } = await readCheckpoint(it.project, name, { training: false })
    return known.filter((id) => hasTaught(own, id))
  }
  await round(1, known.slice(0, 8))
  deepStrictEqual(await taught(1), known.slice(0, 8))
  await it.stop()
  await it.start()
  await round(2, known.slice(6, 12).concat(known.slice(20)))
  deepStrictEqual(await taught(2), known.slice(0, 12))
  deepStrictEqual(await taught(1), known.slice(0, 8), 'what was written stays')
})

test('the newest offset before the end of a round counts; a tombstone takes an embedding away; exposures are averaged as of then', async () => {
  const codec = new Codec()
  const state = memoryState()
  const scratch = new Scratch()
  let offset = 0n
  const put = async (id: string, eventTs: number, exposures: number | undefined): Promise<void> => {
    const record: IdEmbedding | undefined =
      exposures === undefined ? undefined : { entity: 'item', entityId: id, eventTs, vector: Float32Array.of(exposures), exposures }
    const entry = { offset: offset++, eventTs, value: record && codec.encode('id-embeddings', record) }
    await state.commit({ puts: entryPuts(state, teacherPrefix, [{ id: teacherKey('item', id), entry }], -Infinity, scratch) })
  }
  await put('a', 10, 30)
  await put('a', 20, 50)
  await put('b', 15, 10)
  await put('b', 12, 20) // newer, and it says that it is older: what stood before does not count any more
  await put('c', 11, 90)
  await put('c', 30, undefined)
  const seen = (endTs: number) => {
    const lookup = teachersAsOf(state, codec, endTs, () => undefined)
    return [...['a', 'b', 'c'].map((id) => lookup.embedding('item', id)?.exposures), lookup.meanExposures('item')]
  }
  deepStrictEqual(seen(11), [30, undefined, undefined, 30])
  deepStrictEqual(seen(21), [50, 20, 90, 160 / 3])
  deepStrictEqual(seen(31), [50, 20, undefined, 35])
  deepStrictEqual(teachersAsOf(state, codec, 31, () => undefined).meanExposures('author'), 0)
  // A judge compares with the same, of the kind that is joined by the item; those of another dimension than now are none.
  const own = (dim: number, endTs: number) => {
    const kinds = { author: { by: 'author', dim: 2 }, item: { by: 'item', dim } }
    const found = ownEmbeddings(testConfig('.', { training: { teachers: kinds } }), state, codec, endTs)
    return [...'abc'].map((id) => found?.vector(id)?.[0])
  }
  deepStrictEqual([own(1, 21), own(1, 31), own(2, 31)], [[50, 20, 90], [50, 20, undefined], Array(3).fill(undefined)])
  strictEqual(ownEmbeddings(testConfig('.'), state, codec, 31), undefined)
})

test('a kind of unknown dimension teaches in rounds after its first embedding; others teach before it', async () => {
  const state = memoryState()
  const config = testConfig('.', { training: { teachers } })
  const namesAt = (endTs: number) => teacherOptions(config, state, endTs)!.kinds.map(({ name }) => name)
  deepStrictEqual(namesAt(100), ['author'])
  await state.commit({ puts: [seenPut('item', { dim: 2, sinceTs: 100 })] })
  deepStrictEqual(namesAt(100), ['author'])
  strictEqual(teacherOptions(testConfig('.', { training: { teachers: { item: {} } } }), state, 100), undefined)
  deepStrictEqual(teacherOptions(config, state, 101)!.kinds, [
    { name: 'item', by: 'item', labelPrefix: '', dim: 2 },
    { name: 'author', by: 'author', labelPrefix: '', dim: 3 },
  ])
})

test('the kind that weighs a source is the first of all when it has it, in any order; a source without it does not wait for it', async () => {
  const codec = new Codec()
  const entities = { listed: ['item', 'author'], turned: ['author', 'item'], other: ['author'] }
  const sources = Object.fromEntries(Object.entries(entities).map(([name, own]) => [name, { kind: 'ids', entities: own }]))
  const rows = ['a', 'b'].map((targetId) => ({
    kind: 'sample' as const,
    targetId,
    userId: 'u',
    history: ['c'],
    source: 'clicks',
    eventTs: 5,
  }))
  const taught = async (kinds: object, given: readonly (readonly [entity: string, id: string, vector: readonly number[]])[]) => {
    const config = testConfig('.', { training: { teachers: kinds, sources } })
    const state = memoryState()
    const scratch = new Scratch()
    for (const [n, [entity, entityId, vector]] of given.entries()) {
      const value = codec.encode('id-embeddings', { entity, entityId, eventTs: 10, vector: Float32Array.from(vector), exposures: 50 })
      const entry = { offset: BigInt(n), eventTs: 10, value }
      await state.commit({ puts: entryPuts(state, teacherPrefix, [{ id: teacherKey(entity, entityId), entry }], -Infinity, scratch) })
      await state.commit({ puts: [seenPut(entity, { dim: vector.length, sinceTs: 10 })] })
    }
    const item = (itemId: string) => ({ itemId, eventTs: 1, authorId: `by-${itemId}`, vectors: {} })
    const input: RoundInput = { project: { codec, config }, state, round: 0, endTs: 100, rows, item }
    const lookup = roundTeachers(input)
    const found = await roundSources(input, undefined as never, lookup, 'round')
    const trained = configuredTraining(config, 'rounds', lookup?.dims).sources.map(({ name }) => name)
    return Object.fromEntries(trained.map((name) => [name, [...(found[name] ?? [])].map(({ targetId }) => targetId).sort()]))
  }
  const author = [
    ['author', 'by-a', [1, 2, 3]],
    ['author', 'by-b', [3, 2, 1]],
  ] as const
  const item = ['item', 'a', [1, 2]] as const
  const byItem = { item: {}, author: { by: 'author' } }
  deepStrictEqual(await taught(byItem, [item, ...author]), { listed: ['a'], turned: ['a'], other: ['a', 'b'] })
  deepStrictEqual(await taught(byItem, author), { other: ['a', 'b'] })
  const both = ['a', 'b']
  deepStrictEqual(await taught({ author: { by: 'author' }, item: {} }, [item, ...author]), { listed: both, turned: both, other: both })
})
