/** A writer takes a batch through its stages in slices; whatever fails on the way, the batch counts once and in log order. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { decodeValue } from '../../features/index.ts'
import type { Feature } from '../../features/index.ts'
import type { Project } from '../../pipeline/index.ts'
import { SidestreamError } from '../../schemas/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { contentOf, hourMs, itemIds, startTs, TestProject, tombstoneOf } from './fixture.ts'

const later = startTs + 2 * hourMs
/** More than two slices. */
const many = 2600

/** The events of one batch: the first item comes again in the last slice, the second one is deleted there. */
function oneBatch(): SourceEvent[] {
  const ids = itemIds(many, 1000)
  return [...ids.map((id) => contentOf(id, later)), contentOf(ids[0]!, later + 1000, { edition: 1 }), tombstoneOf(ids[1]!, later + 1000)]
}

/** Lets `fail` decide about every write to the store and every send to item-features. */
function failing(fail: (what: 'store' | 'send', count: number) => boolean): (project: Project) => Project {
  const intercept = <T extends object>(target: T, method: keyof T, before: (...args: readonly unknown[]) => void): T =>
    new Proxy(target, {
      get: (of, key) => {
        const value: unknown = Reflect.get(of, key, of)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]) => {
          if (key === method) before(...args)
          return (value as (...args: unknown[]) => unknown).apply(of, args)
        }
      },
    })
  let [stores, sends] = [0, 0]
  const check = (what: 'store' | 'send', count: number): void => {
    if (fail(what, count)) throw new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', `no ${what} this time`)
  }
  return (project) => {
    const producer = async () =>
      intercept(await project.log.producer(), 'send', (topic, _partition, records) => {
        if (topic === 'item-features' && (records as unknown[]).length > 500) check('send', ++sends)
      })
    const log = new Proxy(project.log, {
      get: (of, key) => {
        if (key === 'producer') return producer
        const value: unknown = Reflect.get(of, key, of)
        return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(of) : value
      },
    })
    const store = intercept(project.store, 'write', (_target, entries) => {
      if ((entries as unknown[]).length > 500) check('store', ++stores)
    })
    return { ...project, log, store }
  }
}

interface Outcome {
  readonly rows: readonly (Feature | undefined)[]
  /** Newest item-features record of every item in view `main`. */
  readonly published: ReadonlyMap<string, Feature>
  readonly counted: number
  readonly fresh: number
}

async function outcomeOf(it: TestProject): Promise<Outcome> {
  const before = it.daemon.versions.freshness.count
  const taken = async (): Promise<bigint> => (await it.project.log.admin()).describe('item-features').then(({ end }) => end[0]!)
  const start = await taken()
  await it.feed(oneBatch())
  const published = new Map<string, Feature>()
  await it.project.log.read('item-features', ({ records }) => {
    for (const { offset, value } of records) {
      const { itemId, view, value: bytes } = it.project.codec.decode('item-features', value!)
      if (offset >= start && view === 'main') published.set(itemId, decodeValue(bytes))
    }
  })
  return {
    rows: await it.read(itemIds(many, 1000)),
    published,
    counted: published.size,
    fresh: it.daemon.versions.freshness.count - before,
  }
}

test('a batch whose store or changelog fails in the middle is taken again, and ends as if nothing had failed', async (t) => {
  const calm = await TestProject.open(t)
  await calm.bootstrap()
  const expected = await outcomeOf(calm)
  strictEqual(expected.counted, many)
  strictEqual(expected.rows[1], undefined, 'deleted in the last slice')
  strictEqual(expected.rows[0]!.eventTs, later + 1000, 'changed in the last slice')
  ok(expected.published.get(itemIds(2, 1000)[1]!)!.deleted, 'the delete is what the changelog says last')
  deepStrictEqual(expected.published.get(itemIds(1, 1000)[0]!), expected.rows[0])
  strictEqual(expected.fresh, many + 1)

  for (const what of ['store', 'send'] as const) {
    let failures = 0
    const rough = await TestProject.open(t, {
      // The second of three slices fails at the first try, the first at the second.
      wrap: failing((kind, count) => kind === what && (count === 2 || count === 4) && ++failures > 0),
    })
    await rough.bootstrap()
    deepStrictEqual(await outcomeOf(rough), expected, what)
    ok(failures > 0, `${what} did fail`)
  }
})
