/** Records that another team's producers wrote, with schemas of their own in a schema registry, through the whole job. */
import { deepStrictEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { itemAsOf } from '../../pipeline/content-state.ts'
import { listDeadLetters, openProject, retryDeadLetters, versionDigest } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import { Codec, isSidestreamError } from '../../schemas/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { framed, written } from '../schemas/registry/framed.ts'
import { RegistryPeer } from '../schemas/registry/peer.ts'
import {
  clickOf,
  clicks,
  contentOf,
  hourMs,
  itemIds,
  items,
  onDisk,
  startTs,
  testConfig,
  TestProject,
  tombstoneOf,
  wantedItems,
} from './fixture.ts'
import type { TestOptions } from './fixture.ts'

const later = startTs + 2 * hourMs

const clickSchema = {
  type: 'record',
  name: 'Click',
  namespace: 'com.shop.tracking',
  fields: [
    { name: 'session', type: { type: 'record', name: 'Session', fields: [{ name: 'pages', type: { type: 'map', values: 'int' } }] } },
    { name: 'action', type: { type: 'enum', name: 'Action', symbols: ['view', 'click'] } },
    { name: 'at', type: ['null', { type: 'long', logicalType: 'timestamp-micros' }] },
    { name: 'item_id', type: 'string' },
    { name: 'user_id', type: 'string' },
    { name: 'price', type: ['null', 'double'], default: null },
  ],
}

const articleSchema = {
  type: 'record',
  name: 'Article',
  namespace: 'com.shop.catalogue',
  fields: [
    { name: 'text_embedding', type: ['null', { type: 'array', items: 'double' }], default: null },
    { name: 'image_embedding', type: ['null', { type: 'array', items: 'float' }], default: null },
    { name: 'title', type: 'string' },
    { name: 'ts', type: 'long' },
    { name: 'article', type: 'string' },
  ],
}

const fields = {
  interactions: { behaviors: 'action', eventTs: 'at' },
  'item-content': { itemId: 'article', 'vectors.text': 'text_embedding', 'vectors.image': 'image_embedding' },
}

interface Shop {
  readonly peer: RegistryPeer
  readonly it: TestProject
  /** What the project's log said of records that wait. */
  readonly warnings: string[]
  /** Appends events as the other team's producers do; resolves when they are in the log. */
  append(...events: readonly SourceEvent[]): Promise<void>
  /** The same, and waits until nothing is left to do. */
  feed(...events: readonly SourceEvent[]): Promise<void>
}

async function openShop(t: TestContext, { changes = {}, ...options }: TestOptions = {}, authorization?: string): Promise<Shop> {
  const peer = await RegistryPeer.open(t, authorization === undefined ? {} : { authorization })
  const ids = {
    key: peer.add('item-content-key', '"string"'),
    click: peer.add('interactions-value', clickSchema),
    article: peer.add('item-content-value', articleSchema),
  }
  const warnings: string[] = []
  const wrap = (project: Project): Project => ({
    ...project,
    logger: { ...project.logger, warn: (_, message) => void warnings.push(message) },
  })
  const it = await TestProject.open(t, {
    changes: { schemaRegistry: { url: peer.url, timeoutMs: 1000, fields }, ...changes },
    wrap,
    ...options,
  })
  const append = async (...events: readonly SourceEvent[]): Promise<void> => {
    const producer = await it.project.log.producer()
    for (const event of events) {
      const { topic, key, value } = foreign(ids, event)
      // A tombstone's log time is its event time.
      await producer.send(topic, 0, [{ key, value, ...(value === null && { timestamp: event.eventTs }) }])
    }
    await producer.close()
  }
  const feed = async (...events: readonly SourceEvent[]): Promise<void> => {
    await append(...events)
    await it.daemon.idle()
  }
  return { peer, it, warnings, append, feed }
}

/** An event as the other team's producer writes it. */
function foreign(
  ids: { key: number; click: number; article: number },
  event: SourceEvent,
): { topic: string; key: Uint8Array; value: Uint8Array | null } {
  if (event.topic === 'interactions') {
    const { userId, itemId, eventTs, behaviors } = event.record
    const value = {
      session: { pages: { a: 1 } },
      action: behaviors[0],
      at: BigInt(eventTs) * 1000n,
      item_id: itemId,
      user_id: userId,
      price: 1,
    }
    return { topic: event.topic, key: Buffer.from(userId), value: written(ids.click, clickSchema, value) }
  }
  if (event.topic !== 'item-content') throw new Error(`no schema of the shop for ${event.topic}`)
  const key = written(ids.key, 'string', event.itemId)
  if (event.record === null) return { topic: event.topic, key, value: null }
  const { text, image } = event.record.vectors
  const value = {
    text_embedding: text === undefined ? null : [...text],
    image_embedding: image === undefined ? null : [...image],
    title: 'x',
    ts: BigInt(event.eventTs),
    article: event.itemId,
  }
  return { topic: event.topic, key, value: written(ids.article, articleSchema, value) }
}

/** Resolves when `condition` holds. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`did not happen: ${String(condition)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const codesOf = async (project: Project): Promise<string[]> => (await listDeadLetters(project)).map(({ topic, code }) => `${topic} ${code}`)

test("another team's records give the version that ours give", async (t) => {
  const events = [
    ...items(wantedItems),
    ...clicks(40, startTs + hourMs, itemIds(wantedItems)),
    tombstoneOf('item-3', later),
    contentOf('item-4', later, { lacks: 'text' }),
  ]
  const run = async (it: TestProject, feed: (...events: readonly SourceEvent[]) => Promise<void>): Promise<string> => {
    await feed(...events)
    await it.advance(startTs + 4 * hourMs)
    await it.daemon.refresh('r')
    await it.daemon.idle()
    return versionDigest(it.project, (await it.live())!)
  }
  const own = await TestProject.open(t)
  const expected = await run(own, (...all) => own.feed(all))
  const shop = await openShop(t)
  equal(await run(shop.it, shop.feed), expected)
  deepStrictEqual([await shop.it.live(), await own.live()], [2, 2])
  equal(await shop.it.readOne('item-3'), undefined)
  ok(await shop.it.readOne('item-4'))
  equal((await shop.it.daemon.status()).ingest!.interactions, (await own.daemon.status()).ingest!.interactions)
  deepStrictEqual(await codesOf(shop.it.project), [])
  equal(shop.peer.requests.length, 3, 'each schema is asked for once')
})

test('a registry that is away for a while: records wait, none is lost or set aside', async (t) => {
  const { peer, it, warnings, append } = await openShop(t)
  await it.bootstrap()
  await peer.down()
  await append(contentOf('new', later), clickOf('user-0', 'item-0', later), clickOf('user-0', 'item-1', later + 1))
  await until(() => warnings.length >= 4)
  match(warnings[0]!, /records wait: the schema registry at .* cannot be reached: .*ECONNREFUSED/)
  equal(await it.readOne('new'), undefined)
  deepStrictEqual(await codesOf(it.project), [])
  const before = (await it.daemon.status()).ingest!.interactions
  await peer.up()
  await it.daemon.idle()
  ok(await it.readOne('new'))
  equal((await it.daemon.status()).ingest!.interactions, before + 2)
  deepStrictEqual(await codesOf(it.project), [])
})

test('an unknown schema id is a dead letter; registered later and retried, the record is read', async (t) => {
  const { peer, it, feed } = await openShop(t)
  await it.bootstrap()
  const other = { ...articleSchema, name: 'Story' }
  const id = peer.add('item-content-key', '"string"') + 3
  const vectors = contentOf('late', later)
  ok(vectors.topic === 'item-content' && vectors.record !== null)
  const { text, image } = vectors.record.vectors
  const value = { text_embedding: [...text!], image_embedding: [...image!], title: '', ts: BigInt(later), article: 'late' }
  const producer = await it.project.log.producer()
  await producer.send('item-content', 0, [{ key: Buffer.from('late'), value: written(id, other, value) }])
  await producer.close()
  await feed(contentOf('new', later))
  const [letter, ...more] = await listDeadLetters(it.project)
  deepStrictEqual(more, [])
  equal(letter!.code, 'SIDESTREAM_RECORD_SCHEMA_UNKNOWN')
  match(letter!.reason, /the registry has no schema with id 4/)
  ok(await it.readOne('new'), 'the stream goes on')
  equal(await it.readOne('late'), undefined)

  equal(peer.add('item-content-value', other), id)
  deepStrictEqual((await retryDeadLetters(it.project, [letter!])).retried, 1)
  await it.daemon.idle()
  ok(await it.readOne('late'))
  equal((await listDeadLetters(it.project)).length, 1)
})

test('records that no schema explains are dead letters with the reason', async (t) => {
  const { peer, it, feed } = await openShop(t)
  await it.bootstrap()
  const order = { type: 'record', name: 'Order', fields: [{ name: 'total', type: 'double' }] }
  const bad: [value: Uint8Array, reason: RegExp][] = [
    [
      written(peer.add('orders-value', order), order, { total: 1 }),
      /Order \(registry id 4\) cannot be read as item-content: it has no field for itemId/,
    ],
    [framed(peer.add('json-value', '{}', { schemaType: 'JSON' }), Buffer.from('{}')), /of type JSON; only AVRO is read/],
    [framed(3, Buffer.from([9, 9])), /not a record of schema com\.shop\.catalogue\.Article/],
    [framed(-7, Buffer.from([9, 9])), /which no registry gives/],
  ]
  const producer = await it.project.log.producer()
  for (const [value] of bad) await producer.send('item-content', 0, [{ key: Buffer.from('x'), value }])
  await producer.send('item-content', 0, [{ key: framed(1, Buffer.from([9])), value: null }])
  await producer.close()
  await feed(contentOf('new', later))
  const letters = await listDeadLetters(it.project)
  equal(letters.length, bad.length + 1)
  for (const [i, [, reason]] of bad.entries()) match(letters[i]!.reason, reason)
  match(letters.at(-1)!.reason, /a key is not of its schema/)
  ok(await it.readOne('new'))
})

test('without a registry the dead letter says which option to set', async (t) => {
  const { it, feed } = await openShop(t, { changes: { schemaRegistry: { url: null } } })
  await it.bootstrap()
  await feed(contentOf('new', later), clickOf('user-0', 'item-0', later))
  const letters = await listDeadLetters(it.project)
  deepStrictEqual(letters.map(({ topic, code }) => `${topic} ${code}`).sort(), [
    'interactions SIDESTREAM_RECORD_SCHEMA_UNKNOWN',
    'item-content SIDESTREAM_RECORD_SCHEMA_UNKNOWN',
  ])
  for (const { reason } of letters) match(reason, /set schemaRegistry\.url/)
})

test('wrong credentials stop the daemon with a message, and nothing is set aside', async (t) => {
  const { it, append } = await openShop(t, {}, 'Basic b3RoZXI6b25l')
  const failed = rejects(it.daemon.failed(), (error) => {
    ok(isSidestreamError(error))
    equal(error.code, 'SIDESTREAM_REGISTRY_ACCESS_DENIED')
    return true
  })
  await append(contentOf('new', later))
  await failed
  deepStrictEqual(await codesOf(it.project), [])
})

test('what was taken in can be read after a restart without the registry', async (t) => {
  const { peer, it, feed } = await openShop(t, { changes: onDisk })
  await feed(...items(wantedItems))
  await it.advance(startTs + hourMs)
  equal(await it.live(), 1)
  const before = await versionDigest(it.project, 1)
  await it.stop()
  await peer.down()
  await it.start()
  await it.daemon.idle()
  equal(await versionDigest(it.project, 1), before)
  await it.stop()
  const project = await openProject(testConfig(it.directory, onDisk))
  t.after(() => project.close())
  const state = await project.openState('owner')
  const stored = itemAsOf(state, 'item-5', Infinity)!.slice()
  await state.close()
  equal(new Codec().decode('item-content', stored).itemId, 'item-5')
})
