import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openArtifactDirectory } from '../../connectors/index.ts'
import { itemsFile, readBundleDirectory, writeBundleDirectory } from '../../pipeline/index.ts'
import type { BundleContents, BundleManifest } from '../../pipeline/index.ts'
import { readCodes, readColumns } from '../../schemas/index.ts'
import { bundleOf, bundleToParts, codebooksOf, encode, ParentCodes, type Bundle } from '../../semantic-ids/index.ts'

const home = await mkdtemp(join(tmpdir(), 'sidestream-bundle-'))
after(() => rm(home, { recursive: true, force: true }))
let directories = 0
const fresh = (): string => join(home, `bundle-${directories++}`)

const dim = 4
/** Numbers that repeat after a while. */
const numbers = (length: number, step: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin((i + 1) * step))
const vectors = numbers(50 * dim, 1.7)
const ids = Array.from({ length: 50 }, (_, row) => `item-${row}`)
const bundle: Bundle = bundleOf({
  codebooks: codebooksOf(dim, [numbers(6 * dim, 0.9), numbers(5 * dim, 2.3).map((value) => value / 2)], {
    penalties: [undefined, Float32Array.of(0, 0.1, 0.2, 0, 0.4)],
  }),
  settings: { normalize: true, recheckTolerance: 1e-5 },
  delta: 0,
  parents: ParentCodes.empty(2),
  origin: { parent: null, idSpace: 'here', input: { dim }, training: { seed: 1 }, policy: { kind: 'first-fit' } },
})
const codes = encode(vectors, bundle.codebooks, bundle.settings)
const contents = (): BundleContents => ({
  bundle,
  items: [
    { ids: ids.slice(0, 30), codes: codes.slice(0, 60) },
    { ids: ids.slice(30), codes: codes.slice(60) },
  ],
  metrics: { uniqueRate: 0.5 },
  about: { createdAt: '2026-11-30T00:00:00.000Z' },
})

test('a bundle comes back from its directory, with both tables and the metrics', async () => {
  const directory = fresh()
  const written = await writeBundleDirectory(directory, contents())
  const { bundle: back, manifest, metrics } = await readBundleDirectory(directory)
  deepStrictEqual({ ...back, parents: null }, { ...bundle, parents: null })
  deepStrictEqual(manifest, written)
  deepStrictEqual(metrics, { uniqueRate: 0.5 })
  equal(manifest.about['createdAt'], '2026-11-30T00:00:00.000Z')
  const read: [string, number[]][] = []
  for await (const batch of readCodes(join(directory, itemsFile)))
    for (const [i, id] of batch.ids.entries()) read.push([id, [...batch.sids[i]!]])
  deepStrictEqual(
    read,
    ids.map((id, row) => [id, [...codes.subarray(row * 2, row * 2 + 2)]]),
  )
  const bySid: [string, string[]][] = []
  for await (const { rows, columns } of readColumns(join(directory, 'sid_to_items.parquet'), { columns: ['sid', 'item_ids'] })) {
    for (let i = 0; i < rows; i++) bySid.push([String(columns['sid']![i]), [...(columns['item_ids']![i] as string[])]])
  }
  const expected = new Map<string, string[]>()
  for (const [id, sid] of read) expected.set(String(sid), [...(expected.get(String(sid)) ?? []), id])
  deepStrictEqual(new Map(bySid), expected)
  deepStrictEqual(
    bySid.map(([sid]) => sid),
    bySid.map(([sid]) => sid).sort(),
    'ascending: all codes have one digit',
  )
  equal(manifest.parts.find(({ name }) => name === 'sid_to_items.parquet')!.rows, bySid.length)
})

test('equal contents give equal bytes, under any name', async () => {
  const [one, other] = [await writeBundleDirectory(fresh(), contents()), await writeBundleDirectory(fresh(), contents())]
  deepStrictEqual(one.parts, other.parts)
  equal(one.about['id'], other.about['id'])
  // Who has which ID and what was measured is not what decides it; the switching cost is.
  const measured = await writeBundleDirectory(fresh(), { ...contents(), items: [], metrics: {} })
  equal(measured.about['id'], one.about['id'])
  const renamed = { ...bundle, origin: { ...bundle.origin, input: { dim, file: 'another.parquet' } } }
  equal((await writeBundleDirectory(fresh(), { ...contents(), bundle: renamed })).about['id'], one.about['id'])
  const stickier = await writeBundleDirectory(fresh(), { ...contents(), bundle: { ...bundle, delta: 1 } })
  ok(stickier.about['id'] !== one.about['id'] && /^[0-9a-f]{32}$/.test(String(stickier.about['id'])))
})

test('a changed, cut or missing file is refused by its name', async () => {
  const directory = fresh()
  const { parts } = await writeBundleDirectory(directory, contents())
  for (const { name } of parts) {
    const file = join(directory, name)
    const bytes = await readFile(file)
    const refused = { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: new RegExp(name.replace('.', '\\.')) }
    const changed = Buffer.from(bytes)
    changed[changed.length - 1]! ^= 1
    await writeFile(file, changed)
    await rejects(readBundleDirectory(directory), refused)
    await writeFile(file, bytes.subarray(1))
    await rejects(readBundleDirectory(directory), refused)
    await rm(file)
    await rejects(readBundleDirectory(directory), refused)
    await writeFile(file, bytes)
  }
  await readBundleDirectory(directory)
  const manifest = join(directory, 'manifest.json')
  const text = await readFile(manifest, 'utf8')
  await writeFile(manifest, text.slice(0, 40))
  await rejects(readBundleDirectory(directory), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /manifest/ })
  await rm(manifest)
  await rejects(readBundleDirectory(directory), { code: 'SIDESTREAM_ARTIFACT_MISSING' })
})

test('a manifest with a changed byte is refused, whichever it is', async () => {
  const directory = fresh()
  await writeBundleDirectory(directory, contents())
  const file = join(directory, 'manifest.json')
  const bytes = await readFile(file)
  const refused = { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /manifest\.json (has changed|is no manifest)/ }
  for (let at = 0; at < bytes.length; at += 5) {
    await writeFile(
      file,
      bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)),
    )
    await rejects(readBundleDirectory(directory), refused, `byte ${at}`)
  }
  await writeFile(file, bytes.subarray(0, -1))
  await rejects(readBundleDirectory(directory), refused)
})

test('formats to come are refused by name, and bundles from before manifests had a SHA-256 are still read', async () => {
  const directory = fresh()
  await writeBundleDirectory(directory, contents())
  const file = join(directory, 'manifest.json')
  const { sha256: _, ...manifest } = JSON.parse(await readFile(file, 'utf8')) as BundleManifest
  const of = (format: number): object => ({ ...manifest, about: { ...manifest.about, format } })
  const text = (value: object): string => `${JSON.stringify(value, null, 2)}\n`
  const sha256 = createHash('sha256')
    .update(text({ ...of(9), sha256: '' }))
    .digest('hex')
  await writeFile(file, text({ ...of(9), sha256 }))
  await rejects(readBundleDirectory(directory), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /its format is not known/ })
  await writeFile(file, text(of(2)))
  deepStrictEqual((await readBundleDirectory(directory)).bundle.codebooks, bundle.codebooks)
})

test('an artifact of a daemon is read as a bundle, and refused when what decides an ID has changed', async () => {
  const directory = fresh()
  const { parts, about } = bundleToParts(bundle)
  await (await openArtifactDirectory({ directory })).write('codebooks/v1', parts, about)
  const artifact = join(directory, 'codebooks~v1.artifact')
  deepStrictEqual((await readBundleDirectory(artifact)).bundle.codebooks, bundle.codebooks)
  const manifest = join(artifact, 'manifest.json')
  await writeFile(manifest, (await readFile(manifest, 'utf8')).replace('"normalize": true', '"normalize": false'))
  await rejects(readBundleDirectory(artifact), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /manifest: it has changed/ })
})

test('an interrupted write leaves nothing behind, and what stands there is never overwritten', async () => {
  const directory = fresh()
  const before = await readdir(home)
  async function* broken(): AsyncGenerator<{ ids: string[]; codes: Uint16Array }> {
    yield { ids: ['a'], codes: Uint16Array.of(1, 2) }
    throw new Error('the source broke')
  }
  await rejects(writeBundleDirectory(directory, { ...contents(), items: broken() }), /the source broke/)
  deepStrictEqual(await readdir(home), before)
  const short = [{ ids: ['a', 'b'], codes: Uint16Array.of(1, 2) }]
  await rejects(writeBundleDirectory(directory, { ...contents(), items: short }), { code: 'SIDESTREAM_SHAPE_MISMATCH' })
  await mkdir(directory)
  await writeBundleDirectory(directory, contents())
  const manifest = await readFile(join(directory, 'manifest.json'))
  await rejects(writeBundleDirectory(directory, contents()), { code: 'SIDESTREAM_USAGE_INVALID' })
  deepStrictEqual(await readFile(join(directory, 'manifest.json')), manifest)
})
