import { deepStrictEqual, notStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { createWorld, type WorldOptions } from '../../cli/demo/world.ts'
import type { SourceEvent } from '../../schemas/index.ts'

const small: WorldOptions = { seed: 7, items: 600, users: 400, interactions: 8000 }
const world = createWorld(small)
const events = [...world.events()]

/** A digest of every byte of a stream. */
function digest(stream: Iterable<SourceEvent>): string {
  const hash = createHash('sha256')
  for (const event of stream) {
    hash.update(
      JSON.stringify(event, (_, value: unknown) =>
        value instanceof Float32Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') : value,
      ),
    )
  }
  return hash.digest('hex')
}

function contents(): Extract<SourceEvent, { topic: 'item-content' }>[] {
  return events.flatMap((event) => (event.topic === 'item-content' ? [event] : []))
}

function interactions(): Extract<SourceEvent, { topic: 'interactions' }>[] {
  return events.flatMap((event) => (event.topic === 'interactions' ? [event] : []))
}

test('the same seed gives the same bytes, another seed gives others', () => {
  const first = digest(events)
  strictEqual(digest(world.events()), first, 'the same world, streamed again')
  strictEqual(digest(createWorld(small).events()), first, 'a new world of the same options')
  notStrictEqual(digest(createWorld({ ...small, seed: 8 }).events()), first)
})

test('events come in event-time order, as many interactions as asked for', () => {
  for (let i = 1; i < events.length; i++) ok(events[i]!.eventTs >= events[i - 1]!.eventTs)
  strictEqual(interactions().length, 8000)
  const users = new Set(interactions().map((event) => event.record.userId))
  ok(users.size > 200, `${users.size} users are seen`)
  for (const event of events) strictEqual(event.eventTs, event.record?.eventTs ?? event.eventTs)
})

test('nothing is shown before its content or after its deletion', () => {
  const live = new Set<string>()
  let deleted = 0
  for (const event of events) {
    if (event.topic === 'item-content') {
      if (event.record === null) {
        strictEqual(live.delete(event.itemId), true)
        deleted++
      } else live.add(event.itemId)
    } else if (event.topic === 'interactions') ok(live.has(event.record.itemId), `${event.record.itemId} is live`)
  }
  ok(deleted > 0, 'some items are deleted')
})

test('a modality is missing now and then, never both; dimensions are the declared ones', () => {
  let image = 0
  let text = 0
  let all = 0
  for (const { record } of contents()) {
    if (record === null) continue
    all++
    for (const [name, vector] of Object.entries(record.vectors)) {
      strictEqual(vector.length, world.modalities[name]!.dim)
      ok(vector.every(Number.isFinite))
    }
    if (record.vectors['image'] !== undefined) image++
    if (record.vectors['text'] !== undefined) text++
    ok(Object.keys(record.vectors).length > 0)
  }
  const missing = [1 - image / all, 1 - text / all] as const
  ok(Math.abs(missing[0] - 0.12) < 0.05, `image is missing in ${missing[0]}`)
  ok(Math.abs(missing[1] - 0.08) < 0.05, `text is missing in ${missing[1]}`)
})

test('cold items arrive through the whole span, and are met', () => {
  const { startTs, spanMs } = world.options
  const born = new Map<string, number>()
  for (const { itemId, eventTs, record } of contents()) if (record !== null && !born.has(itemId)) born.set(itemId, eventTs)
  strictEqual(born.size, 600)
  const eighths = Array.from({ length: 8 }, () => 0)
  for (const ts of born.values()) if (ts >= startTs) eighths[Math.floor((8 * (ts - startTs)) / spanMs)]!++
  for (const count of eighths) ok(count > 20, `items per eighth of the span: ${eighths.join(', ')}`)
  const met = new Set(interactions().map((event) => event.record.itemId))
  ok([...born.keys()].filter((id) => met.has(id)).length > 480, `${met.size} items are met`)
})

test('popularity is uneven, and behaviors go from views to rare shares', () => {
  const views = new Map<string, number>()
  const kinds = new Map<string, number>()
  for (const { record } of interactions()) {
    views.set(record.itemId, (views.get(record.itemId) ?? 0) + 1)
    for (const kind of record.behaviors) {
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
      ok(world.positiveBehaviors.includes(kind) || world.otherBehaviors.includes(kind))
    }
  }
  const counts = [...views.values()].sort((a, b) => b - a)
  const top = counts.slice(0, counts.length / 10).reduce((sum, count) => sum + count, 0) / 8000
  ok(top > 0.25 && top < 0.7, `the top tenth takes ${top}`)
  const order = ['view', 'click', 'finish', 'like', 'share'].map((kind) => kinds.get(kind) ?? 0)
  deepStrictEqual(
    order,
    [...order].sort((a, b) => b - a),
  )
  strictEqual(order[0], 8000)
  ok(order[1]! / 8000 > 0.2 && order[1]! / 8000 < 0.6, `${order[1]} clicks`)
})

test('ID embeddings are published every few hours, with growing exposures', () => {
  const rounds = new Map<number, Set<string>>()
  const last = new Map<string, number>()
  for (const event of events) {
    if (event.topic !== 'id-embeddings') continue
    const { entity, entityId, exposures, vector } = event.record
    const key = `${entity} ${entityId}`
    rounds.set(event.eventTs, (rounds.get(event.eventTs) ?? new Set()).add(entity))
    ok(exposures > (last.get(key) ?? 0))
    last.set(key, exposures)
    strictEqual(vector.length, 32)
  }
  strictEqual(rounds.size, 10, 'every 4 h of 42 h, not at its ends')
  for (const entities of rounds.values()) deepStrictEqual([...entities].sort(), ['author', 'item'])
})

/** Vectors of items, centred over all items and of unit length; an absent modality is zero. */
function itemVectors(of: (itemId: string) => Readonly<Record<string, Float32Array>>): Map<string, Float64Array> {
  const ids = [...new Set(contents().flatMap((event) => (event.record === null ? [] : [event.itemId])))]
  const parts = ids.map(of)
  const vectors = ids.map((): number[] => [])
  for (const name of [...new Set(parts.flatMap(Object.keys))].sort()) {
    const present = parts.flatMap((part) => part[name] ?? [])
    const dim = present[0]!.length
    const mean = Float64Array.from({ length: dim }, (_, d) => present.reduce((sum, vector) => sum + vector[d]!, 0) / present.length)
    parts.forEach((part, i) => {
      const vector = part[name]
      vectors[i]!.push(...unit(Float64Array.from(mean, (value, d) => (vector === undefined ? 0 : vector[d]! - value))))
    })
  }
  return new Map(ids.map((id, i) => [id, unit(Float64Array.from(vectors[i]!))]))
}

function unit(vector: Float64Array): Float64Array {
  const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
  return norm === 0 ? vector : vector.map((value) => value / norm)
}

/** AUC of the next click against recent clicks of others, by cosine with the mean of the user's last ten. */
function nextClickAuc(vectors: ReadonlyMap<string, Float64Array>): number {
  const histories = new Map<string, string[]>()
  const recent: string[] = []
  let wins = 0
  let pairs = 0
  let turn = 0
  for (const { record } of interactions()) {
    if (!record.behaviors.includes('click')) continue
    const history = histories.get(record.userId) ?? []
    if (history.length >= 3 && recent.length >= 500 && !history.includes(record.itemId)) {
      const user = history.reduce(
        (sum, id) => sum.map((value, d) => value + vectors.get(id)![d]!),
        new Float64Array(vectors.get(record.itemId)!.length),
      )
      const score = (id: string): number => vectors.get(id)!.reduce((sum, value, d) => sum + value * user[d]!, 0)
      const own = score(record.itemId)
      turn++
      for (let j = 0; j < 20; j++) {
        const other = recent[(turn * 7919 + j * 104_729) % recent.length]!
        if (other === record.itemId || history.includes(other)) continue
        const rival = score(other)
        wins += own > rival ? 1 : own === rival ? 0.5 : 0
        pairs++
      }
    }
    histories.set(record.userId, [...history, record.itemId].slice(-10))
    recent.push(record.itemId)
    if (recent.length > 2000) recent.shift()
  }
  ok(pairs > 10_000, `${pairs} pairs`)
  return wins / pairs
}

test('raw content tells something about the next click, the hidden tastes much more', () => {
  const content = new Map(contents().flatMap((event) => (event.record === null ? [] : [[event.itemId, event.record.vectors] as const])))
  const raw = nextClickAuc(itemVectors((id) => content.get(id)!))
  const oracle = nextClickAuc(itemVectors((id) => ({ taste: world.itemTaste(id) })))
  ok(raw > 0.54 && raw < 0.66, `raw content: AUC ${raw}`)
  ok(oracle > raw + 0.06, `tastes: AUC ${oracle}, raw content ${raw}`)
})
