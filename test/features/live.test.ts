import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import type { Store } from '../../connectors/index.ts'
import { activate, copyOutbox, createVersion, listVersions, reconcile, rollback } from '../../features/index.ts'
import type { FeatureVersion } from '../../schemas/index.ts'
import { openFixture, planOf, project, readyVersion } from './fixture.ts'

const statesOf = async (store: Store): Promise<string[]> => (await listVersions(store, project)).map(({ state }) => state)

test('switch, roll back and forward again: pointer, history and records say the same', async () => {
  const { store, time } = openFixture()
  await readyVersion(store, 1, null)
  await readyVersion(store, 2, 1)
  const first = await activate(store, project, { version: 1, commandId: 'c1' })
  deepStrictEqual(first.change, { seq: 1, version: 1, epoch: 1, action: 'activate', commandId: 'c1', at: 1_000 })
  time.now = 2_000
  await activate(store, project, { version: 2, commandId: 'c2' })
  time.now = 3_000
  strictEqual((await rollback(store, project, 'c3')).change.action, 'rollback')
  time.now = 4_000
  await activate(store, project, { version: 2, commandId: 'c4' })
  deepStrictEqual(await store.live(project), { version: 2, epoch: 4 })
  const [one, two] = await listVersions(store, project)
  deepStrictEqual([one!.state, one!.liveSince, one!.liveUntil], ['kept', 3_000, 4_000])
  deepStrictEqual([two!.state, two!.liveSince, two!.liveUntil], ['live', 4_000, null])
})

test('only a whole version whose parent is live can go live', async () => {
  const { store } = openFixture()
  await readyVersion(store, 1, null)
  await createVersion(store, project, planOf(2, 1), Infinity)
  await readyVersion(store, 3, 2)
  await readyVersion(store, 4, 1)
  const attempt = (version: number, commandId = `try-${version}`) => activate(store, project, { version, commandId })
  await rejects(attempt(3), { code: 'SIDESTREAM_BUILD_REFUSED', message: /follows 2, but nothing is live/ })
  await attempt(1)
  await rejects(attempt(1, 'other'), { code: 'SIDESTREAM_VERSION_STATE_INVALID' })
  await rejects(attempt(2), { code: 'SIDESTREAM_VERSION_STATE_INVALID', message: /still building/ })
  await rejects(attempt(3), { code: 'SIDESTREAM_BUILD_REFUSED', message: /version 1 is live/ })
  await rejects(attempt(9), { code: 'SIDESTREAM_VERSION_UNKNOWN' })
  await rejects(rollback(store, project, 'r1'), { code: 'SIDESTREAM_BUILD_REFUSED', message: /version 1 is the first/ })
  await attempt(4)
  strictEqual((await store.history(project, 0)).length, 2)
})

test('a command that is asked again is done once, whatever happened since', async () => {
  const { store } = openFixture()
  await readyVersion(store, 1, null)
  await readyVersion(store, 2, 1)
  const first = await activate(store, project, { version: 1, commandId: 'c1' })
  await activate(store, project, { version: 2, commandId: 'c2' })
  deepStrictEqual(await activate(store, project, { version: 1, commandId: 'c1' }), { ...first, outcome: 'repeated' })
  await rollback(store, project, 'c3')
  strictEqual((await rollback(store, project, 'c3')).outcome, 'repeated')
  deepStrictEqual(await store.live(project), { version: 1, epoch: 3 })
})

test('of two activations at the same time one wins and the other is refused', async () => {
  const { store } = openFixture()
  await readyVersion(store, 1, null)
  await activate(store, project, { version: 1, commandId: 'c1' })
  await readyVersion(store, 2, 1)
  await readyVersion(store, 3, 1)
  const [two, three] = await Promise.allSettled([2, 3].map((version) => activate(store, project, { version, commandId: `v${version}` })))
  strictEqual(two!.status, 'fulfilled')
  strictEqual(three!.status === 'rejected' && (three!.reason as { code: string }).code, 'SIDESTREAM_BUILD_REFUSED')
  deepStrictEqual(await statesOf(store), ['kept', 'live', 'ready'])
})

test('a pointer that another process moves during the switch is told, and nothing is changed', async () => {
  const { store } = openFixture()
  await readyVersion(store, 1, null)
  await readyVersion(store, 2, null)
  const racing: Store = Object.assign(Object.create(store) as Store, {
    live: async () => {
      const seen = await store.live(project)
      if (seen === undefined) await store.swap({ project, expected: seen, version: 2, action: 'activate', commandId: 'other' })
      return seen
    },
    history: store.history.bind(store),
    getVersion: store.getVersion.bind(store),
    now: store.now.bind(store),
    swap: store.swap.bind(store),
  })
  await rejects(activate(racing, project, { version: 1, commandId: 'c1' }), { code: 'SIDESTREAM_POINTER_MOVED', message: /version 2/ })
  strictEqual((await store.history(project, 0)).length, 1)
})

test('a crash between the swap and the records is repaired at the next start', async () => {
  const { store, time } = openFixture()
  await readyVersion(store, 1, null)
  await readyVersion(store, 2, 1)
  const swap = async (version: number, action: 'activate' | 'rollback', commandId: string): Promise<void> => {
    time.now += 100
    await store.swap({ project, expected: await store.live(project), version, action, commandId })
  }
  await swap(1, 'activate', 'c1')
  await swap(2, 'activate', 'c2')
  deepStrictEqual(await statesOf(store), ['ready', 'ready'])
  deepStrictEqual(await reconcile(store, project), { version: 2, epoch: 2 })
  deepStrictEqual(await statesOf(store), ['kept', 'live'])
  await swap(1, 'rollback', 'c3')
  await swap(2, 'activate', 'c4')
  await reconcile(store, project)
  const records = await listVersions(store, project)
  deepStrictEqual(
    records.map(({ state, liveSince, liveUntil }) => [state, liveSince, liveUntil]),
    [
      ['kept', 1_300, 1_400],
      ['live', 1_400, null],
    ],
  )
  await reconcile(store, project)
  deepStrictEqual(await listVersions(store, project), records)
})

test('the outbox copies every change once it is asked, in order, and only what is new', async () => {
  const { store } = openFixture()
  await readyVersion(store, 1, null)
  await readyVersion(store, 2, 1)
  const rows: FeatureVersion[] = []
  const sink = { append: async (more: readonly FeatureVersion[]) => void rows.push(...more) }
  strictEqual(await copyOutbox(store, project, 0, sink), 0)
  await activate(store, project, { version: 1, commandId: 'c1' })
  await activate(store, project, { version: 2, commandId: 'c2' })
  const last = await copyOutbox(store, project, 0, sink)
  await rollback(store, project, 'c3')
  strictEqual(await copyOutbox(store, project, last, sink), 3)
  strictEqual(await copyOutbox(store, project, 3, sink), 3)
  deepStrictEqual(
    rows.map(({ seq, version, action }) => [seq, version, action]),
    [
      [1, 1, 'activate'],
      [2, 2, 'activate'],
      [3, 1, 'rollback'],
    ],
  )
  deepStrictEqual(rows[1], {
    seq: 2,
    version: 2,
    action: 'activate',
    at: 1_000,
    commandId: 'c2',
    head: 'heads/2',
    codebook: 'books/2',
    trainedUntil: 400,
    teacherUntil: 300,
    codebookUntil: 450,
  })
})

test('rows that the log did not take are copied again', async () => {
  const { store } = openFixture()
  await readyVersion(store, 1, null)
  await activate(store, project, { version: 1, commandId: 'c1' })
  const failing = { append: () => Promise.reject(new Error('no log')) }
  await rejects(copyOutbox(store, project, 0, failing), /no log/)
  const rows: FeatureVersion[] = []
  strictEqual(await copyOutbox(store, project, 0, { append: async (more) => void rows.push(...more) }), 1)
  strictEqual(rows.length, 1)
})
