/** What the log says of what was published, counted readiness, and freshness. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { decodeValue } from '../../features/index.ts'
import { publishedVersions } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import { clicks, contentOf, hourMs, itemIds, items, onDisk, startTs, TestProject, tombstoneOf, wantedItems } from './fixture.ts'

const later = startTs + 3 * hourMs

/** Appends a value to item-content as it is. */
async function appendRaw(project: Project, key: string, value: Uint8Array): Promise<void> {
  const producer = await project.log.producer()
  await producer.send('item-content', 0, [{ key: new TextEncoder().encode(key), value }])
  await producer.close()
}

async function twoVersions(it: TestProject): Promise<void> {
  await it.bootstrap()
  await it.feed(items(10, startTs + hourMs, wantedItems), contentOf('item-0', startTs + hourMs, { edition: 1 }))
  await it.feed(tombstoneOf('item-1', startTs + hourMs + 1000))
  await it.advance(startTs + 2 * hourMs)
  await it.daemon.refresh('two')
  await it.feed(contentOf('new', later))
}

test('item-features holds every row of every version as the store has it', async (t) => {
  const it = await TestProject.open(t)
  await twoVersions(it)
  const newest = new Map<string, Uint8Array>()
  const { log, codec, store, config } = it.project
  await log.read('item-features', ({ records }) => {
    for (const { key, value } of records) {
      const { itemId, view, version, value: bytes, ackedTs } = codec.decode('item-features', value!)
      strictEqual(new TextDecoder().decode(key!), itemId)
      strictEqual(ackedTs, it.now)
      newest.set(`${version}/${view}/${itemId}`, bytes)
    }
  })
  let rows = 0
  for (const version of [1, 2]) {
    for (const view of ['main', 'small']) {
      for await (const entries of store.scan({ project: config.project, view, version })) {
        for (const { id, value } of entries) {
          deepStrictEqual(decodeValue(newest.get(`${version}/${view}/${id}`)!), decodeValue(value), `${version} ${view} ${id}`)
          rows++
        }
      }
    }
  }
  strictEqual(rows, newest.size, 'and nothing else')
  // Items, the new one, and the one that makes time go on; deletes are rows too.
  strictEqual(rows, 2 * 2 * (wantedItems + 10 + 1 + 1))
})

test('feature-versions says every move of the pointer once, also after restarts', async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  await it.feed(clicks(60, startTs + hourMs, itemIds(wantedItems)))
  await it.advance(startTs + 3 * hourMs)
  await it.daemon.refresh('two')
  await it.daemon.versions.rollback('back')
  await it.stop()
  await it.start()
  await it.daemon.idle()
  await it.daemon.versions.activate(2, 'forward')
  await it.stop()
  await it.start()
  await it.daemon.idle()
  const { log, codec, store, config } = it.project
  const seqs: number[] = []
  await log.read('feature-versions', ({ records }) => {
    for (const { value } of records) seqs.push(codec.decode('feature-versions', value!).seq)
  })
  deepStrictEqual(seqs, [1, 2, 3, 4])
  const history = await store.history(config.project, 0)
  const published = await publishedVersions(it.project)
  deepStrictEqual(
    published.map(({ seq, version, action, at, commandId }) => ({ seq, version, action, at, commandId })),
    history.map(({ seq, version, action, at, commandId }) => ({ seq, version, action, at, commandId })),
  )
  for (const row of published) {
    const record = (await it.record(row.version))!
    deepStrictEqual(
      [row.head, row.codebook, row.trainedUntil, row.codebookUntil],
      [record.head, record.codebook, record.trainedUntil, record.codebookUntil],
    )
  }
  ok(published[1]!.trainedUntil > 0)
})

test('a version is live only when every record of its cut is counted, bad ones and deletes included', async (t) => {
  const it = await TestProject.open(t, { changes: { log: { partitions: 2 } } })
  await it.feed(items(wantedItems), tombstoneOf('item-2', startTs + 60_000))
  await appendRaw(it.project, 'broken', new Uint8Array([1, 2, 3]))
  await appendRaw(it.project, '', new Uint8Array())
  await it.end()
  strictEqual(await it.live(), 1)
  const record = (await it.record(1))!
  const coverage = record.metrics['coverage'] as {
    partition: number
    next: string
    rows: number
    tombstones: number
    poison: number
    marks: number
  }[]
  deepStrictEqual(
    coverage.map(({ partition }) => partition),
    [0, 1],
  )
  for (const { partition, next, rows, tombstones, poison, marks } of coverage) {
    const cut = record.cut.offsets.find((position) => position.partition === partition)!
    ok(BigInt(next) >= BigInt(cut.next))
    strictEqual(BigInt(rows + tombstones + poison + marks), BigInt(next))
  }
  const total = (count: 'rows' | 'tombstones' | 'poison' | 'marks'): number => coverage.reduce((sum, part) => sum + part[count], 0)
  deepStrictEqual(
    { rows: total('rows'), tombstones: total('tombstones'), poison: total('poison'), marks: total('marks') },
    { rows: wantedItems, tombstones: 1, poison: 2, marks: 2 },
  )
  ok(record.readyAt !== null && record.liveSince !== null && record.readyAt <= record.liveSince)
})

test('freshness is counted per record, of the live version alone, and not for what was there before', async (t) => {
  const slow = { ms: 0 }
  const it = await TestProject.open(t, {
    changes: { refresh: { rollbackWindowMs: hourMs } },
    wrap: (project) => ({
      ...project,
      store: new Proxy(project.store, {
        get: (store, key) => {
          const value: unknown = Reflect.get(store, key, store)
          if (typeof value !== 'function') return value
          if (key !== 'write') return value.bind(store)
          return async (...given: Parameters<typeof store.write>) => {
            it.now += slow.ms
            return store.write(...given)
          }
        },
      }),
    }),
  })
  await it.bootstrap()
  const { freshness } = it.daemon.versions
  strictEqual(freshness.count, 0, 'the first version has read old records only')
  it.now += 1000
  await it.feed(items(3, later, 100))
  strictEqual(freshness.count, 3)
  await it.advance(later + hourMs)
  strictEqual(freshness.count, 3, 'a delete shows no content')

  it.now += 1000
  await it.daemon.refresh('two')
  strictEqual(freshness.count, 3, 'what version 2 read again is not fresh')
  it.now += 1000
  await it.feed(contentOf('new', later + 2 * hourMs))
  ok((await it.readOne('new', { version: 1 })) !== undefined)
  strictEqual(freshness.count, 4, 'version 1 has it too, and does not count')
  strictEqual((await it.daemon.status()).freshness.maxMs, 0, 'the clock stood still')

  it.now += hourMs
  await it.daemon.versions.maintain()
  slow.ms = 20 // by two views: 40 ms until all of a row is there
  await it.feed(contentOf('new', later + 3 * hourMs))
  deepStrictEqual([freshness.count, (await it.daemon.status()).freshness.maxMs], [5, 40])
})
