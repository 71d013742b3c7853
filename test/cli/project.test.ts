/** A project through the command line, from files to features: every command in the order of a user's first day. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { run, runFailing, runJson, start } from './command.ts'
import { interactions, items, startTs, writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import { writeConfig } from './shop.ts'

// One directory, one story: each test goes on from the one before.
let home = ''

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-cli-'))
  await writeConfig(home)
  await writeContent(home)
  await writeInteractions(home)
})

after(() => rm(home, { recursive: true, force: true }))

const files = ['--content', 'content.parquet', '--interactions', 'interactions.csv']

test('before there is data, a refresh is refused with what is missing', async () => {
  const refresh = await runFailing(['refresh'], home, 3)
  strictEqual(refresh.code, 'SIDESTREAM_BUILD_REFUSED')
  match(refresh.message, /version 1 cannot be built: it waits for 312 items/)
})

test('import appends every row once, however often it is asked', async () => {
  const pairs = join(home, 'pairs.csv')
  await writeFile(
    pairs,
    `source,query_id,target_id,score,ts\ntags,item-1,item-2,0.5,${startTs}\ntags,item-2,item-3,,${startTs}\n,item-3,item-4,,\n`,
  )
  const refused = await runJson(['import', '--pairs', pairs], home)
  deepStrictEqual([refused['appended'], refused['refused']], [2, 1])
  deepStrictEqual(await runJson(['import', '--pairs', pairs], home), { appended: 0, skipped: 2, refused: 1, ended: false })
  const rows = items + interactions
  deepStrictEqual(await runJson(['import', ...files], home), { appended: rows, skipped: 0, refused: 0, ended: false })
  deepStrictEqual(await runJson(['import', ...files, '--end'], home), { appended: 0, skipped: rows, refused: 0, ended: true })
})

test('run --until-idle takes everything in, publishes version 1 and says so', async () => {
  const status = await runJson(['run', '--until-idle'], home)
  strictEqual(status['live'], 1)
  strictEqual((status['ingest'] as { interactions: number }).interactions, interactions)
  strictEqual((status['owner'] as { contents: number }).contents, items)
  deepStrictEqual([...new Set(Object.values(status['lag'] as object))], [0])
})

test('refresh publishes the next version; asked again with its id it answers the same and builds nothing', async () => {
  const first = await runJson(['refresh', '--id', 'first'], home)
  deepStrictEqual([first['outcome'], first['version']], ['live', 2])
  deepStrictEqual(await runJson(['refresh', '--id', 'first'], home), first)
})

test('get answers in the order asked for, all from one version, and tells what it does not know', async () => {
  const live = await runJson(['get', 'item-7', 'nobody', 'item-0'], home)
  const [seven, nobody, zero] = live['items'] as { found: boolean; sid: number[]; vector: number[]; eventTs: number }[]
  strictEqual(live['version'], 2)
  deepStrictEqual(nobody, { item: 'nobody', found: false })
  strictEqual(seven!.vector.length, 32)
  ok(Math.abs(Math.hypot(...zero!.vector) - 1) < 0.01, 'a published vector has unit length, also without an image')
  deepStrictEqual([seven!.sid.length, seven!.eventTs], [2, startTs + 7])
  const before = await run(['get', 'item-7', 'nobody', '--at-version', '1'], home)
  match(before.stdout, /^version 1\nitem-7: semantic ID \d+-\d+ \(encoded\).*32 f16 numbers.*\nnobody: not in version 1\n$/)
})

test('an unknown view or version is named, beside those that are there', async () => {
  const view = await runFailing(['get', 'item-7', '--view', 'mian'], home, 2)
  match(view.message, /no view is named mian; there are: main/)
  const version = await runFailing(['versions', 'show', '9'], home, 1)
  strictEqual(version.code, 'SIDESTREAM_VERSION_UNKNOWN')
})

test('rollback goes to the parent once, further back is refused, activate goes forward', async () => {
  strictEqual((await runJson(['versions', 'rollback'], home))['version'], 1)
  const refused = await runFailing(['versions', 'rollback'], home, 3)
  match(refused.message, /nothing to roll back to: version 1 is the first/)
  strictEqual((await runJson(['versions', 'activate', '2'], home))['version'], 2)
  const { versions } = (await runJson(['versions', 'list'], home)) as { versions: { version: number; state: string; entries: number }[] }
  deepStrictEqual(
    versions.map(({ version, state, entries }) => [version, state, entries]),
    [
      [1, 'kept', items],
      [2, 'live', items],
    ],
  )
})

test('a running daemon owns its directory; it stops cleanly when told to', async () => {
  const daemon = start(['run', '--json'], home)
  await daemon.says('"running"')
  const second = await runFailing(['run'], home, 1)
  strictEqual(second.code, 'SIDESTREAM_DIRECTORY_IN_USE')
  match(second.message, new RegExp(`in use by process ${daemon.child.pid}`))
  daemon.child.kill('SIGTERM')
  const { code, stdout } = await daemon.ended
  strictEqual(code, 0)
  strictEqual((JSON.parse(stdout) as { live: number }).live, 2)
})

test('a record that cannot be processed is listed whole, and processed when it is retried after the mend', async () => {
  const rows = [`user-1,item-3,${startTs},click`, `user-2,item-4,${startTs},buy`, `,item-4,${startTs},click`, 'user-3,item-4,soon,click']
  await writeFile(join(home, 'bad.csv'), `user_id,item_id,ts,behaviors\n${rows.join('\n')}\n`)
  const imported = await run(['import', '--interactions', 'bad.csv', '--json'], home)
  deepStrictEqual(JSON.parse(imported.stdout), { appended: 2, skipped: 0, refused: 2, ended: false })
  match(imported.stderr, /bad\.csv: row 3, column user_id.*\n.*bad\.csv: row 4, column ts/)
  await runJson(['run', '--until-idle', '--log-level', 'error'], home)

  const list = async (): Promise<{ code: string; key: string; retriedAt: number | null; reason: string }[]> =>
    (await runJson(['dead-letters', 'list'], home))['letters'] as never
  const [letter, ...others] = await list()
  deepStrictEqual([others, letter!.code, letter!.key, letter!.retriedAt], [[], 'SIDESTREAM_BEHAVIOR_UNKNOWN', 'user-2', null])
  match(letter!.reason, /behavior "buy" is not configured/)

  await writeConfig(home, 'mended.yaml', { 'otherBehaviors: [skip]': 'otherBehaviors: [skip, buy]' })
  deepStrictEqual(await runJson(['dead-letters', 'retry'], home), { retried: 1, left: [] })
  const status = await runJson(['run', '--until-idle', '--config', 'mended.yaml'], home)
  strictEqual((status['ingest'] as { interactions: number }).interactions, 1)
  const listed = await list()
  strictEqual(listed.length, 1)
  ok(listed[0]!.retriedAt !== null)
})

test('options that are fixed by what was built are refused, not read as something else', async () => {
  await writeConfig(home, 'other.yaml', { 'text: { dim: 12 }\n    image: { dim: 8 }': 'image: { dim: 8 }\n    text: { dim: 12 }' })
  const order = await runFailing(['run', '--until-idle', '--config', 'other.yaml'], home, 2)
  match(order.message, /modalities text 12, image 8 \(the configuration says image 8, text 12\)/)
  await writeConfig(home, 'wider.yaml', { 'partitions: 2': 'partitions: 3' })
  const partitions = await runFailing(['get', 'item-1', '--config', 'wider.yaml'], home, 1)
  match(partitions.message, /has 2 partitions, not 3/)
})

test('semantic IDs outside a threshold are refused with 3; figure, bound and what was measured are in the answer', async () => {
  await writeConfig(home, 'gated.yaml', { 'levels: [8, 8]': 'levels: [8, 8], gate: { uniqueRate: { min: 0.99 } }' })
  const answer = await runJson(['refresh', '--id', 'gated', '--config', 'gated.yaml'], home, 3)
  const { error, id, figures, gate } = answer as {
    error: { code: string; message: string }
    id: string
    figures: Record<string, { value: number; before: number }>
    gate: object[]
  }
  deepStrictEqual([id, error.code], ['gated', 'SIDESTREAM_GUARD_REFUSED'])
  match(error.message, /uniqueRate 0\.\d+, at least 0\.99 is allowed\. The live version goes on/)
  ok(figures['uniqueRate']!.value < 0.99 && figures['uniqueRate']!.before < 0.99)
  strictEqual(gate.length, 1)
  strictEqual((await runJson(['get', 'item-7'], home))['version'], 2)
})
