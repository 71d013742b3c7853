/** The commands of `docs/how-to/semantic-ids.md`, one after another, on small files of the names they use; and `sid features`. */
import { deepStrictEqual, match, strictEqual } from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { readColumns } from '../../schemas/index.ts'
import { refuses, run, runJson } from './command.ts'
import { clustered, moved, writeVectors } from './vector-files.ts'
import { checkout } from '../checkout.ts'

let home = ''

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-sid-how-to-'))
  const items = clustered(1500, 8, 30)
  await writeVectors(home, 'monday.parquet', items)
  await writeVectors(home, 'tuesday.parquet', moved(items, 0.05, ['item-7'], ['new-1']))
  const rows = items.ids.map((id, row) => `${id},${row % 30},${1 + (row % 97)}`)
  await writeFile(join(home, 'about.csv'), `item_id,label,traffic\n${rows.join('\n')}\n`)
})

after(() => rm(home, { recursive: true, force: true }))

test('the commands of the page work in its order', async () => {
  const page = await readFile(new URL('docs/how-to/semantic-ids.md', checkout), 'utf8')
  const commands = [...page.matchAll(/```sh\n(sidestream .*)\n```/g)].map((block) => block[1]!.split(' ').slice(1))
  deepStrictEqual(
    commands.map((words) => words[1]),
    ['fit', 'encode', 'report', 'refresh', 'refresh', 'report', 'features'],
  )
  for (const words of commands) {
    const { code, stderr } = await run(words, home)
    strictEqual(code, 0, `${words.join(' ')}: ${stderr}`)
  }
  match(await readFile(join(home, 'reports/tuesday/report.html'), 'utf8'), /Passed: none of 2 thresholds failed/)
})

test('features are text, tokens of levels that never meet, and prefix n-grams', async () => {
  await writeFile(join(home, 'codes.csv'), 'item_id,sid\na,1|2|0\nb,0|3|1\n')
  const made = await runJson(['sid', 'features', '--codes', 'codes.csv', '--levels', '4,4,4', '--out', 'features.parquet'], home)
  deepStrictEqual(
    [made['offsets'], made['tableSizes']],
    [
      [0, 4, 8, 12],
      [84, 84, 84],
    ],
  )
  const found: unknown[][] = []
  for await (const { rows, columns } of readColumns(join(home, 'features.parquet'), {
    columns: ['item_id', 'sid_text', 'tokens', 'prefix_ngrams'],
  }))
    for (let i = 0; i < rows; i++)
      found.push([
        columns['item_id']![i],
        columns['sid_text']![i],
        columns['tokens']![i],
        (columns['prefix_ngrams']![i] as bigint[]).map(Number),
      ])
  // The index of a prefix is sum_t K^(i-t) (c_t + 1) - 1.
  deepStrictEqual(found, [
    ['a', '1-2-0', [1, 6, 8], [1, 10, 44]],
    ['b', '0-3-1', [0, 7, 9], [0, 7, 33]],
  ])
  const hashed = await runJson(
    ['sid', 'features', '--codes', 'codes.csv', '--levels', '4,4,4', '--table-size', '7', '--per-length', '--out', 'hashed.parquet'],
    home,
  )
  deepStrictEqual(hashed['tableSizes'], [7, 7, 7])
  const features = (...flags: string[]): string[] => ['sid', 'features', '--codes', 'codes.csv', ...flags]
  const meant: [args: string[], message: RegExp][] = [
    [features('--out', 'f.parquet'), /does not say how many codes a level has.*add --bundle or --levels/],
    [features('--levels', '4,4,4', '--out', 'f.csv'), /features are written as \.parquet/],
  ]
  await refuses(meant, home, 2)
  const levels: [args: string[], message: RegExp][] = [
    [features('--levels', '4,4', '--out', 'f.parquet'), /its IDs have 3 codes, 2 levels are given/],
    [features('--levels', '4,3,4', '--out', 'f.parquet'), /3/],
  ]
  await refuses(levels, home, 1)
})
