/** `distill` in stages: the configuration of the guide, resuming after a kill, budgets, refusals, warm starts. */
import { deepStrictEqual, match, notDeepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'

import { writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import type { DistillReport } from '../../pipeline/index.ts'
import { refuses, run, runFailing, runJson, start } from './command.ts'
import { writeConfig } from './shop.ts'
import { writeIdEmbeddings, writePairs } from '../../examples/small-shop/teaching-files.ts'
import { checkout, checkoutPath } from '../checkout.ts'

let home = ''

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-distill-'))
  await writeConfig(home)
  await writeContent(home)
  await writeInteractions(home)
  await writeIdEmbeddings(home, { broken: 2 })
  await writePairs(home, { unknown: 3 })
  await writeFile(join(home, 'staged.yaml'), await guideConfig())
})

after(() => rm(home, { recursive: true, force: true }))

/** The configuration of the guide, with the dims of the small shop. */
async function guideConfig(): Promise<string> {
  const guide = await readFile(new URL('docs/how-to/train-in-stages.md', checkout), 'utf8')
  let text = /```yaml\n([\s\S]*?)```/.exec(guide)![1]!
  for (const [from, to] of [
    ['text: { dim: 256 }', 'text: { dim: 12 }'],
    ['image: { dim: 128 }', 'image: { dim: 8 }'],
    ['batch: 512', 'batch: 64'],
    ['project: shop', 'project: shop\nhead: { dim: 16, prefixes: [8, 16], hidden: 16 }'],
  ] as const) {
    ok(text.includes(from), `the guide says ${from}`)
    text = text.replace(from, to)
  }
  return text
}

const files = ['--interactions', 'interactions.csv', '--content', 'content.parquet']
const more = ['--id-embeddings', 'id-embeddings.csv', '--pairs', 'pairs.csv']
const plain = (out: string, ...further: string[]): string[] => ['distill', ...files, '--out', out, ...further]
const staged = (out: string, ...further: string[]): string[] => [
  'distill',
  '-c',
  'staged.yaml',
  ...files,
  ...more,
  '--out',
  out,
  ...further,
]

const headBytes = (out: string): Promise<Buffer> => readFile(join(home, out, 'head.artifact', 'head.tensors'))
const reportOf = async (out: string): Promise<DistillReport> =>
  JSON.parse(await readFile(join(home, out, 'report.json'), 'utf8')) as DistillReport

test('the configuration of the guide runs: five stages, counts of what was left out, a report', async () => {
  const answer = await runJson(staged('five', '--steps', '8'), home)
  strictEqual(answer['verdict'], 'pass')
  const report = await reportOf('five')
  deepStrictEqual(
    report.stages.map(({ name, steps }) => [name, steps > 0 && steps <= 8]),
    ['base', 'finetuned', 'refined', 'cre-a', 'cre-b'].map((name) => [name, true]),
  )
  deepStrictEqual(report.leftOut['idEmbeddings']?.rows, 2, 'vectors that are no numbers')
  match(report.leftOut['idEmbeddings']!.first, /id-embeddings\.csv.*row 1.*finite/)
  ok(report.sources['similar']!.unknown > 0, 'pairs of unknown items are counted')
  deepStrictEqual(Object.keys(report.sources['ids']!.teachers!), ['item'], 'nobody sent embeddings of authors')
  deepStrictEqual(report.silentKinds, { ids: ['author'] })
  ok(report.sources['similar']!.heldOut > 0)
  ok(report.stages[1]!.farthest > 0, 'the second stage leaves out what is farthest apart')
  ok(report.trace.balances.length >= 2, 'stages were balanced by tasks')
  ok(report.trace.mined.every(({ f1 }) => f1 > 0) && report.trace.mined.length > 0)
  strictEqual(report.pareto!.points.length, 11)
  const { taughtKendall, pairAuc } = report.judged!.judgement.metrics.candidate
  ok(typeof taughtKendall === 'number', 'agreement with the ID embeddings')
  ok(typeof pairAuc === 'number', 'graded pairs are told apart')
  ok(report.stages[0]!.sources['graded']!.terms['cosent']! > 0, 'scores are compared')
  const page = await readFile(join(home, 'five', 'report.html'), 'utf8')
  for (const words of [
    'Stage refined',
    'last lambda*',
    'Learned temperatures',
    'no ID embedding of author teaches an item',
    'Share of the steps',
    'Pareto',
    'Raw content',
    'This head',
    'Consistent histories',
    'ID embeddings that taught this head',
    'bijective alignment of pairs',
  ]) {
    ok(page.includes(words), `the page says ${words}`)
  }
  ok(!/<script|https?:\/\/(?!www\.w3\.org)/.test(page), 'the page loads and runs nothing')
})

test('the two commands of the guide run as they stand, on its configuration in the size of the shop', async () => {
  const guide = await readFile(new URL('docs/how-to/train-in-stages.md', checkout), 'utf8')
  const [make, distill, ...rest] = /```sh\n([\s\S]*?)\n```/.exec(guide)![1]!.split('\n')
  deepStrictEqual(rest, [])
  const there = (words: string): string[] => words.split(' ').map((word) => word.replace(/^out\/shop/, join(home, 'made')))
  const [node, ...script] = there(make!)
  strictEqual(node, 'node')
  await promisify(execFile)(process.execPath, script, { cwd: checkoutPath })
  strictEqual((await readFile(join(home, 'made', 'staged.yaml'), 'utf8')).replace(/^#.*\n/, ''), await guideConfig())
  const program = 'npm run -s sidestream -- '
  ok(distill!.startsWith(program))
  const { code, stdout, stderr } = await run(there(distill!.slice(program.length)), home)
  strictEqual(code, 0, stderr)
  for (const source of ['similar', 'graded', 'near', 'ids', 'collaborative-multi'])
    match(stdout, new RegExp(`^source ${source}: \\d+ rows`, 'm'))
  match(stdout, /^stage cre-b: \d+ steps/m)
  ok(existsSync(join(home, 'made', 'head', 'report.html')))
})

/** Stages of the guide that another one follows. */
const ended = ['base', 'finetuned', 'refined', 'cre-a']

test('a run that is killed goes on and ends with the same bytes', async () => {
  const steps = ['--steps', '30', '--keep-every', '4']
  await runJson(staged('through', ...steps), home)
  const first = start(staged('killed', ...steps), home)
  await kept(join(home, 'killed'), /^run~00[1-3]-/)
  first.child.kill('SIGKILL')
  strictEqual((await first.ended).signal, 'SIGKILL')
  ok(!existsSync(join(home, 'killed', 'head.artifact')))
  const endBytes = (out: string): Promise<Buffer[]> =>
    Promise.all(['head.tensors', 'manifest.json'].map((part) => readFile(join(home, out, 'end-base.artifact', part))))
  deepStrictEqual(await endBytes('killed'), await endBytes('through'), 'the stage that had ended left its head')
  match((await runFailing(staged('killed', ...steps), home, 2)).message, /holds a run that has not ended: go on with --resume/)
  match((await runFailing(staged('killed', '--steps', '31', '--resume'), home, 2)).message, /other files or options/)
  await runJson(staged('killed', ...steps, '--resume'), home)
  deepStrictEqual(await headBytes('killed'), await headBytes('through'))
  deepStrictEqual(await reportOf('killed'), await reportOf('through'))
  deepStrictEqual(await endBytes('killed'), await endBytes('through'))
  deepStrictEqual(
    (await readdir(join(home, 'killed'))).sort(),
    [...ended.map((name) => `end-${name}.artifact`), 'head.artifact', 'report.html', 'report.json'].sort(),
    'nothing of the run is left',
  )
})

/** Resolves when a checkpoint with such a name is there. */
async function kept(directory: string, name: RegExp): Promise<void> {
  for (;;) {
    const names = await readdir(directory).catch(() => [])
    if (names.some((one) => name.test(one))) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

test('ID embeddings that teach nothing are told, and so is the source that is left without any', async () => {
  const row = (entity: string, ts: number, vector: string): string => `${entity},item-1,${ts},${vector},9`
  const rows = [row('item', 9e12, '1|2'), row('item', 9e12, '2|1'), row('item', 1, '0|0'), row('song', 1, '1')]
  await writeFile(join(home, 'late.csv'), `entity,entity_id,ts,vector,exposures\n${rows.join('\n')}\n`)
  const told = await run(['distill', '-c', 'staged.yaml', ...files, '--id-embeddings', 'late.csv', '--out', 'late', '--steps', '1'], home)
  strictEqual(told.code, 0, told.stderr)
  match(told.stdout, /source ids: no rows, passed over \(no ID embedding of its kinds teaches an item\)/)
  match(told.stdout, /stage finetuned: no step: none of its sources has rows and a share$/m)
  match(told.stdout, /stage cre-a: 1 steps, loss per pass \d/)
  ok((await readFile(join(home, 'late', 'report.html'), 'utf8')).includes('Stage finetuned: no step: none of its sources has rows'))
  match(told.stdout, /ID embeddings: of 4 rows, 2 later than what is trained on \(their `ts`\), 1 refused \(.*\), 1 of kinds that/)
  ok((await readFile(join(home, 'late', 'report.html'), 'utf8')).includes('of 4 rows, 2 later than what is trained on'))
  const { kind, rows: taught } = (await reportOf('late')).sources['ids']!
  deepStrictEqual([kind, taught], ['ids', 0])
})

test('a time budget leaves a judged head that is called unfinished, and a run that ends as one that never stopped', async () => {
  const stopped = await run(plain('budget', '--time-budget', '1ms'), home)
  strictEqual(stopped.code, 0, stopped.stderr)
  match(stopped.stdout, /^stopped after 0 of \d+ steps, in stage collaboration: the time budget is used up\n/)
  match(stopped.stdout, /judged on \d+ later events: passed[\s\S]*unfinished-head\.artifact[\s\S]*--resume to go on/)
  ok(!existsSync(join(home, 'budget', 'head.artifact')))
  const { done, of } = (await reportOf('budget')).stopped!
  ok(done === 0 && of > 0)
  ok((await readFile(join(home, 'budget', 'report.html'), 'utf8')).includes(`Stopped after 0 of ${of} steps`))
  await runJson(['embed', '--head', 'budget', '--content', 'content.parquet', '--out', 'unfinished.f32'], home)
  match((await runFailing(plain('budget'), home, 2)).message, /holds a run that has not ended: go on with --resume/)
  await runJson(plain('budget', '--resume'), home)
  await runJson(plain('unhurried'), home)
  deepStrictEqual(await headBytes('budget'), await headBytes('unhurried'))
  deepStrictEqual(await reportOf('budget'), await reportOf('unhurried'))
  deepStrictEqual((await readdir(join(home, 'budget'))).sort(), ['head.artifact', 'report.html', 'report.json'])
})

test('Ctrl-C ends it in order as well', async () => {
  const running = start(staged('interrupted', '--json'), home)
  await kept(join(home, 'interrupted'), /^run~000-/)
  running.child.kill('SIGINT')
  const { code, stdout } = await running.ended
  strictEqual(code, 0)
  strictEqual((JSON.parse(stdout) as { stopped: { why: string } }).stopped.why, 'interrupted')
  const left = await readdir(join(home, 'interrupted'))
  ok(
    left.every((name) => /^(run~|end-)/.test(name)),
    `nobody waits for a judgment: ${left.join(', ')}`,
  )
})

test('a head may be begun from, and is then what warm items are held against', async () => {
  const report = await runJson(plain('warmed', '--start', 'unhurried', '--steps', '3'), home)
  strictEqual(report['warmStart'], true)
  const { judged } = await reportOf('warmed')
  deepStrictEqual(Object.keys(judged!.retrieval).sort(), ['candidate', 'raw', 'start'])
  strictEqual(judged!.judgement.clauses.find(({ name }) => name === 'warm-recall-10')!.against, 'live')
  notDeepStrictEqual(await headBytes('warmed'), await headBytes('unhurried'))
  match((await runFailing(plain('other', '--start', 'nowhere'), home, 1)).message, /nowhere: there is no such directory/)
  await writeConfig(home, 'wide.yaml', { 'dim: 16, prefixes: [8, 16]': 'dim: 8, prefixes: [8]' })
  match((await runFailing([...plain('other', '--start', 'unhurried'), '-c', 'wide.yaml'], home, 2)).message, /train the same kind/)
})

test('a refused head exits with 3 and every reason, and is kept under another name', async () => {
  await writeConfig(home, 'strict.yaml', {
    'log: { partitions: 2 }': 'log: { partitions: 2 }\nguard: { minEvents: 1, gate: { recall1: { min: 0.99 }, pop: { min: 0.999 } } }',
  })
  const strict = [...plain('strict', '--steps', '2'), '-c', 'strict.yaml']
  const { code, message } = await runFailing(strict, home, 3)
  strictEqual(code, 'SIDESTREAM_GUARD_REFUSED')
  match(message, /recall1 .* at least 0\.99.*; pop .* at least 0\.999.* refused-head/)
  ok(!existsSync(join(home, 'strict', 'head.artifact')) && existsSync(join(home, 'strict', 'refused-head.artifact', 'head.onnx')))
  strictEqual((await reportOf('strict')).verdict, 'refused')
  const embed = ['embed', '--head', 'strict', '--content', 'content.parquet', '--out', 'strict.f32']
  match((await runFailing(embed, home, 1)).message, /was refused .*strict\/refused-head\.artifact/)
  await runJson([...embed, '--refused'], home)
  match((await runFailing(plain('onward', '--start', 'strict'), home, 1)).message, /by its name, strict\/refused-head\.artifact/)
  await runJson(plain('onward', '--start', 'strict/refused-head.artifact', '--steps', '1'), home)
})

test('when a mix of content and a refused head passes, it is kept and can be taken', async () => {
  const { points } = (await reportOf('unhurried')).pareto!
  const [before, after] = [points[0]!.collaborative!, points.at(-1)!.collaborative!]
  notDeepStrictEqual(before, after, 'training changes what is liked next')
  // In a shop this small training costs nothing, so the bound stands on the side of the start, whichever that is.
  const bound = `{ ${before < after ? 'max' : 'min'}: ${(before + after) / 2} }`
  await writeConfig(home, 'mixed.yaml', {
    'log: { partitions: 2 }': `log: { partitions: 2 }\nguard: { minEvents: 1, minNeighborRecall: 0, gate: { warmPop: ${bound} } }`,
  })
  const { message } = await runFailing([...plain('mixed'), '-c', 'mixed.yaml'], home, 3)
  match(message, /warmPop .*passes: take mixed\/mixed-head\.artifact/)
  const { mixed, judged } = await reportOf('mixed')
  ok(mixed !== null && mixed.k < 1 && mixed.judgement.verdict === 'pass')
  notDeepStrictEqual(mixed.judgement.metrics.candidate, judged!.judgement.metrics.candidate)
  ok((await readFile(join(home, 'mixed', 'report.html'), 'utf8')).includes('is kept as mixed-head'))
  await runJson(['embed', '--head', 'mixed/mixed-head.artifact', '--content', 'content.parquet', '--out', 'mixed.f32'], home)
  await runJson(['embed', '--head', 'mixed', '--refused', '--content', 'content.parquet', '--out', 'last.f32'], home)
  notDeepStrictEqual(await readFile(join(home, 'mixed.f32')), await readFile(join(home, 'last.f32')))
})

/** The guide's configuration with other stages: the text of each in order. */
async function writeStages(name: string, change: (stages: readonly string[]) => readonly string[]): Promise<void> {
  const [before, ...stages] = (await readFile(join(home, 'staged.yaml'), 'utf8')).split(/^(?= {4}- name: )/m)
  await writeFile(join(home, name), [before, ...change(stages)].join(''))
}
const stagesOf = async (out: string): Promise<string[]> => (await reportOf(out)).stages.map(({ name }) => name)
const endTensors = (out: string, stage: string): Promise<Buffer> => readFile(join(home, out, `end-${stage}.artifact`, 'head.tensors'))

test('stages are skipped: the others go on from the head at the end of the one before', async () => {
  await writeStages('remaining.yaml', (stages) => stages.slice(2))
  const from = ['--start', 'through/end-finetuned.artifact']
  const told = await run([...staged('skipped', ...from, '--steps', '2'), '-c', 'remaining.yaml'], home)
  strictEqual(told.code, 0, told.stderr)
  match(told.stdout, /source ids: no ID embedding of author teaches an item; it learns from its other kinds alone/)
  deepStrictEqual(await stagesOf('skipped'), ['refined', 'cre-a', 'cre-b'])
  ok((await reportOf('skipped')).warmStart)
  await runJson([...staged('unbegun', '--steps', '2'), '-c', 'remaining.yaml'], home)
  notDeepStrictEqual(await endTensors('skipped', 'refined'), await endTensors('unbegun', 'refined'), 'it began from the head of that end')
  const nothing = plain('never', '--start', 'through/end-none.artifact')
  match((await runFailing(nothing, home, 1)).message, /end-none\.artifact: there is no such artifact/)
})

test('a stage is repeated: under a name of its own it trains on from its own end', async () => {
  await writeStages('repeated.yaml', ([base, ...others]) => [base!, base!.replace('name: base', 'name: base-again'), ...others.slice(-1)])
  await runJson([...staged('repeated', '--steps', '2'), '-c', 'repeated.yaml'], home)
  deepStrictEqual(await stagesOf('repeated'), ['base', 'base-again', 'cre-b'])
  const [once, again] = (await reportOf('repeated')).stages
  deepStrictEqual([once!.steps, again!.steps], [2, 2])
  notDeepStrictEqual(await endTensors('repeated', 'base-again'), await endTensors('repeated', 'base'))
})

test('a head that nothing could judge is not called judged', async () => {
  const rows = (await readFile(join(home, 'interactions.csv'), 'utf8')).trimEnd().split('\n')
  const newest = Math.max(...rows.slice(1).map((row) => Number(row.split(',')[2])))
  // Nobody of the newest comes back.
  const strangers = Array.from({ length: 200 }, (_, i) => `stranger-${i},item-1,${newest + 1000 + i},click`)
  await writeFile(join(home, 'strangers.csv'), `${[...rows, ...strangers].join('\n')}\n`)
  const share = String(100 / (rows.length + 200))
  const own = ['distill', '--interactions', 'strangers.csv', '--content', 'content.parquet', '--out', 'strangers', '--steps', '1']
  const told = await run([...own, '--hold-out', share], home)
  strictEqual(told.code, 0, told.stderr)
  match(told.stdout, /^not judged: no events \(what needs none passed: content-neighbor-recall\)$/m)
  strictEqual((await reportOf('strangers')).judged!.judgement.events, 0)
  ok((await readFile(join(home, 'strangers', 'report.html'), 'utf8')).includes('This head was not judged: no events'))
})

test('usage that cannot be meant is refused before anything is read', async () => {
  const cases: [args: string[], message: RegExp][] = [
    [plain('never', '--hold-out', '1'), /--hold-out must be/],
    [plain('never', '--hold-out', ''), /--hold-out must be/],
    [plain('never', '--time-budget', '10'), /--time-budget must be/],
    [plain('never', '--steps', '0'), /--steps must be/],
    [plain('never', '--keep-every', 'x'), /--keep-every must be/],
  ]
  await refuses(cases, home, 2)
  ok(!existsSync(join(home, 'never', 'head.artifact')))
})
