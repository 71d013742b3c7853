/** A capacity from the fit through refreshes, as a user calls them. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { readBundleDirectory, sidEncodeFiles, sidFitFiles, sidRefreshFiles } from '../../pipeline/index.ts'
import type { SidRefreshFiles } from '../../pipeline/index.ts'
import { readCodes, readColumns } from '../../schemas/index.ts'
import { run, runFailing, runJson } from './command.ts'
import { clustered, moved, writeVectors } from './vector-files.ts'

let home = ''
const items = clustered(600, 6, 8)
const fresh = Array.from({ length: 60 }, (_, i) => `new-${i}`)
const later = moved(items, 0.1, [], fresh)
// Nobody is anybody's twin.
for (let i = items.ids.length * 6; i < later.vectors.length; i++) later.vectors[i]! += 0.1 * Math.sin(i)
const at = (name: string): string => join(home, name)

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-sid-capacity-'))
  await writeVectors(home, 'then.f32', items)
  await writeVectors(home, 'now.f32', later)
  await sidFitFiles({ in: at('then.f32'), sizes: [8, 8, 64], capacity: 2, out: at('first') })
})

after(() => rm(home, { recursive: true, force: true }))

const refresh = (out: string, more: Partial<SidRefreshFiles> & Pick<SidRefreshFiles, 'plan'>) =>
  sidRefreshFiles({ bundle: at('first'), in: at('now.f32'), out: at(out), ...more })

async function codesIn(name: string): Promise<Map<string, string>> {
  const codes = new Map<string, string>()
  for await (const { ids, sids } of readCodes(at(name))) for (const [i, id] of ids.entries()) codes.set(id, sids[i]!.join('-'))
  return codes
}

/** ID and number of each item. */
async function numbersIn(bundle: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for await (const { rows, columns } of readColumns(at(`${bundle}/item_to_sid.parquet`), { columns: ['item_id', 'sid', 'suffix'] }))
    for (let i = 0; i < rows; i++)
      found.set(columns['item_id']![i] as string, [...(columns['sid']![i] as number[]), columns['suffix']![i]].join('-'))
  return found
}

function fullest(codes: ReadonlyMap<string, string>): number {
  const held = new Map<string, number>()
  for (const sid of codes.values()) held.set(sid, (held.get(sid) ?? 0) + 1)
  return Math.max(...held.values())
}

test('a refresh takes the capacity over: it holds, published items that keep their ID do not move, and an encode gives it again', async () => {
  const old = await codesIn('first/item_to_sid.parquet')
  strictEqual(fullest(old), 2)
  for (const full of [0, 0.1]) {
    const out = `refreshed-${full}`
    const { collisions, churn, maxBucket, capacityBefore } = await refresh(out, { plan: { kind: 'refresh', budget: { full }, ceiling: 9 } })
    ok(collisions!.moved > 0 && collisions!.unresolved === 0 && collisions!.publishedOver === 0)
    deepStrictEqual([maxBucket, capacityBefore, collisions!.capacity], [2, 2, 2])
    const codes = await codesIn(`${out}/item_to_sid.parquet`)
    strictEqual(fullest(codes), 2)
    const changed = items.ids.filter((id) => codes.get(id) !== old.get(id)).length / items.ids.length
    deepStrictEqual([churn!.full, changed <= full], [changed, true])
    const { manifest, metrics } = await readBundleDirectory(at(out))
    deepStrictEqual([manifest.about['capacity'], manifest.about['movedRows']], [2, collisions!.moved])
    deepStrictEqual(metrics['collisions'], { ...collisions })
    await sidEncodeFiles({ bundle: at(out), in: at('now.f32'), out: at(`${out}.parquet`) })
    deepStrictEqual(await codesIn(`${out}.parquet`), codes)
  }
  // And over one more.
  const third = await refresh('third', { bundle: at('refreshed-0.1'), plan: { kind: 'refresh', budget: { full: 0.05 }, ceiling: 9 } })
  strictEqual(third.maxBucket, 2)
})

test('new items with the vectors of published ones get their IDs, from refresh to refresh', async () => {
  const dim = later.dim
  const ids = [...later.ids, ...items.ids.slice(0, 100).map((id) => `same-as-${id}`)]
  const vectors = new Float32Array(ids.length * dim)
  vectors.set(later.vectors)
  vectors.set(later.vectors.subarray(0, 100 * dim), later.ids.length * dim)
  await writeVectors(home, 'twins.f32', { ids, vectors, dim })
  const plan = { kind: 'refresh', budget: { full: 0 }, ceiling: 9 } as const
  for (const [bundle, out, fresh] of [
    ['first', 'twins', 160],
    ['twins', 'twins-on', 0],
  ] as const) {
    const { items: counts } = await refresh(out, { bundle: at(bundle), in: at('twins.f32'), plan })
    deepStrictEqual([counts.fresh, counts.returned, counts.vanished], [fresh, 0, 0])
    const codes = await codesIn(`${out}/item_to_sid.parquet`)
    deepStrictEqual(
      items.ids.slice(0, 100).filter((id) => codes.get(`same-as-${id}`) !== codes.get(id)),
      [],
    )
    await sidEncodeFiles({ bundle: at(out), in: at('twins.f32'), out: at(`${out}.parquet`) })
    deepStrictEqual(await codesIn(`${out}.parquet`), codes)
  }
})

test('a re-base applies it afresh, and the command says what a capacity did', async () => {
  const flags = ['sid', 'refresh', '--bundle', 'first', '--in', 'now.f32']
  const text = (await run([...flags, '--rebase', '--out', 'rebased'], home)).stdout
  match(text, /capacity 2, identical vectors in one place: [1-9]\d* items moved, 0 found no room/)
  strictEqual(fullest(await codesIn('rebased/item_to_sid.parquet')), 2)
  const wider = (await run([...flags, '--churn-budget', '1', '--capacity', '5', '--duplicates', 'split', '--out', 'wider'], home)).stdout
  match(wider, /capacity 5, identical vectors a place each: .*\nthe capacity was 2\n/)
  const { manifest } = await readBundleDirectory(at('wider'))
  deepStrictEqual([manifest.about['capacity'], manifest.about['duplicates']], [5, 'split'])
})

test('with a suffix ID and number are 1-1, and who keeps an ID keeps the number through a refresh', async () => {
  const text = (await run(['sid', 'fit', '--in', 'then.f32', '--levels', '8,8', '--suffix', '--out', 'numbered'], home)).stdout
  const [, most] = /ID and suffix are 1-1, with suffixes below (\d+): numbers without a meaning/.exec(text)!
  const first = await numbersIn('numbered')
  strictEqual(new Set(first.values()).size, items.ids.length)
  const { metrics, manifest } = await readBundleDirectory(at('numbered'))
  deepStrictEqual([Number(most), manifest.about['suffix']], [metrics['maxBucket'], true])
  strictEqual((await codesIn('numbered/item_to_sid.parquet')).get('item-1')!.split('-').length, 2)

  const plan = { kind: 'refresh', budget: { full: 0.2 }, ceiling: 9 } as const
  const { suffixes } = await refresh('numbered-on', { bundle: at('numbered'), plan })
  ok(suffixes! > 0)
  const next = await numbersIn('numbered-on')
  strictEqual(new Set(next.values()).size, later.ids.length)
  const [before, after] = [await codesIn('numbered/item_to_sid.parquet'), await codesIn('numbered-on/item_to_sid.parquet')]
  const kept = items.ids.filter((id) => before.get(id) === after.get(id))
  ok(kept.length < items.ids.length)
  for (const id of kept) strictEqual(next.get(id), first.get(id))
  // A bundle without suffixes may begin with them, and a re-base begins anew.
  await refresh('begun', { plan, suffix: true })
  strictEqual(new Set((await numbersIn('begun')).values()).size, later.ids.length)
  strictEqual((await refresh('anew', { bundle: at('numbered'), plan: { kind: 're-base', relabel: 'none' } })).suffixes! > 0, true)
})

test('numbers are those of the published codes, not of the bundle that is renewed; codes without any are refused', async () => {
  await sidFitFiles({ in: at('then.f32'), sizes: [8, 8], suffix: true, out: at('s1') })
  const plan = (full: number) => ({ kind: 'refresh', budget: { full }, ceiling: 9 }) as const
  await refresh('s2', { bundle: at('s1'), plan: plan(0.3) })
  await refresh('s3', { bundle: at('s2'), in: at('then.f32'), plan: plan(0.3) })
  const live = await numbersIn('s3')
  ok([...(await numbersIn('s1'))].some(([id, sid]) => live.get(id) !== sid))
  const rows = [...live].map(([id, sid]) => `${id},${sid.split('-').slice(0, 2).join('|')},${sid.split('-')[2]}`)
  await writeFile(at('live.csv'), `item_id,sid,suffix\n${rows.join('\n')}\n`)
  for (const codes of ['s3', 'live.csv', 's3/item_to_sid.parquet']) {
    const out = `again-${codes.length}`
    const { churn, keptSuffixes } = await refresh(out, { bundle: at('s1'), codes: at(codes), in: at('then.f32'), plan: plan(0) })
    deepStrictEqual([churn!.full, keptSuffixes], [0, items.ids.length])
    deepStrictEqual(await numbersIn(out), live)
  }
  const said = await run(
    ['sid', 'refresh', '--bundle', 's1', '--codes', 's3', '--in', 'then.f32', '--churn-budget', '0', '--ceiling', '9', '--out', 'said'],
    home,
  )
  match(said.stdout, /numbers without a meaning; 600 items keep the one that they were published with\n/, said.stderr)
  // Published numbers go on in a bundle without any.
  await sidFitFiles({ in: at('then.f32'), sizes: [8, 8], out: at('s0') })
  await refresh('from-s0', { bundle: at('s0'), codes: at('s3'), in: at('then.f32'), plan: plan(0) })
  deepStrictEqual(await numbersIn('from-s0'), live)
  await writeFile(at('bare.csv'), `item_id,sid\n${rows.map((row) => row.replace(/,\d+$/, '')).join('\n')}\n`)
  const bare = { bundle: at('s1'), codes: at('bare.csv'), in: at('then.f32'), plan: plan(0) }
  await rejects(refresh('no', bare), { code: 'SIDESTREAM_USAGE_INVALID', message: /s1 has suffixes, .*bare\.csv none: .*--suffix numbers/ })
  strictEqual((await refresh('anew-said', { ...bare, suffix: true })).keptSuffixes, 0)
  await writeFile(at('wild.csv'), `item_id,sid,suffix\n${rows.join('\n').replace(/,\d+$/, ',65536')}\n`)
  await rejects(refresh('no', { ...bare, codes: at('wild.csv') }), { message: /wild\.csv: row 600, column suffix: must be at most 65535/ })
})

test('a capacity is dropped when that is said, and never silently', async () => {
  const flags = ['sid', 'refresh', '--bundle', 'first', '--in', 'now.f32', '--churn-budget', '1', '--capacity', 'none']
  const { stdout, stderr } = await run([...flags, '--out', 'dropped'], home)
  match(stdout, /the capacity was 2 and is dropped/, stderr)
  const { manifest } = await readBundleDirectory(at('dropped'))
  strictEqual(manifest.about['capacity'], null)
  strictEqual((manifest.about['policy'] as Record<string, unknown>)['capacityBefore'], 2)
  ok(fullest(await codesIn('dropped/item_to_sid.parquet')) > 2)
  const answer = await runJson([...flags, '--out', 'dropped-json'], home)
  deepStrictEqual([answer['collisions'], answer['capacityBefore']], [null, 2])
  match((await runFailing([...flags, '--duplicates', 'split', '--out', 'no'], home, 2)).message, /give a capacity/)
  await rejects(refresh('no', { capacity: 0, plan: { kind: 'refresh', budget: { full: 1 } } }), { code: 'SIDESTREAM_USAGE_INVALID' })
})
