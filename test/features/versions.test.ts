import { deepStrictEqual, rejects, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'

import {
  createVersion,
  listVersions,
  mayMove,
  moveVersion,
  moves,
  readVersion,
  requireVersion,
  updateVersion,
} from '../../features/index.ts'
import type { VersionRecord, VersionState } from '../../features/index.ts'
import { openFixture, planOf, project, readyVersion, writeItems } from './fixture.ts'

test('a record comes back whole, with the times of the store', async () => {
  const { store, time } = openFixture()
  const created = await createVersion(store, project, planOf(1, null), Infinity)
  deepStrictEqual(created, {
    ...planOf(1, null),
    format: 1,
    project,
    state: 'building',
    createdAt: 1_000,
    readyAt: null,
    liveSince: null,
    liveUntil: null,
    pinnedAt: null,
    goneAt: null,
  })
  time.now = 2_000
  const ready = await updateVersion(store, project, 1, (record, at) => moveVersion({ ...record, metrics: { rows: 7 } }, 'ready', at))
  deepStrictEqual(ready, { ...created, state: 'ready', readyAt: 2_000, metrics: { rows: 7 } })
  deepStrictEqual(await readVersion(store, project, 1), ready)
  deepStrictEqual(await listVersions(store, project), [ready])
})

test('only the moves of the table are legal, and an illegal one says from and to', async () => {
  const { store } = openFixture()
  const record = await createVersion(store, project, planOf(1, null), Infinity)
  const states = Object.keys(moves) as VersionState[]
  const legal: string[] = []
  for (const from of states) {
    for (const to of states) {
      const before: VersionRecord = { ...record, state: from }
      if (mayMove(from, to)) {
        strictEqual(moveVersion(before, to, 5).state, to)
        legal.push(`${from}>${to}`)
      } else {
        throws(() => moveVersion(before, to, 5), { code: 'SIDESTREAM_VERSION_STATE_INVALID', message: new RegExp(`is ${from} .* ${to}`) })
      }
    }
  }
  deepStrictEqual(legal, [
    'building>ready',
    'building>collecting',
    'ready>live',
    'ready>collecting',
    'live>kept',
    'kept>live',
    'kept>collecting',
    'collecting>gone',
  ])
})

test('a restarted build goes on with its number; a used number is refused', async () => {
  const { store, time } = openFixture()
  const first = await createVersion(store, project, planOf(1, null), Infinity)
  time.now = 9_000
  deepStrictEqual(await createVersion(store, project, planOf(1, null, { reason: 'again' }), Infinity), first)
  await readyVersion(store, 2, 1)
  await rejects(createVersion(store, project, planOf(2, 1), Infinity), { code: 'SIDESTREAM_VERSION_STATE_INVALID' })
})

test('a build that would not fit is refused with the arithmetic, before anything exists', async () => {
  const { store } = openFixture()
  await readyVersion(store, 1, null)
  await writeItems(store, 1, 'main', ['a', 'b'], 1)
  const { bytes } = await store.usage(project, 1)
  await createVersion(store, project, planOf(2, 1, { estimateBytes: 500 }), bytes + 500)
  await rejects(createVersion(store, project, planOf(3, 1, { estimateBytes: 300 }), bytes + 799), {
    code: 'SIDESTREAM_BUILD_REFUSED',
    message: new RegExp(
      `version 1 \\(ready\\) ${bytes} \\+ version 2 \\(building\\) 500 \\+ version 3 \\(estimate\\) 300 = ${bytes + 800} bytes, above .* ${bytes + 799}`,
    ),
  })
  strictEqual(await readVersion(store, project, 3), undefined)
  await createVersion(store, project, planOf(3, 1, { estimateBytes: 300 }), bytes + 800)
})

test('changes of one record at the same time are all kept', async () => {
  const { store } = openFixture()
  await createVersion(store, project, planOf(1, null, { metrics: { count: 0 } }), Infinity)
  const increments = Array.from({ length: 20 }, () =>
    updateVersion(store, project, 1, (record) => ({ ...record, metrics: { count: Number(record.metrics['count']) + 1 } })),
  )
  await Promise.all(increments)
  deepStrictEqual((await requireVersion(store, project, 1)).metrics, { count: 20 })
})

test('a change that throws writes nothing and blocks nobody', async () => {
  const { store } = openFixture()
  const created = await createVersion(store, project, planOf(1, null), Infinity)
  const illegal = updateVersion(store, project, 1, (record, at) => moveVersion(record, 'live', at))
  await rejects(illegal, { code: 'SIDESTREAM_VERSION_STATE_INVALID' })
  await rejects(
    updateVersion(store, project, 1, (record) => ({ ...record, trainedUntil: Infinity })),
    { code: 'SIDESTREAM_USAGE_INVALID', message: /trainedUntil/ },
  )
  deepStrictEqual(await readVersion(store, project, 1), created)
})

test('an unknown version and a damaged record are told apart', async () => {
  const { store } = openFixture()
  await rejects(requireVersion(store, project, 4), { code: 'SIDESTREAM_VERSION_UNKNOWN' })
  await store.putVersion(project, 4, new TextEncoder().encode('{"format":2}'))
  await rejects(readVersion(store, project, 4), { code: 'SIDESTREAM_STORE_CORRUPT' })
  await store.putVersion(project, 4, Uint8Array.of(1, 2))
  await rejects(readVersion(store, project, 4), { code: 'SIDESTREAM_STORE_CORRUPT' })
})
