/** `sid fit` and `sid encode` as a user calls them. */
import { deepStrictEqual, doesNotMatch, match, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { readBundleDirectory, sidFitFiles } from '../../pipeline/index.ts'
import { readCodes } from '../../schemas/index.ts'
import { balanceDefaults, encode, reconstruction } from '../../semantic-ids/index.ts'
import { noTerminal, run, runJson, runOnTerminal, start } from './command.ts'
import { clustered, writeVectors } from './vector-files.ts'

let home = ''
const items = clustered(600, 6, 8)
const kinds = ['vectors.parquet', 'vectors.csv', 'vectors.f32', 'vectors.npy']

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-sid-'))
  for (const kind of kinds) await writeVectors(home, kind, items)
})

after(() => rm(home, { recursive: true, force: true }))

/** All codes of a file, by item. */
async function codesIn(name: string): Promise<Map<string, string>> {
  const codes = new Map<string, string>()
  for await (const { ids, sids } of readCodes(join(home, name))) for (const [i, id] of ids.entries()) codes.set(id, sids[i]!.join('-'))
  return codes
}

/** Every file of a directory. */
async function bytesIn(directory: string): Promise<Record<string, string>> {
  const names = (await readdir(join(home, directory))).sort()
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(home, directory, name), 'hex')] as const)),
  )
}

test('fit writes a bundle, and encode gives the codes of the reference in the order of the file, for every kind of file', async () => {
  const answer = await runJson(['sid', 'fit', '--in', kinds[0]!, '--levels', '8,6', '--out', 'first/bundle'], home)
  strictEqual(answer['items'], 600)
  deepStrictEqual(answer['sizes'], [8, 6])
  const { bundle, metrics, manifest } = await readBundleDirectory(join(home, 'first/bundle'))
  strictEqual(metrics['uniqueRate'], answer['uniqueRate'])
  strictEqual(manifest.about['parent'], null)
  const expected = encode(items.vectors, bundle.codebooks, bundle.settings)
  const wanted = new Map(items.ids.map((id, row) => [id, expected.subarray(row * 2, row * 2 + 2).join('-')]))
  deepStrictEqual([...(await codesIn('first/bundle/item_to_sid.parquet'))], [...wanted])
  for (const [i, kind] of kinds.entries()) {
    const out = i % 2 === 0 ? `codes-${i}.parquet` : `codes-${i}.csv`
    const encoded = await runJson(['sid', 'encode', '--bundle', 'first/bundle', '--in', kind, '--out', out], home)
    strictEqual(encoded['items'], 600)
    deepStrictEqual([...(await codesIn(out))], [...wanted], kind)
    const fitted = join('kinds', kind, 'bundle')
    await sidFitFiles({ in: join(home, kind), sizes: [8, 6], out: join(home, fitted) })
    strictEqual(
      await readFile(join(home, fitted, 'codebooks.f32'), 'hex'),
      await readFile(join(home, 'first/bundle/codebooks.f32'), 'hex'),
      kind,
    )
  }
})

test('a second run and other numbers of threads give the same bytes', async () => {
  const flags = ['sid', 'fit', '--in', 'vectors.f32', '--levels', '8,8', '--balanced', '--beam', '3', '--seed', '5']
  await runJson([...flags, '--threads', '1', '--out', 'once/bundle'], home)
  await runJson([...flags, '--threads', '3', '--out', 'again/bundle'], home)
  deepStrictEqual(await bytesIn('again/bundle'), await bytesIn('once/bundle'))
  for (const threads of ['1', '3'])
    await runJson(
      ['sid', 'encode', '--bundle', 'once/bundle', '--in', 'vectors.f32', '--threads', threads, '--out', `${threads}.csv`],
      home,
    )
  strictEqual(await readFile(join(home, '3.csv'), 'utf8'), await readFile(join(home, '1.csv'), 'utf8'))
  await runJson([...flags.with(-1, '6'), '--out', 'other/bundle'], home)
  notDeepStrictEqual(await bytesIn('other/bundle'), await bytesIn('once/bundle'))
})

test('every option of the quantizer is kept in the bundle, which encodes by it', async () => {
  for (const [name, flags, about] of [
    ['unit', ['--normalize-residuals'], { normalizeResiduals: true, normalize: true }],
    ['raw', ['--raw', '--passes', '1', '--iterations', '3'], { normalize: false }],
    ['fsq', ['--fsq', '3,4'], { sizes: [8, 6, 12], fsq: { digits: [3, 4] } }],
    ['beam', ['--beam', '4'], { beam: 4, mode: 'beam' }],
    ['vae', ['--method', 'rq-vae', '--epochs', '2'], { network: { widths: [6, 512, 256, 64], activation: 'relu' } }],
  ] as const) {
    await runJson(['sid', 'fit', '--in', 'vectors.npy', '--levels', '8,6', ...flags, '--out', name], home)
    const { manifest } = await readBundleDirectory(join(home, name))
    for (const [key, value] of Object.entries(about)) deepStrictEqual(manifest.about[key], value, `${name} ${key}`)
    await runJson(['sid', 'encode', '--bundle', name, '--in', 'vectors.csv', '--out', `${name}.parquet`], home)
    deepStrictEqual(await codesIn(`${name}.parquet`), await codesIn(`${name}/item_to_sid.parquet`), name)
  }
})

test('the FVU of a fit is that of all its items, and what it was on the sample is named as such', async () => {
  const flags = ['sid', 'fit', '--in', 'vectors.f32', '--levels', '8,6', '--sample-rows-per-code', '8']
  for (const [name, more] of [
    ['sampled', []],
    ['sampled-capped', ['--capacity', '20']],
  ] as const) {
    const { fvu, sample, distortion } = await runJson([...flags, ...more, '--out', name], home)
    const { bundle, metrics } = await readBundleDirectory(join(home, name))
    const codes = await codesIn(`${name}/item_to_sid.parquet`)
    const all = Uint16Array.from(items.ids.flatMap((id) => codes.get(id)!.split('-').map(Number)))
    const report = reconstruction(items.vectors, all, bundle.codebooks, bundle.settings)
    ok(Math.abs(Number(fvu) / report.fvu - 1) < 1e-9 && Math.abs(Number(distortion) / report.distortion - 1) < 1e-9)
    deepStrictEqual([metrics['fvu'], metrics['sample']], [fvu, sample])
    const { rows, fvu: sampleFvu } = sample as { rows: number; fvu: number }
    strictEqual(rows, 64)
    ok(sampleFvu < 0.95 * Number(fvu))
  }
  const { stdout } = await run([...flags, '--out', 'sampled-text'], home)
  match(stdout, /\(FVU\) 0\.\d{4} over all items \(0\.\d{4} over the 64 fitted on\);/)
})

test('passes over all rows never leave more of them than a fit on the sample', async () => {
  const flags = ['sid', 'fit', '--in', 'vectors.f32', '--levels', '8,6', '--sample-rows-per-code']
  for (const rows of ['8', '1000']) {
    const none = await runJson([...flags, rows, '--out', `none-${rows}`], home)
    const some = await runJson([...flags, rows, '--passes', '2', '--out', `some-${rows}`], home)
    ok(rows === '8' ? Number(some['fvu']) < 0.97 * Number(none['fvu']) : Number(some['fvu']) <= Number(none['fvu']))
  }
})

test('items consumed together attract each other in the fit; options of an RQ-VAE and of rounds reach the fit', async () => {
  await writeFile(join(home, 'together.csv'), `a,b\n${items.ids.map((id, row) => `${id},item-${(row + 8) % 600}`).join('\n')}\n`)
  const pulled = ['--attract', 'together.csv', '--attract-columns', 'a,b']
  for (const [name, flags, training] of [
    ['pulled', pulled, { attraction: { weight: 0.25, pairs: 600 } }],
    ['pulled-far', [...pulled, '--attract-weight', '0.9'], { attraction: { weight: 0.9, pairs: 600 } }],
    ['rounds', ['--iterations', '9', '--joint-rounds', '0', '--sample-rows-per-code', '20'], { jointRounds: 0, sampleRows: 160 }],
    ['even', ['--balanced', '--epsilon-share', '0.2'], { balance: { ...balanceDefaults, epsilonShare: 0.2 } }],
    [
      'network',
      [
        ...['--method', 'rq-vae', '--epochs', '2', '--hidden', '12,7', '--latent-dim', '5', '--batch', '100', '--learning-rate', '0.01'],
        ...['--commitment', '0.5', '--estimator', 'rotation', '--codebook-updates', 'ema'],
      ],
      {
        ...{ hidden: [12, 7], latentDim: 5, batch: 100, learningRate: 0.01, steps: 12 },
        ...{ commitment: 0.5, estimator: 'rotation', codebooks: 'ema' },
      },
    ],
  ] as const) {
    await runJson(['sid', 'fit', '--in', 'vectors.f32', '--levels', '8,6', ...flags, '--out', name], home)
    const about = (await readBundleDirectory(join(home, name))).bundle.origin.training
    for (const [key, value] of Object.entries(training)) deepStrictEqual(about[key], value, `${name} ${key}`)
  }
  const codebooks = (name: string): Promise<string> => readFile(join(home, name, 'codebooks.f32'), 'hex')
  notDeepStrictEqual(await codebooks('pulled'), await codebooks('pulled-far'))
})

test('a capacity bounds how many items have an ID, and the bundle gives the moved items their IDs again', async () => {
  const { collisions } = (await runJson(
    ['sid', 'fit', '--in', 'vectors.f32', '--levels', '16,128', '--capacity', '2', '--out', 'capped'],
    home,
  )) as unknown as { collisions: { moved: number; unresolved: number } }
  ok(collisions.moved > 0)
  strictEqual(collisions.unresolved, 0)
  const codes = await codesIn('capped/item_to_sid.parquet')
  const held = new Map<string, number>()
  for (const sid of codes.values()) held.set(sid, (held.get(sid) ?? 0) + 1)
  ok(Math.max(...held.values()) <= 2)
  await runJson(['sid', 'encode', '--bundle', 'capped', '--in', 'vectors.f32', '--out', 'capped.parquet'], home)
  deepStrictEqual(await codesIn('capped.parquet'), codes)
  // The same items with each other's vectors are as new: nobody keeps an ID that was only a matter of room.
  const vectors = items.vectors.slice().reverse()
  await writeVectors(home, 'changed.f32', { ...items, vectors })
  await runJson(['sid', 'encode', '--bundle', 'capped', '--in', 'changed.f32', '--out', 'changed.parquet'], home)
  const { bundle } = await readBundleDirectory(join(home, 'capped'))
  const free = encode(vectors, bundle.codebooks, bundle.settings)
  deepStrictEqual(
    [...(await codesIn('changed.parquet')).values()],
    items.ids.map((_, row) => free.subarray(row * 2, row * 2 + 2).join('-')),
  )
})

test('identical vectors keep one ID under a capacity, or are spread when asked', async () => {
  const few = clustered(200, 6, 8)
  const [ids, vectors] = [[...few.ids, ...few.ids.map((id) => `${id}-again`)], Float32Array.from([...few.vectors, ...few.vectors])]
  await writeVectors(home, 'twice.f32', { ...few, ids, vectors })
  for (const rule of ['together', 'split'] as const) {
    const flags = ['--levels', '16,128', '--capacity', '1', '--duplicates', rule, '--out', `twice-${rule}`]
    const { maxBucket } = await runJson(['sid', 'fit', '--in', 'twice.f32', ...flags], home)
    strictEqual(maxBucket, rule === 'together' ? 2 : 1)
    const codes = await codesIn(`twice-${rule}/item_to_sid.parquet`)
    strictEqual(
      few.ids.every((id) => codes.get(id) === codes.get(`${id}-again`)),
      rule === 'together',
    )
    await runJson(['sid', 'encode', '--bundle', `twice-${rule}`, '--in', 'twice.f32', '--out', 'twice.parquet'], home)
    deepStrictEqual(await codesIn('twice.parquet'), codes)
  }
})

test('levels of one code are codes too', async () => {
  const { distinct } = await runJson(['sid', 'fit', '--in', 'vectors.f32', '--levels', '1,4,1', '--out', 'ones'], home)
  strictEqual(distinct, 4)
  match([...(await codesIn('ones/item_to_sid.parquet')).values()][0]!, /^0-\d-0$/)
})

test('a fit that is killed leaves no bundle, and --resume ends with the bytes of one that was not', async () => {
  const many = clustered(20_000, 16, 50, { spread: 1 })
  await writeVectors(home, 'many.f32', many)
  const flags = ['sid', 'fit', '--in', 'many.f32', '--levels', '64,64,64']
  await runJson([...flags, '--out', 'whole/bundle'], home)
  const { child, ended } = start([...flags, '--out', 'killed/bundle'], home)
  const looking = setInterval(() => {
    if (existsSync(join(home, 'killed/bundle.fit-state'))) child.kill('SIGKILL')
  }, 1)
  const { signal } = await ended
  clearInterval(looking)
  strictEqual(signal, 'SIGKILL')
  strictEqual(existsSync(join(home, 'killed/bundle')), false)
  const other = await run([...flags.with(-1, '64,64'), '--resume', '--out', 'killed/bundle'], home)
  strictEqual(other.code, 2)
  match(other.stderr, /of a fit of other items or options, or of another version of the program; give the same ones, or start anew without/)
  const resumed = await run([...flags, '--resume', '--out', 'killed/bundle'], home)
  strictEqual(resumed.code, 0, resumed.stderr)
  doesNotMatch(resumed.stderr, /begins anew/)
  deepStrictEqual(await bytesIn('killed/bundle'), await bytesIn('whole/bundle'))
  deepStrictEqual(await readdir(join(home, 'killed')), ['bundle'])
})

test('--resume without a state says that the fit begins anew', async () => {
  const flags = ['sid', 'fit', '--in', 'vectors.f32', '--levels', '8', '--out', 'anew', '--resume', '--json']
  const { code, stdout, stderr } = await run(flags, home)
  strictEqual(code, 0, stderr)
  match(stderr, /^note: there is no .*anew\.fit-state to go on from: the fit begins anew\n/)
  strictEqual(stdout.split('\n').length, 2)
})

test('Ctrl-C ends a fit with a word on how to go on', async () => {
  const flags = ['sid', 'fit', '--in', 'many.f32', '--levels', '256,256,256', '--out', 'stopped/bundle']
  const { child, ended } = start(flags, home)
  let asked = false
  const looking = setInterval(() => {
    if (!asked && existsSync(join(home, 'stopped/bundle.fit-state'))) asked = child.kill('SIGINT')
  }, 5)
  const { code, stderr } = await ended
  clearInterval(looking)
  strictEqual(code, 1, stderr)
  match(stderr, /interrupted: no bundle was written to stopped\/bundle; the same command with --resume goes on/)
  deepStrictEqual(
    (await readdir(join(home, 'stopped'))).filter((name) => name !== 'bundle.fit-state'),
    [],
  )
})

test('a terminal shows a bar for each phase', { skip: noTerminal }, async () => {
  const { stdout } = await runOnTerminal(['sid', 'fit', '--in', 'vectors.csv', '--levels', '4,4', '--out', 'shown'], home)
  match(stdout, /reading \[.*fitting \[.*encoding \[.*600 items, codes of 4 x 4/s)
})
