/** `distill` and `embed` on input that cannot be meant, and on disks that do not take what they write. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { hashUnit } from '../../compute/index.ts'
import { items, startTs, writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import { readContent } from '../../schemas/index.ts'
import { refuses, run, runFailing, runJson, runWithSmallFiles } from './command.ts'
import { writeConfig } from './shop.ts'

let home = ''
/** Rows of `content.csv` and `interactions.csv` as cells, without the header. */
let content: string[][] = []
let interactions: string[][] = []

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-bad-input-'))
  await writeConfig(home)
  await writeContent(home)
  await writeInteractions(home)
  interactions = (await readFile(join(home, 'interactions.csv'), 'utf8'))
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','))
  for await (const batch of readContent(join(home, 'content.parquet'), { text: { dim: 12 }, image: { dim: 8 } })) {
    for (const row of batch) {
      const { text, image } = row.content!.vectors
      content.push([row.itemId, String(row.eventTs), [...(text ?? [])].join('|'), [...(image ?? [])].join('|')])
    }
  }
})

after(() => rm(home, { recursive: true, force: true }))

async function write(name: string, header: string, rows: readonly (readonly string[])[]): Promise<void> {
  await writeFile(join(home, name), [header, ...rows.map((row) => row.join(','))].map((line) => `${line}\n`).join(''))
}
const writeItems = (name: string, rows = content, header = 'item_id,ts,text,image'): Promise<void> => write(name, header, rows)
const writeActs = (name: string, rows = interactions, header = 'user_id,item_id,ts,behaviors'): Promise<void> => write(name, header, rows)
/** The rows with one cell changed in all of them, or in the row of index 5. */
const withCell = (rows: string[][], column: number, of: (cell: string) => string, at?: number): string[][] =>
  rows.map((row, i) => (at === undefined || at === i ? row.with(column, of(row[column]!)) : row))

const distill = (out: string, own: { acts?: string; items?: string } = {}, ...further: string[]): string[] => [
  'distill',
  ...['--interactions', own.acts ?? 'interactions.csv', '--content', own.items ?? 'content.parquet', '--out', out, '--steps', '2'],
  ...further,
]

test('without anything to train on, the first thing that is missing is named', async () => {
  await writeItems('no-items.csv', [])
  await writeItems(
    'deleted.csv',
    content.map((row) => [...row, 'true']),
    'item_id,ts,text,image,deleted',
  )
  await writeActs('no-acts.csv', [])
  await writeActs(
    'bought.csv',
    withCell(interactions, 3, () => 'buy'),
  )
  await writeActs(
    'strange.csv',
    withCell(interactions, 1, (id) => `gone-${id}`),
  )
  await writeActs(
    'once.csv',
    interactions.slice(0, 90).map((row, i) => row.with(0, `user-${i}`)),
  )
  const cases: [args: string[], message: RegExp][] = [
    [distill('never', { items: 'no-items.csv' }), /no item has content; the file of content has no rows/],
    [distill('never', { items: 'deleted.csv' }), /no item has content; .* deletes all items/],
    [distill('never', { acts: 'no-acts.csv' }), /there are no interactions; the file has no rows/],
    [
      distill('never', { acts: 'bought.csv' }),
      /no interaction is liked: behaviors are buy, and interactions\.positiveBehaviors names click, like/,
    ],
    [
      distill('never', { acts: 'strange.csv' }),
      /none of the liked items has content, such as gone-item-\d+; content is there of item-0: check the ids/,
    ],
    [distill('never', { acts: 'once.csv' }), /no user liked two items that have content \(\d+ liked interactions of 90\)$/],
  ]
  await refuses(cases, home, 1, 'SIDESTREAM_ITEMS_TOO_FEW')
  deepStrictEqual(await readdir(join(home, 'never')), [])
})

test('a row or file that is broken is named with its place and what is wanted', async () => {
  await writeItems(
    'nan.csv',
    withCell(content, 2, () => `NaN${'|0'.repeat(11)}`, 5),
  )
  await writeItems(
    'large.csv',
    withCell(content, 2, () => `1e13${'|0'.repeat(11)}`, 5),
  )
  await writeItems(
    'short.csv',
    withCell(content, 2, () => '1|2|3', 5),
  )
  await writeItems('misnamed.csv', content, 'item_id,ts,txt,img')
  const parquet = await readFile(join(home, 'content.parquet'))
  await writeFile(join(home, 'cut.parquet'), parquet.subarray(0, parquet.length / 2))
  await writeFile(join(home, 'empty.parquet'), '')
  await writeFile(join(home, 'binary.csv'), parquet)
  await writeActs(
    'semicolons.csv',
    interactions.map((row) => [row.join(';')]),
    'user_id;item_id;ts;behaviors',
  )
  await writeActs(
    'quote.csv',
    withCell(interactions, 0, (id) => `"${id}`, 7),
  )
  const cases: [args: string[], message: RegExp][] = [
    [distill('never', { items: 'nan.csv' }), /nan\.csv: row 6, column text: must hold finite/],
    [
      distill('never', { items: 'large.csv' }),
      /large\.csv: row 6, column text: must hold numbers of at most 1000000000000 in size.*scale the vectors/,
    ],
    [distill('never', { items: 'short.csv' }), /short\.csv: row 6, column text: must have 12 dimensions, this one has 3/],
    [
      distill('never', { items: 'misnamed.csv' }),
      /misnamed\.csv: lacks .* \(text, image\); it has item_id, ts, txt, img: rename a column, or the modality/,
    ],
    [distill('never', { items: 'cut.parquet' }), /cut\.parquet: cut short or damaged .*; fetch or write it again/],
    [distill('never', { items: 'empty.parquet' }), /empty\.parquet: has 0 bytes/],
    [distill('never', { items: 'binary.csv' }), /binary\.csv: line \d+ is broken \(.{1,125}…?\): mend it/],
    [distill('never', { acts: 'semicolons.csv' }), /semicolons\.csv: lacks .*; its columns stand apart by ";": a \.csv has commas/],
    [distill('never', { acts: 'quote.csv' }), /quote\.csv: a quote opens in row 8 and is not closed/],
  ]
  await refuses(cases, home, 1, 'SIDESTREAM_FILE_INVALID')
  deepStrictEqual(await readdir(join(home, 'never')), [])
})

test('items without any vector are left out, counted and told by distill and embed; deletes stay deletes', async () => {
  const bare = (id: string, deleted = ''): string[] => [id, String(Date.UTC(2024, 0, 2)), '', '', deleted]
  const rows = content.map((row, i) => (i === 5 ? bare(row[0]!) : [...row, '']))
  // Nothing is known of item 5; a later row without vectors takes nothing from item 6, and a delete needs none.
  const header = 'item_id,ts,text,image,deleted'
  await writeItems('bare.csv', [...rows, bare('item-6'), bare('item-7', 'true')], header)
  const { code, stdout, stderr } = await run(distill('bare', { items: 'bare.csv' }), home)
  strictEqual(code, 0, stderr)
  const told = /content without any vector: 2 rows left out; the first: bare\.csv: row 6, column text, image: at least one modality must/
  match(stdout, told)
  match(await readFile(join(home, 'bare', 'report.html'), 'utf8'), told)
  const report = JSON.parse(await readFile(join(home, 'bare', 'report.json'), 'utf8'))
  deepStrictEqual([report.items, report.leftOut.content.rows], [items - 2, 2])
  const embedded = await runJson(['embed', '--head', 'bare', '--content', 'bare.csv', '--out', 'bare.f32'], home)
  deepStrictEqual((embedded['leftOut'] as { content: { rows: number } }).content.rows, 2)

  await writeItems(
    'all-bare.csv',
    content.map(([id]) => bare(id!)),
    header,
  )
  const refused = await runFailing(distill('nothing', { items: 'all-bare.csv' }), home, 1)
  strictEqual(refused.code, 'SIDESTREAM_ITEMS_TOO_FEW')
  match(refused.message, /no item has content; .* gives none a vector/)
})

test('valid rows that cannot be meant are trained on, and told', async () => {
  await writeItems(
    'text-only.csv',
    content.map((row) => row.slice(0, 3)).filter((row) => row[2] !== ''),
    'item_id,ts,text',
  )
  await writeItems(
    'zeros.csv',
    withCell(
      withCell(content, 2, () => `0${'|0'.repeat(11)}`),
      3,
      () => `0${'|0'.repeat(7)}`,
    ),
  )
  await writeActs(
    'seconds.csv',
    withCell(interactions, 2, (ts) => String(Math.floor(Number(ts) / 1000))),
  )
  for (const [own, message] of [
    [{ items: 'text-only.csv' }, /no item has a vector of image: is there a column image in the file of content\?/],
    [{ items: 'zeros.csv' }, new RegExp(`${2 * items} content vectors of ${items} items have length 0`)],
    [{ acts: 'seconds.csv' }, /the newest interaction trained on is of 1970-01-20T.*: are times in milliseconds\?/],
  ] as const) {
    const out = `odd-${Object.values(own)[0]}`
    const { code, stdout, stderr } = await run(distill(out, own), home)
    strictEqual(code, 0, stderr)
    match(stdout, message)
    match(await readFile(join(home, out, 'report.html'), 'utf8'), message)
  }
})

test('a diverging loss ends with 1, keeps the last good head, and says what to begin from', async () => {
  // Each of 60 users likes an item and its twin: content knows that already, and such a rate and decay forget it.
  const vectorOf = (item: number): string =>
    Array.from({ length: 12 }, (_, d) => (hashUnit(3, `${item % 60}/${d}`) - 0.5 + 0.02 * hashUnit(3, `${item}/${d}/own`)).toFixed(4)).join(
      '|',
    )
  const twins = Array.from({ length: 120 }, (_, item) => [`item-${item}`, String(startTs), vectorOf(item)])
  await writeItems('twins.csv', twins, 'item_id,ts,text')
  await writeActs(
    'twin-acts.csv',
    twins.map(([id], i) => [`user-${i % 60}`, id!, String(startTs + 1000 * (i + 1)), 'click']),
  )
  const trained = (learningRate: number, by: string): Record<string, string> => ({
    'training: { batch: 64, epochs: 2 }': `training: { batch: 8, ${by}, stages: [{ name: hot, schedule: constant, warmupShare: 0, steps: 64, learningRate: ${learningRate} }] }`,
  })
  await writeConfig(home, 'wild.yaml', trained(1, 'temperature: 0.05, weightDecay: 1'))
  await writeConfig(home, 'calm.yaml', trained(0.001, 'temperature: 0.2'))
  const twinsTo = (out: string, config: string): string[] => [
    ...['distill', '--interactions', 'twin-acts.csv', '--content', 'twins.csv', '--config', config],
    ...['--hold-out', '0', '--keep-every', '8', '--out', out],
  ]
  const { code, message } = await runFailing(twinsTo('wild', 'wild.yaml'), home, 1)
  strictEqual(code, 'SIDESTREAM_TRAINING_DIVERGED')
  const lastGood = join('wild', 'last-good.artifact')
  match(message, /^training diverged by step \d+: .* The state of step \d+ is kept in wild: begin from its last good head with /)
  ok(message.includes(`\`--start ${lastGood} --out OTHER\`, with a lower \`learningRate\``) && !message.includes('--resume'), message)
  deepStrictEqual([existsSync(join(home, lastGood)), existsSync(join(home, 'wild', 'head.artifact'))], [true, false])
  // The same command again is no longer told to go on with a run that would diverge again.
  const again = await runFailing(twinsTo('wild', 'wild.yaml'), home, 2)
  match(again.message, /^wild holds a run that diverged: begin from its last good head with `--start .*last-good\.artifact --out OTHER`/)
  ok(!again.message.includes('--resume'), again.message)
  const calm = await runJson([...twinsTo('calm', 'calm.yaml'), '--start', lastGood], home)
  deepStrictEqual([calm['steps'], calm['warmStart']], [64, true])
})

test('input that the heap cannot hold is refused with what to set, before the process is ended for it', async () => {
  const rows = Array.from({ length: 300_000 }, (_, i) => interactions[i % interactions.length]!)
  await writeActs('many.csv', rows)
  const { code, stderr } = await run(distill('never', { acts: 'many.csv' }), home, { NODE_OPTIONS: '--max-old-space-size=100' })
  strictEqual(code, 1, stderr)
  match(
    stderr,
    /SIDESTREAM_INPUT_TOO_LARGE: \d+ interactions of \d+ users and \d+ items so far need a heap of .*NODE_OPTIONS=--max-old-space-size=\d+/,
  )
})

const hasCuda = existsSync('/dev/nvidiactl')

test(
  'execution providers that this machine lacks are passed over and told; none left is an error',
  { skip: hasCuda && 'has CUDA' },
  async () => {
    const trainedBy = (name: string, providers: string): Promise<void> =>
      writeConfig(home, name, { 'training: {': `training: { providers: ${providers},` })
    await trainedBy('cuda.yaml', '[cuda, cpu]')
    await trainedBy('nosuch.yaml', '[nosuch]')
    const { code, stderr } = await run(distill('on-cpu', {}, '--config', 'cuda.yaml'), home)
    strictEqual(code, 0, stderr)
    const [told, ...others] = stderr.split('\n').filter((line) => /cuda/i.test(line))
    match(told!, /^execution provider cuda cannot be used \(.+\); computed by cpu$/)
    deepStrictEqual([others, stderr.includes('\x1b['), stderr.includes('libonnxruntime')], [[], false, false], stderr)
    const report = JSON.parse(await readFile(join(home, 'on-cpu', 'report.json'), 'utf8'))
    deepStrictEqual([report.trainer.providers, report.passedOver[0].provider], [['cpu'], 'cuda'])
    const kept = JSON.parse(await readFile(join(home, 'on-cpu', 'head.artifact', 'training.json'), 'utf8'))
    deepStrictEqual(kept.options.providers, ['cpu'])
    const refused = await runFailing(distill('never-trained', {}, '--config', 'nosuch.yaml'), home, 1)
    strictEqual(refused.code, 'SIDESTREAM_SESSION_FAILED')
    match(refused.message, /nosuch cannot be used .*name cpu as well/)
  },
)

test('places that cannot be written or read are told, and nothing is lost there', async () => {
  match((await runFailing(distill('interactions.csv'), home, 1)).message, /interactions\.csv: is a file/)
  match((await runFailing(distill('again', {}, '--out', 'other'), home, 2)).message, /--out is given twice/)
  await runJson(distill('head'), home)
  const embed = (...own: string[]): string[] => ['embed', '--head', 'head', '--content', 'content.parquet', ...own]
  match((await runFailing(embed('--out', 'vectors.txt'), home, 2)).message, /written as \.parquet or \.f32, not to vectors\.txt/)
  match((await runFailing(embed('--out', './content.parquet'), home, 2)).message, /is the content itself/)
  match((await runFailing(embed('--out', 'nowhere/all.f32'), home, 1)).message, /there is no directory nowhere to write to/)
  const headless = ['embed', '--head', 'interactions.csv', '--content', 'content.parquet', '--out', 'all.f32']
  match((await runFailing(headless, home, 1)).message, /interactions\.csv: is a file; the head's is the one/)
  await runJson(embed('--out', 'all.f32'), home)
  const names = ['all.f32', 'all.f32.json', 'all.ids.txt']
  const bytes = (): Promise<Buffer[]> => Promise.all(names.map((name) => readFile(join(home, name))))
  const before = await bytes()
  await runFailing(['embed', '--head', 'head', '--content', 'nan.csv', '--out', 'all.f32'], home, 1)
  deepStrictEqual(await bytes(), before, 'vectors that were there are there')
})

test('a disk without room: told, nothing half-written is read, and --resume goes on', { skip: process.platform === 'win32' }, async () => {
  for (const kilobytes of [16, 30]) {
    const { code, stderr } = await runWithSmallFiles(distill('full', {}, '--keep-every', '1', '--resume'), home, kilobytes)
    strictEqual(code, 1, stderr)
    match(stderr, /SIDESTREAM_DISK_FULL: .*full.*free.* space.*with --resume/)
    ok(!existsSync(join(home, 'full', 'head.artifact')))
  }
  await runJson(distill('full', {}, '--keep-every', '1', '--resume'), home)
  const headBytes = (out: string): Promise<Buffer> => readFile(join(home, out, 'head.artifact', 'head.tensors'))
  deepStrictEqual(await headBytes('full'), await headBytes('head'))
  const { code, stderr } = await runWithSmallFiles(['embed', '--head', 'full', '--content', 'content.parquet', '--out', 'big.f32'], home, 8)
  deepStrictEqual([code, /SIDESTREAM_DISK_FULL: big\.f32: the disk is full \(EFBIG/.test(stderr)], [1, true], stderr)
  deepStrictEqual(
    (await readdir(home)).filter((name) => name.includes('big')),
    [],
  )
})
