/** Fit, report, refresh under a budget, and report beside the codes of before, as a user calls them. */
import { deepStrictEqual, doesNotMatch, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { readBundleDirectory, readSidGate, sidFeatureFiles, sidFitFiles, sidRefreshFiles, sidReportFiles } from '../../pipeline/index.ts'
import type { SidRefreshFiles, SidRefreshProgress, SidReportFiles } from '../../pipeline/index.ts'
import { readCodes, readColumns } from '../../schemas/index.ts'
import { refuses, run, runFailing, runJson } from './command.ts'
import { clustered, moved, writeVectors } from './vector-files.ts'

let home = ''
const items = clustered(800, 6, 8)
const gone = ['item-3', 'item-400']
const fresh = ['new-1', 'new-2', 'new-3']
const later = moved(items, 0.08, gone, fresh)

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-sid-chain-'))
  await writeVectors(home, 'then.parquet', items)
  await writeVectors(home, 'now.csv', later)
  await writeVectors(home, 'now.npy', later)
  await writeVectors(home, 'far.f32', moved(items, 0.6))
  const rows = items.ids.map((id, row) => `${id},${row % 8},${800 - row},${items.ids[(row + 8) % 800]}`)
  await writeFile(join(home, 'about.csv'), `item_id,label,traffic,other\n${rows.join('\n')}\n`)
  await sidFitFiles({ in: join(home, 'then.parquet'), sizes: [8, 8, 8], out: join(home, 'first') })
})

after(() => rm(home, { recursive: true, force: true }))

async function codesIn(name: string): Promise<Map<string, string>> {
  const codes = new Map<string, string>()
  for await (const { ids, sids } of readCodes(join(home, name))) for (const [i, id] of ids.entries()) codes.set(id, sids[i]!.join('-'))
  return codes
}

interface Curve {
  readonly curve: readonly { readonly delta: number | null; readonly churn: number; readonly fvu: number; readonly within: boolean }[]
}

interface Report {
  readonly figures: Readonly<Record<string, number>>
  readonly compared: { readonly items: number; readonly onlyAfter: number; readonly onlyBefore: number } | null
  readonly notes: readonly string[]
  readonly sizesGuessed: boolean
  readonly verdict: string | null
  readonly items: number
}

const refresh = (out: string, ...further: string[]): string[] => [
  'sid',
  'refresh',
  '--bundle',
  'first',
  '--in',
  'now.csv',
  '--out',
  out,
  ...further,
]
const report = (codes: string, ...further: string[]): string[] => ['sid', 'report', '--codes', codes, '--out', 'report', ...further]

test('the chain: report, refresh within its budget, encode, report beside the codes of before', async () => {
  const first = (await runJson(
    report(
      'first',
      '--in',
      'then.parquet',
      '--labels',
      'about.csv',
      '--traffic',
      'about.csv',
      '--pairs',
      'about.csv',
      '--pairs-columns',
      'item_id,other',
    ),
    home,
  )) as unknown as Report
  for (const figure of ['uniqueRate', 'fvu', 'prefix1.purity', 'tail.prefix2.hitRecall', 'prefix1.coOccurrenceRecall'])
    ok(first.figures[figure]! > 0, figure)
  strictEqual(first.verdict, null)

  const renewed = (await runJson(refresh('second', '--churn-budget', '0.1', '--traffic', 'about.csv'), home)) as unknown as Curve & {
    churn: { full: number; trafficWeighted: number }
    items: object
    newItems: { recall: Record<'k' | 'queries' | 'knownQueries' | 'recall' | 'knownRecall', number> }
  }
  deepStrictEqual(renewed.items, { known: 798, returned: 0, fresh: 3, vanished: 2, forgotten: 0 })
  ok(renewed.churn.full <= 0.1 && renewed.churn.full > 0)
  ok(renewed.churn.trafficWeighted > 0)
  ok(renewed.curve.length > 3)
  ok(renewed.curve.some(({ within }) => !within))
  const { recall } = renewed.newItems
  deepStrictEqual([recall.k, recall.queries, recall.knownQueries], [10, 3, 798])
  ok(recall.recall > 0 && recall.recall <= 1 && recall.knownRecall > 0 && recall.knownRecall <= 1)
  const { manifest } = await readBundleDirectory(join(home, 'second'))
  const { manifest: parent } = await readBundleDirectory(join(home, 'first'))
  strictEqual(manifest.about['parent'], 'first')
  strictEqual(manifest.about['idSpace'], parent.about['idSpace'])

  await runJson(['sid', 'encode', '--bundle', 'second', '--in', 'now.npy', '--out', 'second.csv'], home)
  const codes = await codesIn('second/item_to_sid.parquet')
  deepStrictEqual(await codesIn('second.csv'), codes)
  const old = await codesIn('first/item_to_sid.parquet')
  const known = later.ids.filter((id) => old.has(id))
  const changed = known.filter((id) => old.get(id) !== codes.get(id)).length / known.length
  strictEqual(changed, renewed.churn.full)

  const beside = (await runJson(
    report('second', '--in', 'now.csv', '--previous', 'first', '--previous-in', 'then.parquet', '--max', 'churn.full=0.1'),
    home,
  )) as unknown as Report
  const { items: both, onlyAfter, onlyBefore } = beside.compared!
  deepStrictEqual([beside.items, both, onlyAfter, onlyBefore, beside.verdict], [801, 798, 3, 2, 'pass'])
  match(beside.notes.join(), /figures are of all items; .* of the 798 that have codes on both sides: 3 have none before, 2 have none now/)
  strictEqual(beside.figures['churn.full'], changed)
  const json = JSON.parse(await readFile(join(home, 'report/report.json'), 'utf8')) as {
    figures: { figure: string; before: number | null }[]
  }
  ok(json.figures.find(({ figure }) => figure === 'fvu')!.before! > 0)
  let rows = 0
  for await (const batch of readColumns(join(home, 'report/report.parquet'), { columns: ['figure', 'value', 'before'] })) rows += batch.rows
  strictEqual(rows, json.figures.length)
  const page = await readFile(join(home, 'report/report.html'), 'utf8')
  match(page, /<title>Semantic IDs of second<\/title>/)
  match(page, /Passed: none of 1 thresholds failed/)
})

test('a threshold that fails exits with 3, and the report is there all the same', async () => {
  await writeFile(join(home, 'gate.yaml'), 'uniqueRate: { min: 0.01 }\nlevel1.dead: { max: 0 }\n')
  const failed = (await runJson(
    report('first', '--no-neighbors', '--gate', 'gate.yaml', '--min', 'uniqueRate=0.999'),
    home,
    3,
  )) as unknown as Report & {
    gate: { figure: string; verdict: string }[]
  }
  strictEqual(failed.verdict, 'fail')
  deepStrictEqual(
    failed.gate.map(({ figure, verdict }) => [figure, verdict]),
    [
      ['uniqueRate', 'fail'],
      ['level1.dead', 'pass'],
    ],
  )
  const { code, stdout } = await run(report('first', '--no-neighbors', '--min', 'uniqueRate=0.999'), home)
  strictEqual(code, 3)
  match(stdout, /failed: uniqueRate 0\.\d+, min 0\.999\nthresholds: 1 of 1 failed\nwritten to report/)
  match(await readFile(join(home, 'report/report.html'), 'utf8'), /Failed: 1 of 1 thresholds/)
})

test('a budget of 0 keeps every ID, of 1 takes the best, bounds per level and on traffic hold', async () => {
  const still = (await runJson(refresh('still', '--churn-budget', '0', '--ceiling', '9'), home)) as unknown as Curve & {
    churn: { full: number }
    fvu: number
  }
  strictEqual(still.churn.full, 0)
  const old = await codesIn('first/item_to_sid.parquet')
  for (const [id, sid] of await codesIn('still/item_to_sid.parquet')) ok(!old.has(id) || old.get(id) === sid, id)
  const free = (await runJson(refresh('free', '--churn-budget', '1'), home)) as unknown as typeof still
  ok(free.fvu < still.fvu)
  const bounded = (await runJson(
    refresh('bounded', '--level-budget', '0.01,any,0.2', '--traffic', 'about.csv', '--traffic-budget', '0.1', '--ceiling', '9'),
    home,
  )) as unknown as { churn: { perLevel: number[]; trafficWeighted: number } }
  ok(bounded.churn.perLevel[0]! <= 0.01 && bounded.churn.perLevel[2]! <= 0.2 && bounded.churn.trafficWeighted <= 0.1)
  const rotated = (await runJson(
    refresh('rotated', '--churn-budget', '0.1', '--rotate-from', 'then.parquet'),
    home,
  )) as unknown as typeof still
  ok(rotated.churn.full <= 0.1)
})

test('the table of costs has a column for every bound, and where the work stands is told by phase', async () => {
  const { code, stdout, stderr } = await run(
    refresh('columns', '--level-budget', 'any,0.5,0.25', '--prefix-budget', '0.125,0.375', '--ceiling', '9'),
    home,
  )
  strictEqual(code, 0, stderr)
  match(
    stdout,
    /^switching cost  IDs changed  first codes \(12\.5 %\)  first 2 codes \(37\.5 %\)  code 2 \(50 %\)  code 3 \(25 %\) +FVU  within budget\n/,
  )
  match(stdout, /of the 10 nearest of new items .* are among the 10 nearest by ID \(3 asked\), of the others .* \(798 asked\)/)
  const seen: SidRefreshProgress[] = []
  const work = {
    bundle: join(home, 'first'),
    in: join(home, 'now.csv'),
    onProgress: (stands: SidRefreshProgress) => void seen.push(stands),
  }
  const { curve } = await sidRefreshFiles({ ...work, out: join(home, 'seen'), plan: { kind: 'refresh', budget: { full: 0.1 } } })
  deepStrictEqual([...new Set(seen.map(({ phase }) => phase))], ['read', 'search', 'fit'])
  const searched = seen.filter(({ phase }) => phase === 'search')
  strictEqual(searched.length, curve.length)
  match(searched[0]!.note, /^cost 1: 0, changes \d+\.\d\d % of the IDs$/)
  ok(seen.every(({ share }, i) => share <= 1 && (seen[i - 1]?.phase !== seen[i]!.phase || share >= seen[i - 1]!.share)))
  seen.length = 0
  await sidRefreshFiles({ ...work, out: join(home, 'seen-based'), plan: { kind: 're-base', relabel: 'none' } })
  deepStrictEqual([...new Set(seen.map(({ phase }) => phase))], ['read', 'fit'])
})

test('codebooks are rotated block by block where the ends of blocks are given', async () => {
  const rotation = async (out: string, ...flags: string[]): Promise<object> => {
    await runJson(refresh(out, '--churn-budget', '0.1', '--rotate-from', 'then.parquet', ...flags), home)
    const { manifest } = await readBundleDirectory(join(home, out))
    return (manifest.about['policy'] as { rotation: object }).rotation
  }
  deepStrictEqual(await rotation('one-block'), { ends: [6] })
  deepStrictEqual(await rotation('blocks', '--rotate-blocks', '2,6'), { ends: [2, 6] })
})

test('a refusal shows the curve and what to do, exits with 3 and leaves no bundle', async () => {
  const flags = ['sid', 'refresh', '--bundle', 'first', '--in', 'far.f32', '--churn-budget', '0', '--out', 'refused']
  const { code, stderr, stdout } = await run(flags, home)
  strictEqual(code, 3)
  strictEqual(stdout, '')
  match(
    stderr,
    /switching cost +IDs changed.*infinite +0\.00 %.*SIDESTREAM_BUDGET_REFUSED: within the churn budget of 0 [^:]*: raise the budget or the ceiling, or declare a re-base \(a new ID space\)\. No bundle was written\.\n$/s,
  )
  const answer = (await runJson(flags, home, 3)) as unknown as Curve & { error: { code: string } }
  strictEqual(answer.error.code, 'SIDESTREAM_BUDGET_REFUSED')
  strictEqual(answer.curve.at(-1)!.delta, null)
  deepStrictEqual(
    (await readdir(home)).filter((name) => name.includes('refused')),
    [],
  )
})

test('a re-base is an ID space of its own, and says what renaming cannot do', async () => {
  const { code, stdout, stderr } = await run(refresh('based', '--rebase', '--relabel'), home)
  strictEqual(code, 0, stderr)
  match(stdout, /code 1 as before: .* renamed .*\nrelabelling renames codes.*\na new ID space, [0-9a-f]{16}: readers change over/)
  const { manifest } = await readBundleDirectory(join(home, 'based'))
  const { manifest: parent } = await readBundleDirectory(join(home, 'first'))
  strictEqual(manifest.about['parent'], null)
  ok(manifest.about['idSpace'] !== parent.about['idSpace'])
})

test('a re-base that fits the same codewords again has another name all the same', async () => {
  const again = await runJson(['sid', 'refresh', '--bundle', 'first', '--in', 'then.parquet', '--rebase', '--out', 'again'], home)
  const { manifest: parent } = await readBundleDirectory(join(home, 'first'))
  const { manifest } = await readBundleDirectory(join(home, 'again'))
  const sha = ({ parts }: typeof parent): string => parts.find(({ name }) => name === 'codebooks.f32')!.sha256
  strictEqual(sha(manifest), sha(parent))
  const { idSpace, policy } = manifest.about as { idSpace: string; policy: Record<string, unknown> }
  ok(idSpace !== parent.about['idSpace'])
  deepStrictEqual([again['idSpace'], policy['idSpace'], policy['idSpaceBefore']], [idSpace, idSpace, parent.about['idSpace']])
})

test('an item that was away for any number of refreshes keeps its ID under a budget of 0', async () => {
  const next = (bundle: string, vectors: string, full: number, out: string): ReturnType<typeof sidRefreshFiles> =>
    sidRefreshFiles({
      ...{ bundle: join(home, bundle), in: join(home, vectors), out: join(home, out) },
      plan: { kind: 'refresh', budget: { full }, ceiling: 9 },
    })
  await next('first', 'now.csv', 0.2, 'without')
  const away = await next('without', 'now.csv', 0.2, 'without-2')
  deepStrictEqual(away.items, { known: 801, returned: 0, fresh: 0, vanished: 2, forgotten: 0 })
  const back = await next('without-2', 'then.parquet', 0, 'back')
  deepStrictEqual(back.items, { known: 800, returned: 2, fresh: 0, vanished: 3, forgotten: 0 })
  deepStrictEqual([back.churn!.items, back.churn!.full], [800, 0])
  const [first, now] = [await codesIn('first/item_to_sid.parquet'), await codesIn('back/item_to_sid.parquet')]
  for (const id of gone) strictEqual(now.get(id), first.get(id), id)
  const { manifest } = await readBundleDirectory(join(home, 'back'))
  deepStrictEqual((manifest.about['policy'] as { items: object }).items, back.items)
})

test('earlier codes of few of the items judge nothing: all items are, and too small an overlap is refused', async () => {
  await writeFile(join(home, 'now-few.csv'), 'item_id,sid\na,1|1\nb,1|1\nc,1|1\nd,2|0\n')
  await writeFile(join(home, 'one.csv'), 'item_id,sid\nd,2|1\n')
  await writeFile(join(home, 'three.csv'), 'item_id,sid\nb,1|1\nd,2|1\ngone,0|0\n')
  const few = (...further: string[]): string[] => report('now-few.csv', '--levels', '4,4', '--no-neighbors', ...further)
  match(
    (await runFailing(few('--previous', 'one.csv', '--max', 'maxBucket=2'), home, 1)).message,
    /now-few\.csv holds 4 items, one\.csv 1, and 1 are in both: less than 0\.5 of either side; .*--min-shared/,
  )
  match(
    (await runFailing(few('--previous', 'three.csv', '--min-shared', '1'), home, 1)).message,
    /4 items, three\.csv 3, and 2 are in both/,
  )
  // The fullest ID holds three items, though only one of them has earlier codes.
  const beside = (await runJson(
    few('--previous', 'three.csv', '--max', 'maxBucket=2', '--max', 'churn.full=0.5'),
    home,
    3,
  )) as unknown as Report
  deepStrictEqual([beside.figures['maxBucket'], beside.figures['churn.full'], beside.verdict], [3, 0.5, 'fail'])
})

test('sizes that differ are refused, sizes that are guessed are said to be', async () => {
  await writeFile(join(home, 'guessed.csv'), 'item_id,sid\na,1|1\nb,0|7\n')
  const guessed = (await runJson(report('guessed.csv', '--no-neighbors'), home)) as unknown as Report
  strictEqual(guessed.sizesGuessed, true)
  match(guessed.notes[0]!, /guessed\.csv does not say how many codes a level has: guessed/)
  match(await readFile(join(home, 'report/report.html'), 'utf8'), /does not say how many codes a level has: guessed/)
  const rows = items.ids.map((id, row) => `${id},${row % 4}|0|1`)
  await writeFile(join(home, 'small.csv'), `item_id,sid\n${rows.join('\n')}\n`)
  await writeFile(join(home, 'above.csv'), `item_id,sid\n${rows.join('\n').replace('|1\n', '|8\n')}\n`)
  const beside = (await runJson(report('first', '--no-neighbors', '--previous', 'small.csv'), home)) as unknown as Report
  match(beside.notes[0]!, /small\.csv does not say .* 8 x 8 x 8 as of first, though its largest codes are 3, 0, 1/)
  match(
    (await runFailing(report('first', '--no-neighbors', '--previous', 'above.csv'), home, 1)).message,
    /above\.csv: holds the code 8 on level 3, which has 8 codes \(first\)/,
  )
  match(
    (await runFailing(report('first', '--no-neighbors', '--levels', '8,8,16'), home, 1)).message,
    /levels of 8 x 8 x 16 \(--levels\) and of 8 x 8 x 8 \(first\): codes of two shapes cannot be compared/,
  )
})

test('a bundle that has changed is refused as published codes too, whatever says the sizes', async () => {
  const table = 'item_to_sid.parquet'
  for (const name of ['bare', 'changed', 'resealed']) await cp(join(home, 'first'), join(home, name), { recursive: true })
  await rm(join(home, 'bare/manifest.json'))
  const bytes = await readFile(join(home, 'changed', table))
  bytes[100]! ^= 1
  await writeFile(join(home, 'changed', table), bytes)
  const manifest = await readFile(join(home, 'resealed/manifest.json'), 'utf8')
  await writeFile(join(home, 'resealed/manifest.json'), manifest.replace('"suffix": false', '"suffix": true'))
  for (const [name, refusal] of [
    ['bare', /bare holds no manifest\.json/],
    ['changed', /item_to_sid\.parquet has changed: its SHA-256 differs/],
    ['resealed', /manifest\.json has changed/],
  ] as const) {
    const codes = join(home, name)
    const known = { bundle: join(home, 'first') }
    const plan = { kind: 'refresh', budget: { full: 0.1 } } as const
    await rejects(sidRefreshFiles({ ...known, codes, in: join(home, 'now.csv'), out: join(home, 'no'), plan }), { message: refusal })
    await rejects(sidReportFiles({ ...known, codes, neighbors: false, out: join(home, 'report') }), { message: refusal })
    await rejects(sidFeatureFiles({ ...known, codes, out: join(home, 'no.parquet') }), { message: refusal })
    await rejects(sidFeatureFiles({ sizes: [8, 8, 8], codes, out: join(home, 'no.parquet') }), { message: refusal })
  }
})

test('what is measured behind a network is said to be', async () => {
  await sidFitFiles({
    ...{ in: join(home, 'then.parquet'), sizes: [8, 8], out: join(home, 'network') },
    ...{ method: 'rq-vae', rqVae: { epochs: 1, hidden: [4], latentDim: 2 } },
  })
  const own = { codes: join(home, 'network'), neighbors: false as const, out: join(home, 'report') }
  deepStrictEqual((await sidReportFiles(own)).notes, [])
  const { notes } = await sidReportFiles({ ...own, vectors: { in: join(home, 'then.parquet') } })
  match(notes.join(), /network has a network: FVU, distortion and cosine are of the latent vectors .*, not of those given/)
})

test('a free fit that leaves nothing is said to', async () => {
  // As many codes as there are vectors.
  await writeVectors(home, 'same.csv', { ids: ['a', 'b', 'c', 'd'], vectors: Float32Array.of(1, 0, 1, 0, 0, 1, 0, 1), dim: 2 })
  await sidFitFiles({ in: join(home, 'same.csv'), sizes: [2, 2], out: join(home, 'same') })
  const { stdout, stderr } = await run(
    ['sid', 'refresh', '--bundle', 'same', '--in', 'same.csv', '--churn-budget', '0', '--out', 'same-2'],
    home,
  )
  match(stdout, /\(FVU\) 0\.0000, where a free fit leaves none;/, stderr)
})

test('titles are the examples of the page, and labels that pandas wrote as 186.0 are whole', async () => {
  const rows = items.ids.map((id, row) => `${id},Lamp no. ${row},${row % 8 === 3 ? '' : `${180 + (row % 8)}.0`}`)
  await writeFile(join(home, 'named.csv'), `item_id,title,label\n${rows.join('\n')}\n`)
  await runJson(report('first', '--no-neighbors', '--titles', 'named.csv', '--labels', 'named.csv'), home)
  const page = await readFile(join(home, 'report/report.html'), 'utf8')
  match(page, /Lamp no\. \d+; Lamp no\. \d+/)
  match(page, /<td[^>]*>18[0-7]<\/td>/)
  doesNotMatch(page, /18[0-7]\.0</)
})

test('a refresh and a report give the same bytes again, whatever the threads', async () => {
  for (const [threads, out] of [
    ['1', 'x'],
    ['3', 'y'],
  ] as const) {
    await runJson(refresh(`${out}/bundle`, '--churn-budget', '0.1', '--threads', threads), home)
    await runJson(['sid', 'report', '--codes', `${out}/bundle`, '--in', 'now.csv', '--threads', threads, '--out', `${out}/report`], home)
  }
  for (const name of ['bundle/manifest.json', 'bundle/metrics.json', 'report/report.json', 'report/report.parquet', 'report/report.html'])
    strictEqual(await readFile(join(home, 'x', name), 'hex'), await readFile(join(home, 'y', name), 'hex'), name)
})

test('what cannot be compared, judged or refreshed is named', async () => {
  await writeFile(join(home, 'twice.csv'), 'item_id,sid\na,1|2\nb,0|1\na,1|1\n')
  await writeFile(join(home, 'two.csv'), 'item_id,sid\nitem-1,1|2\nitem-2,0|1\n')
  await writeFile(join(home, 'ragged.csv'), 'item_id,sid\na,1|2\nb,0\n')
  await writeFile(join(home, 'none.csv'), 'item_id,sid\n')
  await writeFile(join(home, 'strangers.csv'), 'item_id,sid,label,traffic\nz,1|2|3,x,-1\n')
  await writeFile(join(home, 'negative.csv'), 'item_id,traffic\nitem-1,-1\n')
  await writeFile(join(home, 'idle.csv'), 'item_id,traffic\nitem-1,0\n')
  await writeFile(join(home, 'doubled.csv'), `item_id,vector\n${'item-1,1|2|3|4|5|6\n'.repeat(2)}`)
  await writeFile(join(home, 'bad-gate.yaml'), 'uniqueRate: { least: 1 }\n')
  await writeVectors(home, 'half.csv', clustered(400, 6, 8))
  await writeVectors(home, 'wide.csv', clustered(10, 7, 2))
  const at = (name: string): string => join(home, name)
  const reporting = (codes: string, own: Partial<SidReportFiles> = {}): Promise<unknown> =>
    sidReportFiles({ codes: at(codes), out: at('report'), neighbors: false, ...own })
  const refreshing = (own: Partial<SidRefreshFiles>): Promise<unknown> =>
    sidRefreshFiles({ bundle: at('first'), in: at('now.csv'), out: at('no'), plan: { kind: 'refresh', budget: { full: 0.1 } }, ...own })
  for (const [work, message] of [
    [() => reporting('twice.csv'), /twice\.csv: the item "a" stands in row 1 and again in row 3/],
    [() => reporting('ragged.csv'), /ragged\.csv: row 2, column sid: must have 2 levels as the rows before/],
    [() => reporting('none.csv'), /none\.csv: holds no codes/],
    [() => reporting('gone.csv'), /gone\.csv: there is no such file/],
    [
      () => reporting('first', { vectors: { in: at('half.csv') } }),
      /half\.csv: lacks the vector of "item-400", which has codes in .*first/,
    ],
    [() => reporting('first', { vectors: { in: at('wide.csv') } }), /wide\.csv: its vectors have 7 dimensions, the bundle takes 6/],
    [
      () => reporting('first', { previous: { codes: at('two.csv') } }),
      /IDs have 3 codes now and had 2 before: codes of two shapes cannot be compared/,
    ],
    [
      () => reporting('first', { previous: { codes: at('strangers.csv') } }),
      /first holds 800 items, .*strangers\.csv 1, and 0 are in both: check the ids/,
    ],
    [
      () => reporting('two.csv', { bundle: at('first') }),
      /two\.csv: IDs have 2 codes, those of the bundle 3: name the bundle that made them/,
    ],
    [
      () => reporting('first', { labels: { file: at('strangers.csv'), columns: ['item_id', 'label'] } }),
      /strangers\.csv: none of its items \(such as z\) has codes: check the ids in column item_id/,
    ],
    [
      () => reporting('first', { traffic: { file: at('negative.csv'), columns: ['item_id', 'traffic'] } }),
      /negative\.csv: row 1, column traffic: traffic is at least 0 \(got -1\)/,
    ],
    [() => readSidGate(at('bad-gate.yaml')), /bad-gate\.yaml: must hold thresholds by figure/],
    [() => reporting('first', { gate: { 'prefix1.purity': { min: 1 } } }), /has no figure prefix1\.purity/],
    [
      () => refreshing({ plan: { kind: 'refresh', budget: { full: 1, perLevel: [0.1, 0.1, 0.1, 0.1] } } }),
      /has 4 bounds, but an ID has 3 codes/,
    ],
    [() => refreshing({ out: at('first') }), /first is not empty/],
    [() => refreshing({ codes: at('strangers.csv') }), /none of the 801 items \(such as item-0\) has a published ID \(such as that of z\)/],
    [() => refreshing({ in: at('doubled.csv') }), /doubled\.csv: the item "item-1" stands in row 1 and again in row 2/],
    [
      () =>
        refreshing({
          traffic: { file: at('idle.csv'), columns: ['item_id', 'traffic'] },
          plan: { kind: 'refresh', budget: { full: 1, trafficWeighted: 0.1 } },
        }),
      /no item that had an ID has traffic/,
    ],
    [() => refreshing({ codes: at('two.csv') }), /do not fit codebooks of \[8, 8, 8\]/],
    [
      () => refreshing({ plan: { kind: 'refresh', budget: { full: 0.1 }, rotateFrom: { in: at('half.csv') } } }),
      /half\.csv: lacks the earlier vector of "item-40\d", which has codes/,
    ],
    [
      () => refreshing({ plan: { kind: 'refresh', budget: { full: 0.1 }, rotateFrom: { in: at('then.parquet') }, rotateBlocks: [2, 5] } }),
      /blocks that end at \[2, 5\] do not cover 6 dims/,
    ],
  ] as const) {
    await rejects(work, { message })
  }
  match((await runFailing(report('first', '--in', 'half.csv'), home, 1)).message, /half\.csv: lacks the vector of "item-400"/)
  const cases: [args: string[], message: RegExp][] = [
    [report('first', '--min', 'purity'), /a threshold is a figure and a number, such as uniqueRate=0\.7, not "purity"/],
    [report('first', '--previous-in', 'then.parquet'), /--previous-in says more of earlier codes: name them with --previous/],
    [report('first', '--labels', 'about.csv', '--labels-columns', 'label'), /--labels-columns must be two names between a comma/],
    [refresh('no'), /say how many IDs may change with --churn-budget, such as 0\.1/],
    [refresh('no', '--churn-budget', '1.5'), /--churn-budget must be a share from 0 to 1, not "1\.5"/],
    [refresh('no', '--churn-budget', '0.1', '--rotate-blocks', '2,6'), /--rotate-blocks says how to rotate: add --rotate-from/],
    [refresh('no', '--rebase', '--churn-budget', '0.1'), /a re-base keeps no budget/],
    [refresh('no', '--churn-budget', '0.1', '--relabel'), /--relabel renames the codes of a re-base: add --rebase/],
    [refresh('no', '--churn-budget', '0.1', '--traffic-budget', '0.1'), /needs traffic per item: add --traffic/],
  ]
  await refuses(cases, home, 2)
  strictEqual(existsSync(join(home, 'no')), false)
})
