/** Items that are deleted and come back: a running project gives them the ID that they had, as `sid refresh` does. */
import { deepStrictEqual, notDeepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Project } from '../../pipeline/index.ts'
import { bundleFromParts, encode, encodeSticky, ParentCodes, type Bundle } from '../../semantic-ids/index.ts'
import { clicks, contentOf, hourMs, itemIds, onDisk, startTs, TestProject, tombstoneOf } from './fixture.ts'

const wanted = 40
const all = itemIds(wanted)
const gone = all.slice(-8)
const stay = all.slice(0, -8)
const changes = { ...onDisk, semanticIds: { churnBudget: 0.1 }, training: { learningRate: 0.3 } }

async function bundleOfVersion(it: TestProject, version: number): Promise<Bundle> {
  const { manifest, parts } = await it.project.artifacts.read(`codebooks/v${version}`)
  return bundleFromParts({ parts, about: manifest.about })
}

async function itemsOf(it: TestProject, version: number): Promise<unknown> {
  return ((await it.record(version))!.metrics as { policy: { items: unknown } }).policy.items
}

const codesOf = (bundle: Bundle, ids: readonly string[]): number[] => [...bundle.parents.lookup(ids)]

async function sids(it: TestProject, ids: readonly string[], version: number): Promise<number[]> {
  return (await it.read(ids, { version })).flatMap((feature) => [...feature!.sid])
}

/** A round of clicks, so that the next version has another head, then a refresh. */
async function refreshAfter(it: TestProject, hour: number): Promise<number> {
  await it.feed(clicks(48, startTs + hour * hourMs, stay))
  await it.advance(startTs + (hour + 1) * hourMs)
  const { outcome, version, message } = await it.daemon.refresh(`hour ${hour}`)
  strictEqual(outcome, 'live', message)
  return version!
}

/** Version 1 with all items, then 2 without those that go, which come back in the hour after it. @returns their IDs before they went */
async function goneAndBack(it: TestProject): Promise<number[]> {
  await it.bootstrap(wanted)
  const before = await sids(it, gone, 1)
  await it.feed(gone.map((id) => tombstoneOf(id, startTs + 1.5 * hourMs)))
  strictEqual(await refreshAfter(it, 1), 2)
  await it.feed(gone.map((id) => contentOf(id, startTs + 2.5 * hourMs)))
  return before
}

test('deleted before a cut and back after it, an item has its ID again, between the builds and at the next one', async (t) => {
  const it = await TestProject.open(t, { changes })
  const before = await goneAndBack(it)
  deepStrictEqual(await itemsOf(it, 2), { known: stay.length, returned: 0, fresh: 0, vanished: gone.length, forgotten: 0 })
  const { codebooks, settings, parents, delta } = await bundleOfVersion(it, 2)
  deepStrictEqual([...parents.lookup(gone)], before, 'the codes that version 1 published')
  const rows = (await it.read(gone, { version: 2 })).map((feature) => feature!)
  const vectors = Float32Array.from(rows.flatMap(({ vector }) => [...vector]))
  const back = rows.flatMap(({ sid }) => [...sid])
  deepStrictEqual(back, [...encodeSticky(vectors, codebooks, settings, { old: parents.lookup(gone), delta })])
  notDeepStrictEqual(back, [...encode(vectors, codebooks, settings)], 'a new item would have another ID')
  ok(rows.some(({ sidOrigin }) => sidOrigin === 'kept'))

  const publishedThen = await sids(it, all, 2)
  strictEqual(await refreshAfter(it, 3), 3)
  deepStrictEqual(await itemsOf(it, 3), { known: wanted, returned: gone.length, fresh: 0, vanished: 0, forgotten: 0 })
  deepStrictEqual(codesOf(await bundleOfVersion(it, 3), all), publishedThen, 'what readers had is what the refresh keeps')
  const after = await sids(it, all, 3)
  const changed = all.filter((_, row) => after.slice(row * 2, row * 2 + 2).join() !== publishedThen.slice(row * 2, row * 2 + 2).join())
  const { policy } = (await it.record(3))!.metrics as { policy: { churn: { full: number } } }
  deepStrictEqual([policy.churn.full, changed.length / wanted <= 0.1], [changed.length / wanted, true])

  // Nobody has come back by the next one: they were in its parent's cut.
  strictEqual(await refreshAfter(it, 5), 4)
  deepStrictEqual(await itemsOf(it, 4), { known: wanted, returned: 0, fresh: 0, vanished: 0, forgotten: 0 })
})

test('the ID outlasts builds without the item; a re-base forgets it', async (t) => {
  const it = await TestProject.open(t, { changes })
  await it.bootstrap(wanted)
  const before = await sids(it, gone, 1)
  await it.feed(gone.map((id) => tombstoneOf(id, startTs + 1.5 * hourMs)))
  for (const hour of [1, 2, 3]) await refreshAfter(it, hour)
  deepStrictEqual(codesOf(await bundleOfVersion(it, 4), gone), before)
  deepStrictEqual(await itemsOf(it, 4), { known: stay.length, returned: 0, fresh: 0, vanished: gone.length, forgotten: 0 })

  await it.stop()
  await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, idSpace: 'second' } }) })
  strictEqual(await refreshAfter(it, 4), 5)
  deepStrictEqual(await itemsOf(it, 5), { known: stay.length, returned: 0, fresh: 0, vanished: gone.length, forgotten: 0 })
  await it.feed(gone.map((id) => contentOf(id, startTs + 5.5 * hourMs)))
  deepStrictEqual([...new Set((await it.read(gone)).map((feature) => feature!.sidOrigin))], ['encoded'])
  strictEqual(await refreshAfter(it, 6), 6)
  deepStrictEqual(await itemsOf(it, 6), { known: wanted, returned: 0, fresh: 0, vanished: 0, forgotten: 0 })
})

test('after a roll-back the next build goes on from what the version before remembered', async (t) => {
  const it = await TestProject.open(t, { changes })
  await goneAndBack(it)
  const published = await sids(it, gone, 1)
  await it.daemon.versions.rollback('back')
  strictEqual(await it.live(), 1)
  await it.feed(gone.slice(4).map((id) => tombstoneOf(id, startTs + 3.2 * hourMs)))
  strictEqual(await refreshAfter(it, 3), 3)
  strictEqual((await it.record(3))!.parent, 1)
  deepStrictEqual(codesOf(await bundleOfVersion(it, 3), gone), published)
  deepStrictEqual(await itemsOf(it, 3), { known: wanted - 4, returned: 0, fresh: 0, vanished: 4, forgotten: 0 })
})

/** The project, in which storing an artifact ends as a process that is killed just before does. */
function crashingAt(project: Project, name: string): Project {
  const { artifacts } = project
  const write: Project['artifacts']['write'] = async (artifact, parts, about) => {
    if (artifact === name) throw new Error('crash')
    return artifacts.write(artifact, parts, about)
  }
  return {
    ...project,
    artifacts: { write, read: (one) => artifacts.read(one), list: (one) => artifacts.list(one), remove: (one) => artifacts.remove(one) },
  }
}

async function bytesOf(it: TestProject, name: string): Promise<object> {
  return Object.fromEntries(
    [...(await it.project.artifacts.read(name)).parts].map(([part, bytes]) => [part, Buffer.from(bytes).toString('hex')]),
  )
}

async function crashed(t: TestContext, name: string): Promise<TestProject> {
  const it = await TestProject.open(t, { changes })
  await goneAndBack(it)
  await it.feed(clicks(48, startTs + 3 * hourMs, stay))
  await it.advance(startTs + 4 * hourMs)
  await it.stop()
  await it.start({ wrap: (project) => crashingAt(project, name) })
  await rejects(it.daemon.refresh('hour 3'), { message: 'crash' })
  await it.stop()
  await it.start()
  await it.daemon.idle()
  strictEqual((await it.daemon.refresh('hour 3')).version, 3)
  return it
}

test('a build that was killed between its cut codes and its codebooks gives the same bytes, whatever it had stored', async (t) => {
  const alone = await TestProject.open(t, { changes })
  await goneAndBack(alone)
  strictEqual(await refreshAfter(alone, 3), 3)
  const names = ['cut-codes/v3', 'codebooks/v3']
  const expected = await Promise.all(names.map((name) => bytesOf(alone, name)))
  for (const at of names) {
    const it = await crashed(t, at)
    deepStrictEqual(await Promise.all(names.map((name) => bytesOf(it, name))), expected, `crash at ${at}`)
    await it.stop()
  }
  const stale = ParentCodes.of(['other'], new Uint16Array(2), 2).toBytes()
  await alone.project.artifacts.write('cut-codes/v4', new Map([['cut-codes.bin', stale]]), {})
  strictEqual(await refreshAfter(alone, 5), 4)
  const { parts } = await alone.project.artifacts.read('cut-codes/v4')
  deepStrictEqual([...ParentCodes.fromBytes(parts.get('cut-codes.bin')!).lookup(all)], await sids(alone, all, 4))
})

test('cut codes of versions that are gone go with the next build; without any, only the parent table is remembered', async (t) => {
  const it = await TestProject.open(t, { changes: { ...changes, store: { ...onDisk.store, keepVersions: 1, graceMs: 60_000 } } })
  await it.bootstrap(wanted)
  for (const hour of [1, 2, 3]) await refreshAfter(it, hour)
  deepStrictEqual(await it.project.artifacts.list('cut-codes/'), ['cut-codes/v1', 'cut-codes/v2', 'cut-codes/v3', 'cut-codes/v4'])
  // Past every window; the daemon may have collected before it is asked to.
  it.now += 1000 * hourMs
  await it.daemon.versions.maintain()
  deepStrictEqual(await Promise.all([1, 2, 3].map(async (version) => (await it.record(version))!.state)), ['gone', 'gone', 'kept'])
  await refreshAfter(it, 4)
  deepStrictEqual(await it.project.artifacts.list('cut-codes/'), ['cut-codes/v3', 'cut-codes/v4', 'cut-codes/v5'])

  await it.project.artifacts.remove('cut-codes/v5')
  const before = codesOf(await bundleOfVersion(it, 5), gone)
  await it.feed(gone.map((id) => tombstoneOf(id, startTs + 5.5 * hourMs)))
  strictEqual(await refreshAfter(it, 5), 6)
  deepStrictEqual(codesOf(await bundleOfVersion(it, 6), gone), before)
})
