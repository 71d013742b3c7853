import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import type { Store, StoreRead } from '../../connectors/index.ts'
import { FeatureReader, activate, moveVersion, rollback, updateVersion } from '../../features/index.ts'
import type { Feature } from '../../features/index.ts'
import { deleteItem, openFixture, project, readyVersion, writeItems } from './fixture.ts'

const ids = ['a', 'b', 'c']
const marks = (features: readonly (Feature | undefined)[]): (number | undefined)[] => features.map((feature) => feature?.vector[0])

async function twoVersions(): Promise<ReturnType<typeof openFixture>> {
  const fixture = openFixture()
  const { store } = fixture
  for (const version of [1, 2]) {
    await readyVersion(store, version, version === 1 ? null : 1)
    for (const view of ['main', 'short']) await writeItems(store, version, view, ids, version)
  }
  await activate(store, project, { version: 1, commandId: 'c1' })
  return fixture
}

/** The same store; `before` runs once, right before the n-th read. */
function interrupted(store: Store, nth: number, before: () => Promise<unknown>): Store {
  let reads = 0
  return new Proxy(store, {
    get: (target, name) => {
      const member = Reflect.get(target, name) as unknown
      if (typeof member !== 'function') return member
      if (name !== 'read') return member.bind(target) as unknown
      return async (...request: Parameters<Store['read']>): Promise<StoreRead> => {
        if (++reads === nth) await before()
        return target.read(...request)
      }
    },
  })
}

test('features are aligned with the ids; absent and deleted items are undefined', async () => {
  const { store } = await twoVersions()
  await deleteItem(store, 1, 'main', 'b')
  const reader = new FeatureReader({ store, project })
  const { version, features } = await reader.read('main', ['c', 'none', 'b', 'a', 'c'])
  strictEqual(version, 1)
  deepStrictEqual(marks(features), [1, undefined, undefined, 1, 1])
  deepStrictEqual([...features[0]!.sid], [1])
  deepStrictEqual(await reader.read('main', []), { version: 1, features: [] })
})

test('a reader follows the live version forward and back', async () => {
  const { store } = await twoVersions()
  const reader = new FeatureReader({ store, project })
  strictEqual((await reader.read('main', ids)).version, 1)
  await activate(store, project, { version: 2, commandId: 'c2' })
  deepStrictEqual(marks((await reader.read('main', ids)).features), [2, 2, 2])
  await rollback(store, project, 'c3')
  const { version, features } = await reader.read('main', ids)
  deepStrictEqual([version, marks(features)], [1, [1, 1, 1]])
})

test('a switch in the middle of a request never mixes versions over its views', async () => {
  for (const nth of [1, 2]) {
    const { store } = await twoVersions()
    const reader = new FeatureReader({
      store: interrupted(store, nth, () => activate(store, project, { version: 2, commandId: 'c2' })),
      project,
    })
    const { version, views } = await reader.readViews(['main', 'short'], ids)
    deepStrictEqual(views.map(marks), [
      [version, version, version],
      [version, version, version],
    ])
    strictEqual(version, 2)
  }
})

test('a version can be named, live or not', async () => {
  const { store } = await twoVersions()
  const reader = new FeatureReader({ store, project })
  const { version, features } = await reader.read('main', ids, { version: 2 })
  deepStrictEqual([version, marks(features)], [2, [2, 2, 2]])
  await rejects(reader.read('main', ids, { version: 7 }), { code: 'SIDESTREAM_VERSION_UNKNOWN' })
})

test('a miss in a version that is being collected is VERSION_GONE, never absence', async () => {
  const { store } = await twoVersions()
  const reader = new FeatureReader({ store, project })
  await updateVersion(store, project, 2, (record, at) => moveVersion(record, 'collecting', at))
  deepStrictEqual(marks((await reader.read('main', ids, { version: 2 })).features), [2, 2, 2])
  await store.collect(project, 2)
  await rejects(reader.read('main', ids, { version: 2 }), { code: 'SIDESTREAM_VERSION_GONE' })
  await updateVersion(store, project, 2, (record, at) => moveVersion(record, 'gone', at))
  await rejects(reader.read('main', ids, { version: 2 }), { code: 'SIDESTREAM_VERSION_GONE' })
  strictEqual((await reader.read('main', ['none'])).features[0], undefined)
})

test('nothing live yet is said so, and a damaged value is never handed out', async () => {
  const { store } = openFixture()
  const reader = new FeatureReader({ store, project })
  await rejects(reader.read('main', ids), { code: 'SIDESTREAM_VERSION_UNKNOWN', message: /nothing is live/ })
  await readyVersion(store, 1, null)
  await activate(store, project, { version: 1, commandId: 'c1' })
  await writeItems(store, 1, 'main', ['a'], 1)
  const { values } = await store.read({ project, view: 'main', version: 1 }, ['a'])
  const damaged = values[0]!
  damaged[15]! += 5 // a newer source, so that the store takes it
  await store.write({ project, view: 'main', version: 1 }, [{ id: 'a', value: damaged }])
  await rejects(reader.read('main', ['a']), { code: 'SIDESTREAM_STORE_CORRUPT' })
})
