import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import type { Store } from '../../connectors/index.ts'
import { abandonVersion, activate, collectVersions, listVersions, rollback } from '../../features/index.ts'
import { openFixture, project, readyVersion, writeItems } from './fixture.ts'

const options = { keepVersions: 1, graceMs: 1_000, rollbackWindowMs: 5_000 }
const statesOf = async (store: Store): Promise<string[]> => (await listVersions(store, project)).map(({ state }) => state)

/** Versions 1 to `count`, each made live in turn, 100 ms apart. */
async function lineage(count: number): Promise<ReturnType<typeof openFixture>> {
  const fixture = openFixture()
  for (let version = 1; version <= count; version++) {
    await readyVersion(fixture.store, version, version === 1 ? null : version - 1)
    await writeItems(fixture.store, version, 'main', ['a', 'b'], version)
    fixture.time.now += 100
    await activate(fixture.store, project, { version, commandId: `c${version}` })
  }
  return fixture
}

test('after its grace an old version goes; the live one, its parent and the newest kept stay', async () => {
  const { store, time } = await lineage(4)
  deepStrictEqual(await collectVersions(store, project, options), [])
  time.now += 1_000
  deepStrictEqual(await collectVersions(store, project, options), [1, 2])
  deepStrictEqual(await statesOf(store), ['gone', 'gone', 'kept', 'live'])
  strictEqual((await store.usage(project, 1)).entries, 0)
  time.now += 1_000_000
  deepStrictEqual(await collectVersions(store, project, options), [])
})

test('the parent stays for the rollback window even when nothing is to be kept', async () => {
  const { store, time } = await lineage(2)
  const none = { ...options, keepVersions: 0 }
  time.now += 4_999
  deepStrictEqual(await collectVersions(store, project, none), [])
  time.now += 1
  deepStrictEqual(await collectVersions(store, project, none), [1])
  await rejects(rollback(store, project, 'r1'), { code: 'SIDESTREAM_VERSION_GONE' })
})

test('after a rollback the version rolled back from is the newest kept', async () => {
  const { store, time } = await lineage(3)
  await rollback(store, project, 'r1')
  time.now += 10_000
  deepStrictEqual(await collectVersions(store, project, options), [1])
  deepStrictEqual(await statesOf(store), ['gone', 'live', 'kept'])
})

test('a pinned version stays, and its grace counts from when the pin was last seen', async () => {
  const { store, time } = await lineage(4)
  await store.pin(project, 1, 'reader', 3_000)
  time.now += 2_000
  deepStrictEqual(await collectVersions(store, project, options), [2])
  time.now += 1_000
  deepStrictEqual(await store.pins(project, 1), [])
  time.now -= 1
  deepStrictEqual(await collectVersions(store, project, options), [])
  time.now += 1_000
  deepStrictEqual(await collectVersions(store, project, options), [1])
})

test('a version waiting to be activated stays; one whose parent is no longer live goes', async () => {
  const { store, time } = await lineage(1)
  await readyVersion(store, 2, 1)
  await readyVersion(store, 3, 1)
  time.now += 10_000
  deepStrictEqual(await collectVersions(store, project, options), [])
  await activate(store, project, { version: 3, commandId: 'c3' })
  deepStrictEqual(await collectVersions(store, project, options), [2])
})

test('a crash after `collecting` is taken up again, also half-way through the deleting', async () => {
  const { store, time } = await lineage(4)
  time.now += 10_000
  const failing = Object.assign(
    new Proxy(store, {
      get: (target, name) => {
        if (name === 'collect') return () => Promise.reject(new Error('killed'))
        const member = Reflect.get(target, name) as unknown
        return typeof member === 'function' ? (member.bind(target) as unknown) : member
      },
    }),
  )
  await rejects(collectVersions(failing, project, options), /killed/)
  deepStrictEqual(await statesOf(store), ['collecting', 'collecting', 'kept', 'live'])
  strictEqual((await store.usage(project, 1)).entries, 2)
  await rejects(activate(store, project, { version: 1, commandId: 'late' }), { code: 'SIDESTREAM_VERSION_GONE' })
  deepStrictEqual(await collectVersions(store, project, options), [1, 2])
  deepStrictEqual(await statesOf(store), ['gone', 'gone', 'kept', 'live'])
})

test('what a late writer put into a version that is gone is deleted again', async () => {
  const { store, time } = await lineage(4)
  time.now += 10_000
  await collectVersions(store, project, options)
  await writeItems(store, 1, 'main', ['late'], 1)
  deepStrictEqual(await collectVersions(store, project, options), [1])
  strictEqual((await store.usage(project, 1)).entries, 0)
})

test('a version that was never live can be given up at once; one that was cannot', async () => {
  const { store } = await lineage(2)
  await readyVersion(store, 3, 2)
  await writeItems(store, 3, 'main', ['a'], 3)
  strictEqual((await abandonVersion(store, project, 3, 'the guard refused it')).reason, 'the guard refused it')
  await abandonVersion(store, project, 3, 'asked again')
  deepStrictEqual(await collectVersions(store, project, options), [3])
  for (const version of [1, 2]) {
    await rejects(abandonVersion(store, project, version, 'no'), { code: 'SIDESTREAM_VERSION_STATE_INVALID' })
  }
})
