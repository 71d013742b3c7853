/** New and changed content is readable in every version that may be read, without any refresh. */
import { deepStrictEqual, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { decodeValue } from '../../features/index.ts'
import type { Feature } from '../../features/index.ts'
import { listDeadLetters } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import type { ItemContent, SourceEvent } from '../../schemas/index.ts'
import { contentOf, hourMs, onDisk, startTs, TestProject, tombstoneOf } from './fixture.ts'

const later = startTs + 2 * hourMs

function hasFeatures(feature: Feature | undefined): void {
  ok(feature !== undefined)
  strictEqual(feature.sid.length, 2)
  ok(feature.sid.every((code) => code < 8))
  const length = Math.hypot(...feature.vector)
  ok(Math.abs(length - 1) < 0.02, `length ${length}`)
}

test('content that is appended after the switch is readable at once, changed, deleted and back again', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  strictEqual(await it.readOne('new'), undefined)

  await it.feed(contentOf('new', later))
  const first = await it.readOne('new')
  hasFeatures(first)
  hasFeatures(await it.readOne('new', { view: 'small' }))
  strictEqual(first!.eventTs, later)

  await it.feed(contentOf('new', later + 1000, { edition: 1 }))
  const changed = await it.readOne('new')
  hasFeatures(changed)
  notDeepStrictEqual(changed!.vector, first!.vector)

  await it.feed(tombstoneOf('new', later + 2000))
  strictEqual(await it.readOne('new'), undefined)
  strictEqual(await it.readOne('new', { view: 'small' }), undefined)
  hasFeatures(await it.readOne('item-0'))

  await it.feed(contentOf('new', later + 3000))
  deepStrictEqual((await it.readOne('new'))!.vector, first!.vector, 'the same content gives the same vector')

  // The later record counts, even when it tells of an earlier time.
  await it.feed(contentOf('new', later - hourMs, { edition: 2 }))
  strictEqual((await it.readOne('new'))!.eventTs, later - hourMs)

  // Items with a modality missing have rows of their own.
  await it.feed(contentOf('whole', later), contentOf('silent', later, { lacks: 'text' }), contentOf('blind', later, { lacks: 'image' }))
  const rows = await it.read(['whole', 'silent', 'blind'])
  for (const row of rows) hasFeatures(row)
  strictEqual(new Set(rows.map((row) => row!.vector.join())).size, 3)
  strictEqual(await it.live(), 1)
})

test('a number that no float32 sum can hold makes a dead letter, and the stream goes on', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  const scaled = (id: string, size: number): SourceEvent => {
    const event = contentOf(id, later)
    const vectors = (event.record as ItemContent).vectors
    for (const vector of Object.values(vectors)) for (let i = 0; i < vector.length; i++) vector[i] = vector[i]! * size
    return event
  }
  await it.feed(scaled('huge', 3e37), scaled('large', 1e11), scaled('tiny', 1e-40), contentOf('new', later))
  strictEqual(await it.readOne('huge'), undefined)
  for (const feature of await it.read(['large', 'tiny', 'new'])) hasFeatures(feature)
  deepStrictEqual(
    (await listDeadLetters(it.project)).map(({ code }) => code),
    ['SIDESTREAM_VECTOR_NOT_FINITE'],
  )
})

test('a writer that reads the log again never shows what was replaced, and ends with the same rows and counts', async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  await it.feed(contentOf('item-0', later, { edition: 1 }), contentOf('gone', later))
  await it.feed(contentOf('item-0', later + 1000, { edition: 2 }), tombstoneOf('gone', later + 1000))
  const newest = (await it.readOne('item-0'))!
  await it.stop()

  // As after a crash that lost the writer's position: everything is written once more, from the log's start.
  await rm(join(it.directory, 'state', 'writer-1'), { recursive: true })
  const seen: (bigint | undefined)[] = []
  let stale = 0
  const watching = (project: Project): Project => {
    const { store } = project
    const watched = new Proxy(store, {
      get: (target, key) => {
        if (key !== 'write') {
          const value: unknown = Reflect.get(target, key, target)
          return typeof value === 'function' ? value.bind(target) : value
        }
        return async (...[to, entries]: Parameters<typeof store.write>) => {
          const outcomes = await store.write(to, entries)
          stale += outcomes.filter((outcome) => outcome === 'stale').length
          const { values } = await store.read(to, ['item-0', 'gone'])
          for (const value of values) seen.push(value && decodeValue(value).offset)
          return outcomes
        }
      },
    })
    return { ...project, store: watched }
  }
  await it.start({ wrap: watching })
  await it.daemon.idle()
  ok(stale > 0, 'the writer did write again')
  strictEqual(new Set(seen.map(String)).size, 2, `rows moved while the log was read again: ${seen.join(' ')}`)
  deepStrictEqual(await it.readOne('item-0'), newest)
  strictEqual(await it.readOne('gone'), undefined)
})
