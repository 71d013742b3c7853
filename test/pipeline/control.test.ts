/** Control: commands of other processes over the log, who decides, and records of other releases. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { askOwner, InputFeed, listDeadLetters, openProject, publishedVersions, startDaemon } from '../../pipeline/index.ts'
import type { AskOptions, ControlCommand, Daemon, Project, TaskResult } from '../../pipeline/index.ts'
import type { Lane, LogBatch, LogDriver, LogHandlers, LogHeader, Store } from '../../connectors/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { contentOf, hourMs, items, startTs, testConfig, TestProject } from './fixture.ts'

const later = startTs + 2 * hourMs
const soon = 20_000

/** Asks as another process would: by the log alone. */
function ask({ log, codec, clock }: Project, command: ControlCommand, options: Partial<AskOptions> = {}): Promise<TaskResult> {
  return askOwner({ log, codec, clock }, command, { id: `${command.action}-${Math.random()}`, deadlineMs: soon, ...options })
}

/** Control records as they stand in the log, kind and id. */
async function logged({ log, codec }: Project): Promise<string[]> {
  const found: string[] = []
  await log.read('control', ({ records }) => {
    for (const { value } of records) {
      if (value === null) continue
      const { kind, id } = codec.decode('control', value)
      found.push(kind === 'owner' ? kind : `${kind} ${id}`)
    }
  })
  return found
}

async function append(
  project: Project,
  record: { kind: string; id: string; body: string } | Uint8Array,
  ...headers: LogHeader[]
): Promise<void> {
  const producer = await project.log.producer()
  const value = record instanceof Uint8Array ? record : project.codec.encode('control', { ...record, at: project.clock() })
  await producer.send('control', 0, [{ key: new TextEncoder().encode('k'), value, headers }])
  await producer.close()
}

async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + soon
  while (!(await isTrue())) {
    ok(Date.now() < deadline, `waited too long for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

test('another process asks for refresh, rollback, activation and collection, and is answered by id', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  const { project } = it

  await it.feed(contentOf('new', later))
  const entries: string[] = []
  const refreshed = await ask(project, { action: 'refresh' }, { id: 'now', onEntry: ({ kind }) => entries.push(kind) })
  deepStrictEqual([refreshed.outcome, refreshed.version, refreshed.code], ['live', 2, null])
  deepStrictEqual(entries, ['command', 'taken', 'build', 'done'])
  strictEqual(await it.live(), 2)

  const back = await ask(project, { action: 'rollback' }, { id: 'back' })
  deepStrictEqual([back.outcome, back.version, back.change?.version, back.change?.action], ['live', 1, 1, 'rollback'])
  strictEqual(back.change?.commandId, 'back')
  const further = await ask(project, { action: 'rollback' })
  deepStrictEqual([further.outcome, further.code], ['refused', 'SIDESTREAM_BUILD_REFUSED'])
  match(further.message, /version 1 is the first/)
  const forward = await ask(project, { action: 'activate', version: 2 })
  deepStrictEqual([forward.version, await it.live()], [2, 2])
  const unknown = await ask(project, { action: 'activate', version: 9 })
  strictEqual(unknown.code, 'SIDESTREAM_VERSION_UNKNOWN')

  it.now += 1000 * hourMs
  const { keepVersions } = project.config.store
  strictEqual(keepVersions, 1)
  deepStrictEqual((await ask(project, { action: 'gc' })).collected, [])
})

test('asking twice with one id is asking once, also with other words', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  const { project } = it
  const both = await Promise.all([ask(project, { action: 'refresh' }, { id: 'one' }), ask(project, { action: 'refresh' }, { id: 'one' })])
  deepStrictEqual(both[0], both[1])
  deepStrictEqual(await ask(project, { action: 'refresh' }, { id: 'one' }), both[0])
  deepStrictEqual(await it.daemon.refresh('one'), both[0])
  const records = await logged(project)
  strictEqual(records.filter((record) => record === 'build one').length, 1)
  strictEqual(records.filter((record) => record === 'done one').length, 1)
  await rejects(ask(project, { action: 'rollback' }, { id: 'one' }), { code: 'SIDESTREAM_USAGE_INVALID', message: /was used for refresh/ })
  await rejects(it.daemon.ask('one', { action: 'gc' }), { code: 'SIDESTREAM_USAGE_INVALID' })
})

test('a refresh takes in what was in the log when it was asked for', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  const producer = await it.project.log.producer()
  const rows = items(40, later, 100)
  const { codec } = it.project
  await producer.send(
    'item-content',
    0,
    rows.map((row) => ({
      key: new TextEncoder().encode(row.topic === 'item-content' ? row.itemId : ''),
      value: codec.encode('item-content', row.record as never),
    })),
  )
  await ask(it.project, { action: 'refresh' }, { id: 'now' })
  strictEqual(
    it.control.find('build', 'now')!.body.positions[0]!.next,
    String((await it.project.log.admin().then((a) => a.describe('item-content'))).end[0]),
  )
  await producer.close()
})

/** A project with no daemon yet. Daemons of it that a test starts are stopped before it is closed. */
async function opened(t: TestContext): Promise<{ project: Project; start(of?: Project): Promise<Daemon> }> {
  const { directory, remove } = await scratchDirectory()
  const project = await openProject(testConfig(directory))
  const daemons: Daemon[] = []
  t.after(async () => {
    for (const daemon of daemons) await daemon.stop()
    await project.close()
    await remove()
  })
  const start = async (of = project): Promise<Daemon> => {
    const daemon = await startDaemon(of)
    daemons.push(daemon)
    return daemon
  }
  return { project, start }
}

test('without an owner a command is withdrawn at its deadline, not done later, and can be asked again', async (t) => {
  const { project, start } = await opened(t)
  const waits: number[] = []
  await rejects(ask(project, { action: 'rollback' }, { id: 'late', deadlineMs: 2500, onWaiting: (ms) => waits.push(ms) }), {
    code: 'SIDESTREAM_OWNER_UNAVAILABLE',
    message: /no owner answered within 2\.5 s.*`sidestream run`.*distill/,
  })
  ok(waits.length > 0)
  const stopping = new AbortController()
  const stopped = ask(project, { action: 'gc' }, { id: 'cut short', signal: stopping.signal })
  stopping.abort()
  await rejects(stopped, { code: 'SIDESTREAM_CLOSED', message: /before an owner took gc/ })
  // Whoever was killed while it waited has withdrawn nothing; its command is too old by now.
  await append(project, { kind: 'command', id: 'killed', body: '{"action":"rollback","waitMs":0}' })
  const stale = { ...project, clock: () => Date.now() + 600_000 }

  const daemon = await start(stale)
  await daemon.idle()
  deepStrictEqual(
    (await logged(project)).filter((record) => !record.startsWith('owner')),
    ['command late', 'withdrawn late', 'command cut short', 'withdrawn cut short', 'command killed'],
  )
  const again = await ask(stale, { action: 'rollback' }, { id: 'late' })
  deepStrictEqual([again.outcome, again.code], ['refused', 'SIDESTREAM_BUILD_REFUSED'])
  strictEqual((await ask(stale, { action: 'rollback' }, { id: 'killed' })).code, 'SIDESTREAM_BUILD_REFUSED')
})

test('a command that waits when the owner starts is done; one that an owner has taken goes on without its asker', async (t) => {
  const { project, start } = await opened(t)
  const early = ask(project, { action: 'gc' })
  await until('the command', async () => (await logged(project)).length === 1)
  const daemon = await start()
  deepStrictEqual((await early).collected, [])

  const stopping = new AbortController()
  const leaving = ask(
    project,
    { action: 'refresh' },
    {
      id: 'mine',
      signal: stopping.signal,
      onEntry: ({ kind }) => kind === 'taken' && stopping.abort(),
    },
  )
  await rejects(leaving, { code: 'SIDESTREAM_CLOSED', message: /the owner goes on with refresh mine/ })
  await daemon.idle()
  strictEqual((await ask(project, { action: 'refresh' }, { id: 'mine' })).outcome, 'nothing-new')
})

test('a rollback does not wait for a build; the build is then refused, since its parent is no longer live', async (t) => {
  let letGo = (): void => {}
  let asked = (): void => {}
  const gate = new Promise<void>((resolve) => (letGo = resolve))
  const begun = new Promise<void>((resolve) => (asked = resolve))
  const hold = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target)
        if (key !== 'write') return typeof value === 'function' ? value.bind(target) : value
        const write: Store['write'] = async (into, entries) => {
          if (into.version === 3) {
            asked()
            await gate
          }
          return target.write(into, entries)
        }
        return write
      },
    })
  const it = await TestProject.open(t, { wrap: (project) => ({ ...project, store: hold(project.store) }) })
  await it.bootstrap()
  await ask(it.project, { action: 'refresh' })
  strictEqual(await it.live(), 2)
  const building = ask(it.project, { action: 'refresh' })
  await begun
  const back = await ask(it.project, { action: 'rollback' })
  deepStrictEqual([back.outcome, await it.live()], ['live', 1])
  letGo()
  const built = await building
  deepStrictEqual([built.outcome, built.code, built.version], ['refused', 'SIDESTREAM_BUILD_REFUSED', 3])
  match(built.message, /version 3 follows 2, but version 1 is live/)
})

test('what the owner does not know is answered or set aside, and it goes on', async (t) => {
  const it = await TestProject.open(t)
  await append(it.project, { kind: 'command', id: 'newer', body: '{"action":"explode","at":"once"}' })
  await append(it.project, { kind: 'command', id: 'broken', body: 'not JSON' })
  await append(it.project, { kind: 'command', id: 'halfway', body: '{"action":"activate"}' })
  await append(it.project, { kind: 'wish', id: 'w', body: '{}' })
  await append(it.project, new Uint8Array([9, 9, 9]))
  await until('answers', () => ['newer', 'broken', 'halfway'].every((id) => it.control.find('done', id) !== undefined))
  for (const id of ['newer', 'broken', 'halfway']) strictEqual(it.control.find('done', id)!.body.code, 'SIDESTREAM_USAGE_INVALID')
  match(it.control.find('done', 'newer')!.body.message, /does not know the command .*explode.*upgrade the daemon/)
  await it.bootstrap()
  strictEqual(await it.live(), 1)
  deepStrictEqual(
    (await listDeadLetters(it.project)).map(({ topic, code }) => [topic, code]),
    [['control', 'SIDESTREAM_RECORD_UNDECODABLE']],
  )
})

const claimOf = (name: string): LogHeader => ['ss-owner', new TextEncoder().encode(name)]

test('decisions of a process that lost control do not count; a new claim ends the old owner', async (t) => {
  const it = await TestProject.open(t)
  const done = JSON.stringify({ outcome: 'live', version: 7, code: null, message: 'by a zombie' })
  const command = ask(it.project, { action: 'gc' }, { id: 'answered' })
  for (const headers of [[], [claimOf('somebody else')]]) await append(it.project, { kind: 'done', id: 'forged', body: done }, ...headers)
  deepStrictEqual((await command).collected, [])
  strictEqual(it.control.find('done', 'forged'), undefined)

  const failed = it.daemon.failed()
  await append(it.project, { kind: 'owner', id: 'newcomer', body: '{"process":"process 12 on elsewhere"}' })
  await rejects(failed, { code: 'SIDESTREAM_EPOCH_FENCED', message: /process 12 on elsewhere has taken over/ })
  await rejects(it.daemon.refresh('too late'), { code: 'SIDESTREAM_EPOCH_FENCED' })
  await append(it.project, { kind: 'done', id: 'theirs', body: done }, claimOf('newcomer'))
  await rejects(ask(it.project, { action: 'gc' }, { deadlineMs: 10 }), { code: 'SIDESTREAM_OWNER_UNAVAILABLE' })
})

test('records of the first release are read; what a newer one decided stops the start', async (t) => {
  const { project, start } = await opened(t)
  await append(project, { kind: 'command', id: 'old', body: '{"action":"refresh"}' })
  await append(project, { kind: 'done', id: 'old', body: '{"outcome":"nothing-new","version":null,"code":null,"message":"then"}' })
  await append(project, { kind: 'command', id: 'open', body: '{"action":"refresh"}' })
  const daemon = await start()
  strictEqual((await daemon.refresh('old')).message, 'then')
  match((await daemon.refresh('open')).message, /nothing is live yet/)
  const claim = (await logged(project)).indexOf('owner')
  strictEqual(claim, 3)
  await daemon.stop()

  await append(project, { kind: 'owner', id: 'newer release', body: '{"process":"p","more":1}' })
  await append(project, { kind: 'merged', id: 'm', body: '{}' }, claimOf('newer release'))
  await rejects(start(), { code: 'SIDESTREAM_LOG_CORRUPT', message: /unknown kind "merged".*newer sidestream; upgrade/ })
})

test('a second process stands by with all its roles, and takes over where the owner stopped', async (t) => {
  const { project, start } = await opened(t)
  const first = await start()
  const second = await start()
  deepStrictEqual([(await first.status()).control, (await second.status()).control], ['owner', 'standby'])
  deepStrictEqual([second.owner, second.ingest], [undefined, undefined])
  await rejects(second.refresh('r'), { code: 'SIDESTREAM_USAGE_INVALID', message: /another process has control/ })
  const feed = await InputFeed.open(project)
  await feed.append([...items(30)])
  await feed.end()
  await feed.close()
  await first.idle()
  await second.idle()
  strictEqual((await second.status()).live, 1)
  strictEqual((await ask(project, { action: 'refresh' }, { id: 'by the first' })).version, 2)

  await first.stop()
  const back = await ask(project, { action: 'rollback' }, { id: 'by the second' })
  deepStrictEqual([back.outcome, back.version, (await second.status()).control], ['live', 1, 'owner'])
  await second.idle()
  deepStrictEqual(
    second.owner!.control.all('build').map(({ body }) => body.version),
    [1, 2],
  )
  strictEqual((await second.refresh('by the first')).version, 2)
  strictEqual((await logged(project)).filter((record) => record === 'owner').length, 2)
  strictEqual((await second.status()).ingest!.poison, 0)
  const moves = await publishedVersions(project)
  deepStrictEqual(
    moves.map(({ seq, version }) => [seq, version]),
    [
      [1, 1],
      [2, 2],
      [3, 1],
    ],
  )
})

/** The project with a control partition that a test takes away and gives back, as a rebalance does. `away`: nothing of it is read before. */
function withRebalances(
  project: Project,
  { away = false } = {},
): { project: Project; take(): Promise<void>; give(): Promise<bigint | undefined> } {
  let handlers: LogHandlers | undefined
  let lane: Lane | undefined
  const missed: LogBatch[] = []
  const consumer: LogDriver['consumer'] = async (options) => {
    const real = await project.log.consumer(options)
    if (!options.group.endsWith('-control')) return real
    return {
      run: (given) => {
        handlers = given
        return real.run({
          ...given,
          onAssigned: async (assigned) => given.onAssigned!((lane = assigned)),
          onBatch: async (batch, of) => {
            if (away) missed.push(batch)
            else await given.onBatch(batch, of)
          },
        })
      },
      lag: () => real.lag(),
      lastProgress: () => real.lastProgress(),
      stop: (how) => real.stop(how),
    }
  }
  const log = new Proxy(project.log, {
    get: (target, key) => {
      const value: unknown = key === 'consumer' ? consumer : Reflect.get(target, key, target)
      return typeof value === 'function' && key !== 'consumer' ? value.bind(target) : value
    },
  })
  return {
    project: { ...project, log },
    take: async () => {
      away = true
      await handlers!.onRevoked!(lane!)
    },
    give: async () => {
      const next = await handlers!.onAssigned!(lane!)
      away = false
      for (const batch of missed.splice(0)) await handlers!.onBatch(batch, lane!)
      return next
    },
  }
}

test('a partition that comes back to the owner changes nothing; meanwhile nothing is decided', async (t) => {
  const { project, start } = await opened(t)
  const rebalances = withRebalances(project)
  const daemon = await start(rebalances.project)
  await rebalances.take()
  const asked = daemon.ask('g', { action: 'gc' })
  await until('the command', async () => (await logged(project)).includes('command g'))
  strictEqual((await logged(project)).includes('done g'), false)
  strictEqual(await rebalances.give(), 1n, 'it goes on behind its claim')
  deepStrictEqual((await asked).collected, [])
  strictEqual((await daemon.status()).control, 'owner')
  strictEqual((await logged(project)).filter((record) => record === 'owner').length, 1)
})

test('an owner whose partition is gone ends when somebody else has taken control, and not before', async (t) => {
  const { project, start } = await opened(t)
  const rebalances = withRebalances(project)
  const daemon = await start(rebalances.project)
  await rebalances.take()
  let failed = false
  const failure = daemon.failed()
  failure.catch(() => (failed = true))
  const looked = Date.now() + 3500
  await until('a look at the log', () => Date.now() > looked)
  strictEqual(failed, false)
  await append(project, { kind: 'owner', id: 'newcomer', body: '{"process":"process 12 on elsewhere"}' })
  await until('the end', () => failed)
  await rejects(failure, { code: 'SIDESTREAM_EPOCH_FENCED', message: /process 12 on elsewhere has taken over/ })
})

/** The project, and every control record that is read of its log without a group. */
function watchingReads(project: Project): { project: Project; read: bigint[] } {
  const read: bigint[] = []
  const watched: LogDriver['read'] = (topic, onBatch, options) =>
    project.log.read(
      topic,
      (batch) => {
        if (topic === 'control') read.push(...batch.records.map(({ offset }) => offset))
        return onBatch(batch)
      },
      options,
    )
  return { project: { ...project, log: { ...logOf(project), read: watched } }, read }
}

const logOf = ({ log }: Project): LogDriver => ({
  name: log.name,
  caps: log.caps,
  producer: () => log.producer(),
  consumer: (options) => log.consumer(options),
  admin: () => log.admin(),
  read: (topic, onBatch, options) => log.read(topic, onBatch, options),
  close: () => log.close(),
})

test('whoever asks reads nothing of what stands before its command, however long the log is', async (t) => {
  const it = await TestProject.open(t)
  for (let i = 0; i < 30; i++) await it.control.append('tick', 's', { source: 's', watermarkTs: startTs })
  const before = BigInt((await logged(it.project)).length)
  const { project, read } = watchingReads(it.project)
  const first = await ask(project, { action: 'gc' }, { id: 'once' })
  ok(read.length > 0)
  ok(
    read.every((offset) => offset >= before),
    `read ${read.join()} of a log of ${before}`,
  )
  read.splice(0)
  const asked = BigInt((await logged(it.project)).length)
  deepStrictEqual(await ask(project, { action: 'gc' }, { id: 'once' }), first)
  ok(read.length > 0 && read.every((offset) => offset >= asked))
  strictEqual((await logged(it.project)).filter((record) => record === 'done once').length, 1)
})

test('an answer counts of whoever was the owner when it read the command, and of nobody before', async (t) => {
  const { project } = await opened(t)
  await append(project, { kind: 'owner', id: 'old', body: '{"process":"p"}' })
  await append(project, { kind: 'owner', id: 'new', body: '{"process":"q"}' })
  const answer = (message: string): string => JSON.stringify({ outcome: 'done', version: null, code: null, message, collected: [] })
  const asked = async (id: string): Promise<bigint> => {
    await until('the command', async () => (await logged(project)).includes(`command ${id}`))
    return BigInt((await logged(project)).indexOf(`command ${id}`))
  }
  // The old owner took the same id when it was asked before, and was cut off: what it says comes late.
  const one = ask(project, { action: 'gc' }, { id: 'one' })
  const at = await asked('one')
  await append(project, { kind: 'taken', id: 'one', body: JSON.stringify({ asked: String(at - 1n) }) }, claimOf('old'))
  await append(project, { kind: 'done', id: 'one', body: answer('by the old one') }, claimOf('old'))
  await append(project, { kind: 'taken', id: 'one', body: JSON.stringify({ asked: String(at) }) }, claimOf('new'))
  await append(project, { kind: 'done', id: 'one', body: answer('by the old one') }, claimOf('old'))
  await append(project, { kind: 'done', id: 'one', body: answer('by the new one') }, claimOf('new'))
  strictEqual((await one).message, 'by the new one')

  // Two of one id with other words: the end of the one is no answer to the other.
  const two = rejects(ask(project, { action: 'gc' }, { id: 'two' }), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /two was used for rollback/,
  })
  const taken = JSON.stringify({ asked: String(await asked('two')) })
  await append(project, { kind: 'taken', id: 'other', body: taken }, claimOf('new'))
  await append(project, { kind: 'done', id: 'two', body: answer('of a rollback') }, claimOf('new'))
  const told = JSON.stringify({ ...JSON.parse(taken), usedFor: 'rollback' })
  await append(project, { kind: 'taken', id: 'two', body: told }, claimOf('new'))
  await two
})

test('an asking that an owner did not live to tell about is told by the next one', async (t) => {
  const { project, start } = await opened(t)
  const daemon = await start()
  const done = await daemon.ask('r', { action: 'refresh' })
  await daemon.stop()
  const again = ask(project, { action: 'refresh' }, { id: 'r' })
  await until('the command', async () => (await logged(project)).filter((record) => record === 'command r').length === 2)
  await start()
  deepStrictEqual(await again, done)
  strictEqual((await logged(project)).filter((record) => record === 'done r').length, 1)
})

const buildOf = (version: number): string =>
  JSON.stringify({ version, reason: 'command', parent: null, head: 'head-x', cutTs: startTs, positions: [] })

test('a partition that leaves before the claim was read is claimed anew, behind what others decided meanwhile', async (t) => {
  const { project, start } = await opened(t)
  const rebalances = withRebalances(project, { away: true })
  const starting = start(rebalances.project)
  await until('the claim', async () => (await logged(project)).length === 1)
  await rebalances.take()
  const daemon = await starting
  strictEqual((await daemon.status()).control, 'standby')
  let failed: unknown
  daemon.failed().catch((error: unknown) => (failed = error))

  await append(project, { kind: 'owner', id: 'other', body: '{"process":"process 12 on elsewhere"}' })
  await append(project, { kind: 'build', id: 'theirs', body: buildOf(7) }, claimOf('other'))
  const refused = JSON.stringify({ outcome: 'refused', version: 7, code: null, message: 'by the other' })
  await append(project, { kind: 'done', id: 'theirs', body: refused }, claimOf('other'))
  strictEqual(await rebalances.give(), 0n)
  deepStrictEqual((await ask(project, { action: 'gc' })).collected, [])
  deepStrictEqual([(await daemon.status()).control, failed], ['owner', undefined])
  deepStrictEqual(
    daemon.owner!.control.all('build').map(({ body }) => body.version),
    [7],
  )
  deepStrictEqual((await logged(project)).slice(0, 5), ['owner', 'owner', 'build theirs', 'done theirs', 'owner'])
})

test('a process that is stopped while its claim is not read back ends, and has decided nothing', async (t) => {
  const { project, start } = await opened(t)
  const rebalances = withRebalances(project, { away: true })
  const starting = start(rebalances.project)
  await until('the claim', async () => (await logged(project)).length === 1)
  await rebalances.take()
  await (await starting).stop()
  deepStrictEqual(await logged(project), ['owner'])
})

test('a claim counts where it first stands: sent again after another one, it takes nothing back', async (t) => {
  const { project, start } = await opened(t)
  for (const id of ['first', 'second', 'first']) await append(project, { kind: 'owner', id, body: '{"process":"p"}' })
  await append(project, { kind: 'build', id: 'lost', body: buildOf(8) }, claimOf('first'))
  const daemon = await start()
  deepStrictEqual(daemon.owner!.control.all('build'), [])
})
