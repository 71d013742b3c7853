/** `sid fit` and `sid encode` on input that cannot be meant, and where nothing can be written. */
import { deepStrictEqual, match, rejects, strictEqual } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { readBundleDirectory, sidEncodeFiles, sidFitFiles, sidReportFiles } from '../../pipeline/index.ts'
import type { SidFitFiles } from '../../pipeline/index.ts'
import { writeParquet } from '../../schemas/index.ts'
import { refuses, run, runFailing, runJson, runWithSmallFiles } from './command.ts'
import { clustered, writeVectors, type Items } from './vector-files.ts'

let home = ''
const items = clustered(200, 4, 5)

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-sid-bad-'))
  await writeVectors(home, 'vectors.parquet', items)
  await sidFitFiles({ in: join(home, 'vectors.parquet'), sizes: [4, 4], out: join(home, 'bundle') })
})

after(() => rm(home, { recursive: true, force: true }))

const fit = (input: string, ...further: string[]): string[] => [
  'sid',
  'fit',
  '--in',
  input,
  '--levels',
  '4,4',
  '--out',
  'refused',
  ...further,
]
const encode = (input: string, out = 'codes.parquet', bundle = 'bundle'): string[] => [
  'sid',
  'encode',
  '--bundle',
  bundle,
  '--in',
  input,
  '--out',
  out,
]

test('options that cannot be meant are refused with what to do', async () => {
  const cases: [args: string[], message: RegExp][] = [
    [
      fit('vectors.parquet', '--levels', '4,,4'),
      /--levels must be whole numbers from 1 to 65536 between commas, such as 256,256,256, not "4,,4"/,
    ],
    [fit('vectors.parquet', '--levels', '0'), /whole numbers from 1/],
    [fit('vectors.parquet', '--fsq', '1,5'), /--fsq must be whole numbers from 2/],
    [fit('vectors.parquet', '--beam', '2', '--normalize-residuals'), /unit residuals exclude a beam/],
    [fit('vectors.parquet', '--method', 'rq-vae', '--raw', '--beam', '2'), /takes no raw, beam: leave that out, or fit by rq-kmeans/],
    [fit('vectors.parquet', '--epochs', '3'), /epochs belong to rq-vae/],
    [fit('vectors.parquet', '--estimator', 'rotation', '--hidden', '4'), /hidden, estimator belong to rq-vae/],
    [fit('vectors.parquet', '--method', 'rq-vae', '--attract', 'pairs.csv'), /takes no attract: leave that out/],
    [fit('vectors.parquet', '--attract', 'pairs.csv', '--passes', '1'), /passes read vectors as the file has them/],
    [fit('vectors.parquet', '--attract-weight', '0.5'), /a weight of attraction needs a table of pairs/],
    [fit('vectors.parquet', '--attract', 'pairs.csv', '--attract-weight', '2'), /--attract-weight must be a number from 0 to 1, not "2"/],
    [fit('vectors.parquet', '--epsilon-share', '0.1'), /belongs to a balanced fit/],
    [fit('vectors.parquet', '--codebook-updates', 'mean'), /Allowed choices are gradient, ema/],
    [fit('vectors.parquet', '--method', 'pq'), /Allowed choices are rq-kmeans, rq-vae/],
    [fit('vectors.parquet', '--sead', '3'), /unknown option '--sead'/],
    [fit('vectors.parquet', '--in', 'other.parquet'), /--in is given twice/],
    [[...fit('vectors.parquet'), '--out', 'bundle'], /--out is given twice/],
    [
      ['sid', 'fit', '--in', 'vectors.parquet', '--levels', '4', '--out', 'bundle'],
      /bundle is not empty: write the bundle to another directory/,
    ],
    [encode('vectors.parquet', 'codes.f32'), /codes are written as \.parquet or \.csv, not to codes\.f32: \.f32 holds vectors/],
    [encode('vectors.parquet', 'vectors.parquet'), /vectors\.parquet holds the vectors: write the codes to another file/],
  ]
  await refuses(cases, home, 2)
  strictEqual(existsSync(join(home, 'refused')), false)
})

test('files that cannot be used are named, with row and reason', async () => {
  const row = (cells: string): string => `item_id,vector\na,1|2|3|4\n${cells}\n`
  const files: Record<string, string> = {
    'nan.csv': row('b,1|NaN|3|4'),
    'infinite.csv': row('b,1|2|3|1e39'),
    'ragged.csv': row('b,1|2|3'),
    'twice.csv': row('b,1|2|3|4\na,4|3|2|1'),
    'empty.csv': 'item_id,vector\n',
    'columns.csv': 'id,embedding\na,1|2|3|4\n',
    'three.csv': 'item_id,vector\na,1|2|3\n',
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(home, name), text)
  await writeVectors(home, 'cut.parquet', items)
  await truncate(join(home, 'cut.parquet'), 900)
  await writeVectors(home, 'cut.f32', items)
  await truncate(join(home, 'cut.f32'), 900)
  await writeVectors(home, 'alone.npy', items)
  await rm(join(home, 'alone.ids.txt'))
  const lists = [{ name: 'item_id', type: 'string' } as const, { name: 'vector', type: 'list<float>' } as const]
  for (const [name, value] of [
    ['nan', NaN],
    ['infinite', -Infinity],
  ] as const)
    await writeParquet(join(home, `${name}.parquet`), lists, (to) =>
      to.write({
        item_id: ['a', 'b'],
        vector: [
          [1, 2, 3, 4],
          [1, 2, 3, value],
        ],
      }),
    )
  // One through the program; the rest is the same functions without a process each.
  const through = await runFailing(fit('nan.csv'), home, 1)
  strictEqual(through.code, 'SIDESTREAM_FILE_INVALID')
  match(through.message, /nan\.csv: row 2, column vector: must hold finite float32 numbers; dimension 2 does not/)
  const at = (name: string): string => join(home, name)
  const fitting = (name: string): Promise<unknown> => sidFitFiles({ in: at(name), sizes: [4, 4], out: at('refused') })
  const encoding = (name: string, out = 'codes.parquet', bundle = 'bundle'): Promise<unknown> =>
    sidEncodeFiles({ in: at(name), bundle: at(bundle), out: at(out) })
  for (const [work, code, message] of [
    [() => fitting('infinite.csv'), 'SIDESTREAM_FILE_INVALID', /infinite\.csv: row 2.*dimension 4 does not/],
    [() => fitting('nan.parquet'), 'SIDESTREAM_FILE_INVALID', /nan\.parquet: row 2.*dimension 4 does not \(got NaN\)/],
    [() => fitting('infinite.parquet'), 'SIDESTREAM_FILE_INVALID', /row 2.*dimension 4 does not \(got -Infinity\)/],
    [() => fitting('ragged.csv'), 'SIDESTREAM_FILE_INVALID', /ragged\.csv: row 2.*must have 4 dimensions, this one has 3/],
    [
      () => fitting('twice.csv'),
      'SIDESTREAM_ID_INVALID',
      /twice\.csv: the item "a" stands in row 1 and again in row 3: give each item once/,
    ],
    [() => fitting('empty.csv'), 'SIDESTREAM_ITEMS_TOO_FEW', /empty\.csv: holds no vectors/],
    [() => fitting('columns.csv'), 'SIDESTREAM_FILE_INVALID', /lacks the columns item_id, vector; it has id, embedding/],
    [() => fitting('cut.parquet'), 'SIDESTREAM_FILE_INVALID', /cut\.parquet: cut short or damaged/],
    [() => fitting('cut.f32'), 'SIDESTREAM_FILE_INVALID', /200 rows of 4 dimensions are declared, 56\.25 are there/],
    [() => fitting('alone.npy'), 'SIDESTREAM_FILE_INVALID', /needs its ids, one a line, in .*alone\.ids\.txt/],
    [() => fitting('gone.parquet'), 'SIDESTREAM_FILE_UNREADABLE', /gone\.parquet: there is no such file/],
    [() => fitting('vectors.txt'), 'SIDESTREAM_FILE_INVALID', /its name must end with one of/],
    [() => encoding('three.csv'), 'SIDESTREAM_SHAPE_MISMATCH', /three\.csv: its vectors have 3 dimensions, the bundle takes 4/],
    [() => encoding('nan.csv'), 'SIDESTREAM_FILE_INVALID', /row 2/],
    [
      () => encoding('twice.csv'),
      'SIDESTREAM_ID_INVALID',
      /twice\.csv: the item "a" stands in row 1 and again in row 3: give each item once/,
    ],
    [
      () => encoding('vectors.parquet', 'nowhere/codes.parquet'),
      'SIDESTREAM_FILE_UNREADABLE',
      /there is no directory .*nowhere to write to/,
    ],
    [() => encoding('vectors.parquet', 'codes.parquet', 'no-bundle'), 'SIDESTREAM_ARTIFACT_MISSING', /no-bundle holds no manifest\.json/],
  ] as const) {
    await rejects(work, { code, message })
  }
  const found = await readdir(home)
  deepStrictEqual(
    found.filter((name) => name.startsWith('refused') || name.startsWith('codes') || name.startsWith('.')),
    [],
  )
})

test('ids and columns of other names are taken when they are named', async () => {
  const cells = Array.from({ length: 30 }, (_, i) => `n${i},${i}|${i % 3}`)
  await writeFile(join(home, 'named.csv'), `article,embedding\n${cells.join('\n')}\n`)
  const named = ['--id-column', 'article', '--vector-column', 'embedding']
  await runJson(['sid', 'fit', '--in', 'named.csv', ...named, '--levels', '3', '--out', 'named'], home)
  await runJson([...encode('named.csv', 'named.codes.csv', 'named'), ...named], home)
  match(await readFile(join(home, 'named.codes.csv'), 'utf8'), /^item_id,sid\nn0,[012]\n/)
  await writeVectors(home, 'apart.f32', items)
  await writeFile(join(home, 'other-ids.txt'), items.ids.map((id) => `my-${id}\n`).join(''))
  await runJson([...encode('apart.f32', 'apart.csv'), '--ids', 'other-ids.txt'], home)
  match(await readFile(join(home, 'apart.csv'), 'utf8'), /^item_id,sid\nmy-item-0,/)
})

test('few items per code are said, and a network that is worse than none', async () => {
  const notes = async (sizes: readonly number[], more: Partial<SidFitFiles> = {}): Promise<readonly string[]> => {
    const out = join(home, 'noted')
    const fitted = await sidFitFiles({ in: join(home, 'vectors.parquet'), sizes, out, ...more })
    deepStrictEqual((await readBundleDirectory(out)).metrics['notes'], fitted.notes)
    await rm(out, { recursive: true })
    return fitted.notes
  }
  deepStrictEqual(await notes([5, 1], { fsqDigits: [5, 5] }), [])
  deepStrictEqual(await notes([5, 6, 60]), [
    'fewer than 39 rows per code, so a codeword stands for few of them (level 2: 200 rows for 6 codes, 33 each; level 3: 200 rows for 60 codes, 3.3 each): take smaller levels, or more items',
  ])
  const sampled = { sampleRowsPerCode: 10 }
  match((await notes([4], sampled))[0]!, /\(level 1: 40 rows for 4 codes, 10 each\): fit on more of them \(--sample-rows-per-code\)/)
  deepStrictEqual(await notes([4], { ...sampled, passes: 1 }), [])
  const bad = await notes([4, 4], { method: 'rq-vae', rqVae: { epochs: 1, hidden: [4], latentDim: 2, learningRate: 1 } })
  match(bad[0]!, /^FVU above 1: .* worse than the mean of all would; train longer \(--epochs\)/)
})

test('fewer items than codes, identical vectors and dims without variance make a bundle that says so', async () => {
  await writeFile(join(home, 'few.csv'), 'item_id,vector\na,1|0\nb,0|1\nc,1|1\n')
  const few = await run(['sid', 'fit', '--in', 'few.csv', '--levels', '8,8', '--out', 'few'], home)
  strictEqual(few.code, 0, few.stderr)
  match(few.stdout, /3 distinct IDs.*note: fewer items than codes, the spare codes stay empty \(level 1: 3 items for 8 codes/s)
  await writeFile(join(home, 'same.csv'), `item_id,vector\n${Array.from({ length: 50 }, (_, i) => `i${i},0.5|0.5|0`).join('\n')}\n`)
  const same = await runJson(['sid', 'fit', '--in', 'same.csv', '--levels', '4,4', '--out', 'same'], home)
  deepStrictEqual([same['distinct'], same['maxBucket'], same['fvu']], [1, 50, 0])
  await writeFile(join(home, 'zero.csv'), `item_id,vector\n${Array.from({ length: 50 }, (_, i) => `i${i},0|0`).join('\n')}\n`)
  strictEqual((await runJson(['sid', 'fit', '--in', 'zero.csv', '--levels', '4,4', '--out', 'zero'], home))['distinct'], 1)
})

test('a refresh on a cut export, or on vectors that are all the same, is refused', async () => {
  await sidFitFiles({ in: join(home, 'vectors.parquet'), sizes: [4, 4], out: join(home, 'whole') })
  const rowsOf = (from: number, to: number): Items => ({
    ids: items.ids.slice(from, to),
    vectors: items.vectors.slice(from * items.dim, to * items.dim),
    dim: items.dim,
  })
  const refresh = (file: string, out: string): string[] => ['sid', 'refresh', '--bundle', 'whole', '--in', file, '--out', out]
  await writeVectors(home, 'cut.f32', rowsOf(0, 80))
  const cut = await runFailing([...refresh('cut.f32', 'from-cut'), '--churn-budget', '0.1'], home, 1)
  match(cut.message, /cut\.f32 holds 80 of the 200 items of .*whole.*, less than 0\.5 of them: check that it is whole, or set --min-shared/)
  const enough = await runJson([...refresh('cut.f32', 'from-cut'), '--churn-budget', '1', '--ceiling', '9', '--min-shared', '0.4'], home)
  strictEqual((enough['items'] as { vanished: number }).vanished, 120)
  await writeVectors(home, 'same.f32', { ...items, vectors: new Float32Array(items.vectors.length).fill(0.5) })
  const same = await runFailing([...refresh('same.f32', 'from-same'), '--churn-budget', '0.1'], home, 1)
  match(same.message, /all 200 items have the same vector, but for rounding: codebooks cannot be refreshed on them/)
})

test('a bundle with a changed byte, or without one of its files, is not used', async () => {
  await sidFitFiles({ in: join(home, 'vectors.parquet'), sizes: [4, 4], out: join(home, 'changed') })
  for (const part of ['codebooks.f32', 'item_to_sid.parquet', 'metrics.json']) {
    const file = join(home, 'changed', part)
    const whole = await readFile(file)
    const changed = Buffer.from(whole)
    changed[changed.length >> 1]! ^= 1
    await writeFile(file, changed)
    const encoding = (): Promise<unknown> =>
      sidEncodeFiles({ in: join(home, 'vectors.parquet'), bundle: join(home, 'changed'), out: join(home, 'codes.parquet') })
    const message = new RegExp(`${part.replace('.', '\\.')} has changed: its SHA-256 differs from the manifest: restore it`)
    await rejects(encoding, { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message })
    if (part === 'codebooks.f32') match((await runFailing(encode('vectors.parquet', 'codes.parquet', 'changed'), home, 1)).message, message)
    await rm(file)
    await rejects(encoding, { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /is missing: restore it/ })
    await writeFile(file, whole)
  }
})

test('where nothing can be written, nothing is left', { skip: process.platform === 'win32' }, async () => {
  await writeFile(join(home, 'a-file'), '')
  match(
    (await runFailing([...fit('vectors.parquet').slice(0, -1), 'a-file/bundle'], home, 1)).message,
    /a-file.*is a file, or stands below one/,
  )
  if (process.platform === 'linux') {
    // Below /proc a recursive mkdir of Node never ends.
    for (const out of ['/proc/bundle', '/proc/nope/bundle']) {
      match(
        (await runFailing([...fit('vectors.parquet').slice(0, -1), out], home, 1)).message,
        /\/proc\S*: nothing can be made there; write to/,
      )
      await rejects(sidReportFiles({ codes: 'gone.parquet', out }), {
        code: 'SIDESTREAM_FILE_UNREADABLE',
        message: /\/proc\S*: nothing can be made/,
      })
    }
  }
  await mkdir(join(home, 'small'))
  const large = clustered(3000, 64, 5)
  await writeVectors(home, 'large.f32', large)
  const full = await runWithSmallFiles(['sid', 'fit', '--in', 'large.f32', '--levels', '256,256', '--out', 'small/bundle'], home, 20)
  strictEqual(full.code, 1, full.stderr)
  match(full.stderr, /SIDESTREAM_DISK_FULL/)
  deepStrictEqual(await readdir(join(home, 'small')), [])
})
