/** The control socket from within: answers whole and equal, errors with their codes, callers and daemons that leave, strangers. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { once } from 'node:events'
import { rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { openCommands, startControlSocket } from '../../pipeline/index.ts'
import type { ImportEvents, Project, ProjectCommands } from '../../pipeline/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { contentOf, hourMs, itemIds, items, onDisk, startTs, testConfig, TestProject, tombstoneOf } from './fixture.ts'
import type { TestOptions } from './fixture.ts'

const socketOf = (it: TestProject): string => join(it.directory, 'control.sock')

/** A running project that listens, and a caller through its socket. */
async function listening(
  t: TestContext,
  options: TestOptions = {},
): Promise<{ it: TestProject; caller: ProjectCommands; close(): Promise<void> }> {
  const it = await TestProject.open(t, options)
  const socket = await startControlSocket(it.project, it.daemon)
  const caller = await openCommands(it.project.config)
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => (closed ??= socket!.close())
  t.after(async () => {
    await caller.close()
    await close()
  })
  return { it, caller, close }
}

test('features of many items come whole and equal, in the order asked for', async (t) => {
  const { it, caller } = await listening(t)
  const count = 3000
  await it.bootstrap()
  await it.feed(items(count, startTs + 2 * hourMs, 100))
  await it.feed(tombstoneOf('item-200', startTs + 3 * hourMs))
  const ids = ['nobody', ...itemIds(count, 100), 'item-100', 'ünïcode']
  for (const view of ['main', 'small']) {
    const [direct, answer] = [await it.read(ids, { view }), await caller.readFeatures({ view, items: ids })]
    deepStrictEqual([answer.version, answer.features], [1, direct])
    deepStrictEqual([answer.features[0], answer.features[101]], [undefined, undefined])
  }
  strictEqual((await caller.readFeatures({ items: [] })).features.length, 0)
  await rejects(caller.readFeatures({ items: Array.from({ length: 150_000 }, (_, i) => `a long item id, number ${i}, and so on`) }), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /too much for one call/,
  })
  const status = (await caller.status())!
  deepStrictEqual([status.control, status.live, status.owner!.contents], ['owner', 1, count + 24])
})

test('dead letters come whole, more of them than one message holds', async (t) => {
  const { it, caller } = await listening(t)
  const producer = await it.project.log.producer()
  const value = Uint8Array.from({ length: 800_000 }, (_, i) => i & 0xff)
  const headers = [['trace', new Uint8Array([0, 255])]] as const
  for (let i = 0; i < 24; i++) await producer.send('interactions', 0, [{ key: null, value, headers, timestamp: 1000 + i }])
  await producer.send('interactions', 0, [{ key: new TextEncoder().encode('k'), value: new Uint8Array([7]) }])
  await producer.close()
  await it.daemon.idle()
  const letters = await caller.listDeadLetters({ topic: 'interactions' })
  strictEqual(letters.length, 25)
  deepStrictEqual(
    [letters[3]!.timestamp, letters[3]!.offset, letters[3]!.key, letters[3]!.headers],
    [1003, 3n, null, [['trace', Buffer.from([0, 255])]]],
  )
  ok(Buffer.from(value).equals(letters[23]!.value!))
  deepStrictEqual(letters[24]!.key, Buffer.from('k'))
  deepStrictEqual(await caller.listDeadLetters({ code: 'SIDESTREAM_ID_INVALID' }), [])
  deepStrictEqual(await caller.retryDeadLetters({ topic: 'item-content' }), { retried: 0, left: [] })
})

test('a refusal keeps its code and words; a defect is told as one', async (t) => {
  const long = 'x'.repeat(20_000)
  let broken = false
  const { caller, it } = await listening(t, {
    wrap: (project) => ({
      ...project,
      store: new Proxy(project.store, {
        get: (target, key) => {
          if (key === 'usage' && broken) throw new TypeError(`usage is undefined ${long}`)
          const value: unknown = Reflect.get(target, key, target)
          return typeof value === 'function' ? value.bind(target) : value
        },
      }),
    }),
  })
  await it.bootstrap()
  await rejects(caller.showVersion(7), { code: 'SIDESTREAM_VERSION_UNKNOWN' })
  await rejects(caller.rollbackVersion(), { code: 'SIDESTREAM_BUILD_REFUSED', message: /version 1 is the first/ })
  await rejects(caller.readFeatures({ view: long, items: ['a'] }), { code: 'SIDESTREAM_USAGE_INVALID', message: /^no view is named x+…$/ })
  broken = true
  await rejects(caller.listVersions(), { code: 'SIDESTREAM_CLOSED', message: /the daemon failed to answer: usage is undefined x+…$/ })
  broken = false
  strictEqual((await caller.listVersions()).length, 1)
})

async function csvOf(it: TestProject, name: string, rows: number): Promise<string> {
  const path = join(it.directory, name)
  const lines = Array.from({ length: rows }, (_, i) => `user-${i % 5},item-${i % 7},${startTs + i},click`)
  await writeFile(path, `user_id,item_id,ts,behaviors\n${lines.join('\n')}\n`)
  return path
}

test('imports run one after the other; a caller that leaves ends its own between two batches', async (t) => {
  const { it, caller } = await listening(t)
  const [first, second] = [await csvOf(it, 'first.csv', 60_000), await csvOf(it, 'second.csv', 500)]
  const notes: string[] = []
  const leaving = new AbortController()
  const events: ImportEvents = { onProgress: () => leaving.abort() }
  const left = caller.importFiles({ interactions: first, end: false }, events, leaving.signal)
  const waiting = caller.importFiles({ interactions: second, end: false }, { onNote: (note) => notes.push(note) })
  await rejects(left, { code: 'SIDESTREAM_CLOSED' })
  deepStrictEqual(await waiting, { appended: 500, skipped: 0, refused: 0 })
  match(notes[0]!, /another import is running/)
  const rest = await caller.importFiles({ interactions: first, end: true })
  strictEqual(rest.appended + rest.skipped, 60_000)
  ok(rest.skipped > 0 && rest.appended > 0, `${rest.skipped} rows were there`)
  const again = new AbortController()
  again.abort()
  await rejects(caller.importFiles({ interactions: first, end: false }, {}, again.signal), { code: 'SIDESTREAM_CLOSED' })
})

test('a daemon that stops answers whoever waits, and takes its socket away', async (t) => {
  const { it, caller, close } = await listening(t)
  // A refresh waits for what is in the log; a lane that is held back keeps it waiting.
  const path = await csvOf(it, 'some.csv', 40_000)
  const importing = caller.importFiles({ interactions: path, end: false }, { onProgress: () => void close() })
  await rejects(importing, { code: 'SIDESTREAM_CLOSED', message: /the import was stopped: give it again/ })
  await close()
  await rejects(stat(socketOf(it)), { code: 'ENOENT' })
  await rejects(caller.listVersions(), { code: 'SIDESTREAM_CLOSED', message: /the daemon ended/ })
})

test('strangers on the socket change nothing', async (t) => {
  const { it, caller } = await listening(t)
  const socket = connect(socketOf(it))
  await once(socket, 'connect')
  socket.on('error', () => {}).resume()
  socket.write(Buffer.alloc(100_000, 0x47))
  await once(socket, 'close')
  deepStrictEqual(await caller.listVersions(), [])
})

/** A project's directory without a daemon. */
async function closedProject(t: TestContext): Promise<Project['config']> {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  return testConfig(join(directory, 'data'), onDisk)
}

test('who listens and never answers is named; who left a socket is passed over', async (t) => {
  const config = await closedProject(t)
  const opened = await openCommands(config)
  deepStrictEqual(await opened.listVersions(), [])
  strictEqual((await stat(config.dataDir)).mode & 0o777, 0o700)
  await rejects(openCommands(config), { code: 'SIDESTREAM_DIRECTORY_IN_USE' })
  await opened.close()

  const sockets: Socket[] = []
  const mute = createServer((socket) => void sockets.push(socket)).listen(join(config.dataDir, 'control.sock'))
  await once(mute, 'listening')
  await rejects(openCommands(config, { deadlineMs: 500 }), {
    code: 'SIDESTREAM_OWNER_UNAVAILABLE',
    message: /does not answer within 0\.5 s/,
  })
  for (const socket of sockets) socket.destroy()
  mute.close()
  await once(mute, 'close')

  await writeFile(join(config.dataDir, 'control.path'), '/somewhere/that/is/not/ours')
  await writeFile(join(config.dataDir, 'control.sock'), 'no socket')
  const again = await openCommands(config)
  deepStrictEqual(await again.listVersions(), [])
  await again.close()
})

test('a socket that cannot be made is told with its reason', async (t) => {
  const it = await TestProject.open(t)
  await rm(it.directory, { recursive: true })
  await rejects(startControlSocket(it.project, it.daemon), { code: 'SIDESTREAM_ADDRESS_IN_USE', message: /cannot listen for commands in/ })
})

test('what stands behind a refusal comes over the socket whole', async (t) => {
  const gate = { uniqueRate: { min: 1.5 } }
  const { it, caller } = await listening(t, { changes: { semanticIds: { gate }, guard: { mode: 'enforce' } } })
  await it.bootstrap()
  const answer = await caller.refresh('now')
  deepStrictEqual([answer.outcome, Object.keys(answer.details!)], ['refused', ['figures', 'gate']])
  deepStrictEqual(answer, it.control.find('done', 'now')!.body)
  deepStrictEqual((await caller.status())!.refused!.details, answer.details)
})

test('a refresh over the socket tells what the owner does meanwhile', async (t) => {
  const { it, caller } = await listening(t)
  await it.bootstrap()
  await it.feed(contentOf('new', startTs + 2 * hourMs))
  const tasks: string[] = []
  const answers = await Promise.all([caller.refresh('a', { onTask: (text) => tasks.push(text) }), caller.refresh('b')])
  deepStrictEqual(
    answers.map(({ version }) => version),
    [2, 3],
  )
  deepStrictEqual(answers[0], await it.daemon.refresh('a'))
})
