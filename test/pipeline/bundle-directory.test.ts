import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { itemsFile, readBundleDirectory, writeBundleDirectory } from '../../pipeline/index.ts'
import type { BundleContents } from '../../pipeline/index.ts'
import { readCodes, readColumns } from '../../schemas/index.ts'
import { bundleOf, codebooksOf, decode, encode, ParentCodes, type Bundle } from '../../semantic-ids/index.ts'

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
  await writeFile(manifest, text.replace('"format": 3', '"format": 9'))
  await rejects(readBundleDirectory(directory), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /format is not known/ })
  await writeFile(manifest, text.slice(0, 40))
  await rejects(readBundleDirectory(directory), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /manifest/ })
  await rm(manifest)
  await rejects(readBundleDirectory(directory), { code: 'SIDESTREAM_ARTIFACT_MISSING' })
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

const python = process.env['SIDESTREAM_TEST_PYTHON'] ?? 'python3'
const noNumpy =
  spawnSync(python, ['-c', 'import numpy']).status === 0
    ? false
    : `${python} has no numpy: pip install numpy, or name another one in SIDESTREAM_TEST_PYTHON`

test('the Python of the reference page gives the same codes and vectors, and refuses a changed file', { skip: noNumpy }, async () => {
  const page = await readFile(new URL('../../docs/reference/semantic-id-bundle.md', import.meta.url), 'utf8')
  const reader = /```python\n([\s\S]*?)```/.exec(page)![1]!
  const directory = fresh()
  await writeBundleDirectory(directory, contents())
  const script = `${reader}
import sys
bundle = read_bundle(sys.argv[1])
codes = encode(bundle, json.load(sys.stdin))
print(json.dumps([codes.tolist(), decode(bundle, codes).tolist()]))`
  const rows = ids.map((_, row) => Array.from(vectors.subarray(row * dim, (row + 1) * dim)))
  const run = (): string =>
    execFileSync(python, ['-c', script, directory], { input: JSON.stringify(rows), encoding: 'utf8', stdio: 'pipe' })
  const [theirs, decoded] = JSON.parse(run()) as [number[][], number[][]]
  deepStrictEqual(theirs.flat(), Array.from(codes))
  const ours = decode(codes, bundle.codebooks)
  ok(decoded.flat().every((value, at) => Math.abs(value - ours[at]!) < 1e-6))
  const file = join(directory, 'codebooks.f32')
  const bytes = await readFile(file)
  bytes[5]! ^= 1
  await writeFile(file, bytes)
  let complaint = ''
  try {
    run()
  } catch (error) {
    complaint = String((error as { stderr?: unknown }).stderr)
  }
  ok(complaint.includes('codebooks.f32 has changed'), complaint)
})
