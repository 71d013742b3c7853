/** A capacity of semantic IDs in a running project: kept at the cut of every build, by moves that last as long as the content. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { bundleFromParts, SemanticIdEncoder, type CollisionReport } from '../../semantic-ids/index.ts'
import type { Feature } from '../../features/index.ts'
import { clicks, contentOf, hourMs, itemIds, items, onDisk, startTs, TestProject } from './fixture.ts'

const wanted = 60
const capacity = 2
const known = itemIds(wanted)
const all = itemIds(wanted + 20)
const semanticIds = { levels: [4, 16], capacity }

interface Policy {
  readonly churn?: { readonly full: number }
  readonly collisions?: CollisionReport
}

async function policyOf(it: TestProject, version: number): Promise<Policy> {
  return ((await it.record(version))!.metrics as { policy: Policy }).policy
}

async function readAll(it: TestProject, ids: readonly string[], version: number): Promise<Feature[]> {
  return (await it.read(ids, { version })).map((feature) => feature!)
}

const sids = (features: readonly Feature[]): string[] => features.map(({ sid }) => [...sid].join('-'))
const movedIn = (features: readonly Feature[]): number => features.filter(({ sidOrigin }) => sidOrigin === 'moved').length

function fullest(of: readonly string[]): number {
  const held = new Map<string, number>()
  for (const sid of of) held.set(sid, (held.get(sid) ?? 0) + 1)
  return Math.max(...held.values())
}

/** Codes and origins of every row are what the version's bundle makes of the row's own bytes. */
async function requireCheckable(it: TestProject, ids: readonly string[], version: number): Promise<void> {
  const { manifest, parts } = await it.project.artifacts.read((await it.record(version))!.codebook)
  const features = await readAll(it, ids, version)
  const encoder = await SemanticIdEncoder.create(bundleFromParts({ parts, about: manifest.about }))
  try {
    const { codes, origins } = await encoder.encode(Float32Array.from(features.flatMap(({ vector }) => [...vector])), ids)
    const levels = codes.length / ids.length
    deepStrictEqual(
      features.map(({ sid, sidOrigin }) => [...sid, sidOrigin]),
      ids.map((_, row) => [...codes.subarray(row * levels, (row + 1) * levels), origins[row]]),
    )
  } finally {
    await encoder.close()
  }
}

for (const dtype of ['f32', 'f16', 'i8'] as const) {
  test(`at the cut no ID holds more; who keeps a published ID never moves; moved rows say so (${dtype})`, async (t) => {
    const it = await TestProject.open(t, { changes: { semanticIds, views: { main: { prefix: 'full', dtype } } } })
    await it.bootstrap(wanted)
    const first = await readAll(it, known, 1)
    const { collisions } = await policyOf(it, 1)
    ok(collisions!.moved > 0 && collisions!.unresolved === 0, JSON.stringify(collisions))
    deepStrictEqual([fullest(sids(first)), movedIn(first)], [capacity, collisions!.moved])
    await requireCheckable(it, known, 1)

    await it.feed(items(20, startTs + hourMs, wanted), clicks(48, startTs + hourMs, known))
    await it.advance(startTs + 2 * hourMs)
    const before = sids(await readAll(it, all, 1))
    strictEqual((await it.daemon.refresh('now')).version, 2)
    const after = await readAll(it, all, 2)
    const policy = await policyOf(it, 2)
    const changed = sids(after).filter((sid, row) => sid !== before[row]).length / all.length
    deepStrictEqual([policy.churn!.full, changed <= 0.3], [changed, true])
    // Items that came between the builds were encoded freely: what is beyond the capacity by them is published, and stays.
    const beyond = Math.max(capacity, fullest(before))
    ok(fullest(sids(after)) <= beyond && policy.collisions!.publishedOver <= 20, JSON.stringify(policy.collisions))
    strictEqual(movedIn(after), policy.collisions!.moved)
    for (const [row, { sidOrigin }] of after.entries()) if (sids(after)[row] !== before[row]) ok(sidOrigin !== 'kept')
    await requireCheckable(it, all, 2)
  })
}

test('with a budget of 0 no published ID moves; items that came between two builds are beyond the capacity, and counted', async (t) => {
  const it = await TestProject.open(t, { changes: { semanticIds: { ...semanticIds, churnBudget: 0 } } })
  await it.bootstrap(wanted)
  await it.feed(items(20, startTs + hourMs, wanted))
  await it.advance(startTs + 2 * hourMs)
  const before = sids(await readAll(it, all, 1))
  ok(fullest(before) > capacity)
  strictEqual((await it.daemon.refresh('now')).version, 2)
  deepStrictEqual(sids(await readAll(it, all, 2)), before)
  const { collisions } = await policyOf(it, 2)
  ok(collisions!.publishedOver > 0 && collisions!.moved === 0)
})

test('a row is the same in every batch: sent again alone it keeps its move, changed content does not, and back it has it again', async (t) => {
  const it = await TestProject.open(t, { changes: { semanticIds } })
  await it.bootstrap(wanted)
  const first = await readAll(it, known, 1)
  const row = first.findIndex(({ sidOrigin }) => sidOrigin === 'moved')
  const id = known[row]!
  const seen = async (edition: number, at: number): Promise<string> => {
    await it.feed(contentOf(id, startTs + hourMs + at, { edition }))
    const { sid, sidOrigin } = (await it.readOne(id))!
    return `${[...sid].join('-')} ${sidOrigin}`
  }
  const own = `${sids(first)[row]} moved`
  strictEqual(await seen(0, 1000), own)
  ok((await seen(1, 2000)).endsWith(' encoded'))
  strictEqual(await seen(0, 3000), own)
})

test('a capacity holds in a re-base too; one that is dropped is told', async (t) => {
  const warnings: string[] = []
  const it = await TestProject.open(t, {
    changes: { ...onDisk, semanticIds },
    wrap: (project) => ({
      ...project,
      logger: { ...project.logger, info: () => {}, error: () => {}, warn: (_: object, text: string) => void warnings.push(text) } as never,
    }),
  })
  await it.bootstrap(wanted)
  const restart = async (changes: object): Promise<void> => {
    await it.stop()
    await it.start({ adjust: (config) => ({ ...config, semanticIds: { ...config.semanticIds, ...changes } }) })
  }
  await restart({ idSpace: 'second', capacity: 1 })
  strictEqual((await it.daemon.refresh('rebase')).version, 2)
  const { collisions } = await policyOf(it, 2)
  const second = await readAll(it, known, 2)
  deepStrictEqual([fullest(sids(second)), movedIn(second)], [collisions!.unresolved === 0 ? 1 : fullest(sids(second)), collisions!.moved])
  ok(!warnings.some((text) => text.includes('capacity')))
  await restart({ idSpace: 'second', capacity: null })
  strictEqual((await it.daemon.refresh('dropped')).version, 3)
  ok(warnings.some((text) => /capacity of 1 items per semantic ID is dropped/.test(text)))
  strictEqual((await policyOf(it, 3)).collisions, undefined)
})
