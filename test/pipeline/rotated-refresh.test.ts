/** `semanticIds.rotate`: live codebooks are turned to where another head puts the items, and what is published needs nothing more. */
import { deepStrictEqual, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { bundleFromParts, codebooksBack, encodeSticky, rotationOnto, type Bundle } from '../../semantic-ids/index.ts'
import { preparedFloat32 } from '../../semantic-ids/encode.ts'
import { clicks, contentOf, hourMs, itemIds, startTs, TestProject } from './fixture.ts'

const ids = itemIds(40).toSorted()
const changes = { training: { learningRate: 0.3 }, semanticIds: { levels: [4, 3], fsqDigits: [3, 2], churnBudget: null } }
/** Distilled and content dims of the prefixes 4 and 8. */
const blocks = [8, 16]

async function bundleOfVersion(it: TestProject, version: number): Promise<Bundle> {
  const { manifest, parts } = await it.project.artifacts.read(`codebooks/v${version}`)
  return bundleFromParts({ parts, about: manifest.about })
}

async function vectorsOf(it: TestProject, version: number): Promise<Float32Array> {
  return Float32Array.from((await it.read(ids, { version })).flatMap((feature) => [...feature!.vector]))
}

async function rotationIn(it: TestProject, version: number): Promise<unknown> {
  return ((await it.record(version))!.metrics as { policy: { rotation?: unknown } }).policy.rotation
}

/** Version 1, a round that moves the head, version 2. */
async function refreshed(it: TestProject): Promise<{ first: Bundle; second: Bundle }> {
  await it.bootstrap(ids.length)
  await it.feed(clicks(96, startTs + hourMs, ids))
  for (const hour of [2, 3]) await it.advance(startTs + hour * hourMs)
  const { outcome, version, message } = await it.daemon.refresh('now')
  deepStrictEqual([outcome, version], ['live', 2], message)
  return { first: await bundleOfVersion(it, 1), second: await bundleOfVersion(it, 2) }
}

/** Rows are what the version's bundle makes of the numbers that readers get. */
async function requireReproducible(it: TestProject, { codebooks, settings, parents, delta }: Bundle, of: readonly string[]): Promise<void> {
  const rows = (await it.read(of, { version: 2 })).map((feature) => feature!)
  const vectors = Float32Array.from(rows.flatMap(({ vector }) => [...vector]))
  deepStrictEqual(
    rows.flatMap(({ sid }) => [...sid]),
    [...encodeSticky(vectors, codebooks, settings, { old: parents.lookup(of), delta })],
  )
}

for (const [rotate, ends] of Object.entries({ blocks, whole: [16] })) {
  test(`with another head the codebooks are rotated before they are refitted, and go on encoding alone (${rotate})`, async (t) => {
    const it = await TestProject.open(t, { changes: { ...changes, semanticIds: { ...changes.semanticIds, rotate } } })
    const { first, second } = await refreshed(it)
    const [old, next] = [await vectorsOf(it, 1), await vectorsOf(it, 2)]
    notDeepStrictEqual(next, old, 'the head has moved')
    const seen = [next, old].map((vectors) => preparedFloat32(vectors, 16, first.settings.normalize))
    const turned = codebooksBack(first.codebooks, rotationOnto(seen[0]!, seen[1]!, 16, ends))
    deepStrictEqual(second.codebooks.fsq!.projection, turned.fsq!.projection, 'what no item refits is where the rotation puts it')
    notDeepStrictEqual(second.codebooks.fsq!.projection, first.codebooks.fsq!.projection)
    deepStrictEqual(await rotationIn(it, 2), { ends })
    await it.feed(contentOf('later', startTs + 5 * hourMs))
    await requireReproducible(it, second, [...ids, 'later'])

    // The same head again: there is nothing to turn.
    strictEqual((await it.daemon.refresh('again')).version, 3)
    strictEqual((await it.record(3))!.head, (await it.record(2))!.head)
    deepStrictEqual((await bundleOfVersion(it, 3)).codebooks.fsq!.projection, second.codebooks.fsq!.projection)
    strictEqual(await rotationIn(it, 3), undefined)
  })
}

test('left out, codebooks stay where they are until they are refitted', async (t) => {
  const it = await TestProject.open(t, { changes })
  const { first, second } = await refreshed(it)
  ok((await it.record(1))!.head !== (await it.record(2))!.head)
  deepStrictEqual(second.codebooks.fsq!.projection, first.codebooks.fsq!.projection)
  strictEqual(await rotationIn(it, 2), undefined)
})
