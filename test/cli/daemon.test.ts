/** The command line beside a running daemon: every command through its control socket, as a user calls it. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, before, test } from 'node:test'

import { run, runFailing, runJson, start } from './command.ts'
import type { Running } from './command.ts'
import { interactions, items, startTs, writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import { writeConfig } from './shop.ts'

// One directory, one daemon, one story: each test goes on from the one before.
let home = ''
let daemon: Running | undefined

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-daemon-'))
  await writeConfig(home)
  await writeContent(home)
  await writeInteractions(home)
})

after(async () => {
  daemon?.child.kill('SIGKILL')
  await daemon?.ended
  await rm(home, { recursive: true, force: true })
})

const files = ['--content', 'content.parquet', '--interactions', 'interactions.csv']
const socket = (): string => join(home, 'data', 'control.sock')
const mode = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

async function startDaemon(...args: readonly string[]): Promise<Running> {
  daemon = start(['run', '--json', ...args], home)
  await daemon.says('"running"')
  return daemon
}

async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!(await isTrue())) {
    ok(Date.now() < deadline, `waited too long for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Bytes of all segments of a topic. */
async function logBytes(topic: string): Promise<number> {
  const folder = join(home, 'data', 'log', 'topics')
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.startsWith(`${topic}/`) && name.endsWith('.log'))
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Starts an import that takes a while, and resolves when its rows begin to come in. */
async function importing(file: string, users: number): Promise<{ rows: number; running: Running }> {
  const lines = Array.from({ length: 100_000 }, (_, i) => `user-${i % users},item-${i % 90},${startTs + i},click`)
  await writeFile(join(home, file), `user_id,item_id,ts,behaviors\n${lines.join('\n')}\n`)
  const before = await logBytes('interactions')
  const running = start(['import', '--interactions', file, '--json'], home)
  await until('the first rows', async () => (await logBytes('interactions')) > before + 100_000)
  return { rows: lines.length, running }
}

const live = async (): Promise<number | undefined> => {
  const { versions } = (await runJson(['versions', 'list'], home)) as { versions: { version: number; state: string }[] }
  return versions.find(({ state }) => state === 'live')?.version
}

test('a daemon listens where only its user can connect, and a second one is refused', async () => {
  await startDaemon()
  ok((await stat(socket())).isSocket())
  strictEqual(await mode(socket()), 0o600)
  strictEqual(await mode(join(home, 'data')), 0o700)
  deepStrictEqual(
    (await readdir(join(home, 'data'))).filter((name) => name.startsWith('.s-') || name === 'control.path'),
    [],
  )
  const second = await runFailing(['run'], home, 1)
  strictEqual(second.code, 'SIDESTREAM_DIRECTORY_IN_USE')
  match(second.message, new RegExp(`in use by process ${daemon!.child.pid}`))
  strictEqual(await mode(socket()), 0o600)
})

test('before there is data, a refresh is refused with 3 and what is missing', async () => {
  const refresh = await runFailing(['refresh'], home, 3)
  strictEqual(refresh.code, 'SIDESTREAM_BUILD_REFUSED')
  match(refresh.message, /version 1 cannot be built: it waits for 312 items/)
  strictEqual((await run(['versions', 'list'], home)).stdout, 'no version yet: import content, then run\n')
})

test('import: the daemon reads files named relative to the caller, every row once', async () => {
  const rows = items + interactions
  deepStrictEqual(await runJson(['import', ...files], home), { appended: rows, skipped: 0, refused: 0, ended: false })
  const again = await run(['import', ...files, '--end'], home)
  deepStrictEqual([again.code, again.stdout], [0, `imported 0 rows, ${rows} were there already, 0 refused; the topics are closed\n`])
  await daemon!.says('version 1 is live')
  strictEqual(await live(), 1)
})

test('import: what cannot be read or is wrong is told as without a daemon', async () => {
  const missing = await runFailing(['import', '--content', 'nothing.parquet'], home, 1)
  strictEqual(missing.code, 'SIDESTREAM_FILE_UNREADABLE')
  match(missing.message, /nothing\.parquet/)
  strictEqual((await runFailing(['import'], home, 2)).code, 'SIDESTREAM_USAGE_INVALID')
  await writeFile(join(home, 'recipe.yaml'), 'name: broken\n')
  strictEqual((await runFailing(['import', '--recipe', 'recipe.yaml'], home, 2)).code, 'SIDESTREAM_CONFIG_INVALID')
  const rows = [`user-2,item-4,${startTs},buy`, `,item-4,${startTs},click`, 'user-3,item-4,soon,click']
  await writeFile(join(home, 'bad.csv'), `user_id,item_id,ts,behaviors\n${rows.join('\n')}\n`)
  const imported = await run(['import', '--interactions', 'bad.csv', '--json'], home)
  deepStrictEqual(JSON.parse(imported.stdout), { appended: 1, skipped: 0, refused: 2, ended: false })
  match(imported.stderr, /left out: .*bad\.csv: row 2, column user_id.*\n.*left out: .*bad\.csv: row 3, column ts/)
})

test('refresh takes in what was imported before it, tells its rounds, and answers its id once more', async () => {
  const first = await run(['refresh', '--id', 'first', '--json'], home)
  strictEqual(first.code, 0, first.stderr)
  const answer = JSON.parse(first.stdout) as { outcome: string; version: number }
  deepStrictEqual([answer.outcome, answer.version], ['live', 2])
  deepStrictEqual(await runJson(['refresh', '--id', 'first'], home), { ...answer })
  strictEqual(await live(), 2)
})

test('get and versions give the bytes and words that a closed project gives', async () => {
  const asked: string[][] = [
    ['get', 'item-7', 'nobody', 'item-0'],
    ['get', 'item-7', '--at-version', '1'],
    ['versions', 'show', '2'],
  ]
  const answers = await Promise.all(asked.map((args) => runJson(args, home)))
  const text = await run(['get', 'item-7', 'nobody'], home)
  match(text.stdout, /^version 2\nitem-7: semantic ID \d+-\d+ .*32 f16 numbers.*\nnobody: not in version 2\n$/)
  match((await runFailing(['get', 'item-7', '--view', 'mian'], home, 2)).message, /no view is named mian; there are: main/)
  strictEqual((await runFailing(['versions', 'show', '9'], home, 1)).code, 'SIDESTREAM_VERSION_UNKNOWN')
  match((await runFailing(['get', ''], home, 2)).message, /1 to 512 bytes, this one has 0/)

  daemon!.child.kill('SIGTERM')
  const { code, stdout } = await daemon!.ended
  deepStrictEqual([code, (JSON.parse(stdout) as { live: number }).live], [0, 2])
  deepStrictEqual(await Promise.all(asked.slice(0, 1).map((args) => runJson(args, home))), answers.slice(0, 1))
  for (const [i, args] of asked.entries()) deepStrictEqual(await runJson(args, home), answers[i], args.join(' '))
  deepStrictEqual(
    (await readdir(join(home, 'data'))).filter((name) => name === 'control.sock' || name === 'control.path'),
    [],
  )
  await startDaemon()
})

test('rollback, activate and gc, with the refusals of a closed project', async () => {
  strictEqual((await runJson(['versions', 'rollback'], home))['version'], 1)
  match((await runFailing(['versions', 'rollback'], home, 3)).message, /nothing to roll back to: version 1 is the first/)
  const forward = await runJson(['versions', 'activate', '2'], home)
  deepStrictEqual([forward['version'], forward['seq'], forward['action']], [2, 4, 'activate'])
  strictEqual((await runFailing(['versions', 'activate', '9'], home, 1)).code, 'SIDESTREAM_VERSION_UNKNOWN')
  strictEqual((await runFailing(['versions', 'activate', 'two'], home, 2)).code, 'SIDESTREAM_USAGE_INVALID')
  deepStrictEqual(await runJson(['versions', 'gc'], home), { collected: [] })
})

test('dead letters are listed whole and retried', async () => {
  const list = async (...args: string[]): Promise<{ code: string; key: string; value: string; retriedAt: number | null }[]> =>
    (await runJson(['dead-letters', 'list', ...args], home))['letters'] as never
  const [letter, ...others] = await list()
  deepStrictEqual([others, letter!.code, letter!.key, letter!.retriedAt], [[], 'SIDESTREAM_BEHAVIOR_UNKNOWN', 'user-2', null])
  ok(Buffer.from(letter!.value, 'base64').includes('item-4'))
  deepStrictEqual(await list('--topic', 'item-content'), [])
  match((await run(['dead-letters', 'list'], home)).stdout, /^1 dead letters\n/)
  deepStrictEqual(await runJson(['dead-letters', 'retry'], home), { retried: 1, left: [] })
  await until('the second letter', async () => (await list()).length === 2)
})

test('doctor says who has the directory, and that it is well', async () => {
  const report = (await runJson(['doctor'], home)) as { ok: boolean; findings: { check: string; message: string }[] }
  strictEqual(report.ok, true)
  match(report.findings.find(({ check }) => check === 'daemon')!.message, /version 2 live/)
})

test('a daemon that is killed during a command: exit 1 and what to do; the next daemon replaces its socket', async () => {
  const { rows, running } = await importing('many.csv', 9)
  daemon!.child.kill('SIGKILL')
  const { code, stdout } = await running.ended
  strictEqual(code, 1)
  const { error } = JSON.parse(stdout) as { error: { code: string; message: string } }
  strictEqual(error.code, 'SIDESTREAM_CLOSED')
  match(error.message, /the daemon ended before it answered/)
  ok((await stat(socket())).isSocket(), 'a killed daemon leaves its socket')
  strictEqual(await live(), 2, 'with nobody behind the socket the directory is opened')

  await startDaemon('--roles', 'ingest')
  const rest = await runJson(['import', '--interactions', 'many.csv'], home)
  strictEqual((rest['appended'] as number) + (rest['skipped'] as number), rows)
  ok((rest['skipped'] as number) > 0)
})

test('a process without the role distill says so', async () => {
  const refused = await runFailing(['refresh'], home, 2)
  match(refused.message, /does not have the role distill/)
  strictEqual((await runJson(['versions', 'rollback'], home))['version'], 1)
})

test('Ctrl-C of a caller ends its import between two batches; the daemon goes on', async () => {
  const { rows, running } = await importing('more.csv', 7)
  running.child.kill('SIGINT')
  const { code, stdout } = await running.ended
  deepStrictEqual([code, (JSON.parse(stdout) as { error: { code: string } }).error.code], [1, 'SIDESTREAM_CLOSED'])
  const rest = await runJson(['import', '--interactions', 'more.csv'], home)
  strictEqual((rest['appended'] as number) + (rest['skipped'] as number), rows)
  ok((rest['appended'] as number) > 0, 'it was stopped before its end')
})

test('a directory whose path is too long for a socket names another place', async () => {
  daemon!.child.kill('SIGKILL')
  await daemon!.ended
  const deep = join(home, 'd'.repeat(60), 'e'.repeat(60))
  await mkdir(deep, { recursive: true })
  await writeConfig(deep)
  const away = start(['run', '--json'], deep)
  await away.says('"running"')
  const pathFile = join(deep, 'data', 'control.path')
  const path = await readFile(pathFile, 'utf8')
  deepStrictEqual([await mode(pathFile), await mode(path), await mode(dirname(path))], [0o600, 0o600, 0o700])
  ok(Buffer.byteLength(path) < 104 && basename(dirname(path)).startsWith('sidestream-'))
  deepStrictEqual(await runJson(['versions', 'list'], deep), { versions: [] })
  away.child.kill('SIGTERM')
  strictEqual((await away.ended).code, 0)
  ok(
    await stat(dirname(path)).then(
      () => false,
      () => true,
    ),
    'nothing is left behind',
  )
})
