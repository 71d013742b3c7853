/**
 * Promise: with shared servers one daemon decides, another stands by and takes over; anybody who reaches the servers asks for
 * the same things as beside an embedded daemon, and nobody is kept waiting when nobody decides.
 */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { createTopics, importSources, openCommands, openProject, publishedVersions, startDaemon } from '../../pipeline/index.ts'
import type { Daemon, Project, ProjectCommands } from '../../pipeline/index.ts'
import type { Config } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { isMissing, kafkaService, redisService, until } from '../services/index.ts'
import { onServers } from './server-config.ts'
import { smallConfig, smallWorld, sourceOf } from './small-world.ts'

const kafka = await kafkaService()
const redis = await redisService()
const missing = isMissing(kafka) ? kafka.missing : isMissing(redis) ? redis.missing : undefined
const events = smallWorld({ items: 70, users: 20, interactions: 400 })

interface Machine {
  readonly project: Project
  readonly daemon: Daemon
  stop(): Promise<void>
}

/** A project on the servers: machines with daemons, and a caller that has no data directory. */
async function shared(
  t: TestContext,
): Promise<{ machine(name: string): Promise<Machine>; caller: ProjectCommands; hasty: ProjectCommands; directory: string }> {
  if (isMissing(kafka) || isMissing(redis)) throw new Error(missing)
  const { directory, remove } = await scratchDirectory()
  const servers = onServers({ kafka, redis, partitions: 2 })
  const on = (name: string): Config =>
    smallConfig({ dataDir: join(directory, name), partitions: 2 }, { ...servers, refresh: { everyMs: 0 } })
  await createTopics(on('caller'))
  const running: Machine[] = []
  const caller = await openCommands(on('caller'), { deadlineMs: 60_000 })
  const hasty = await openCommands(on('caller'), { deadlineMs: 1000 })
  t.after(async () => {
    await caller.close()
    await hasty.close()
    for (const { stop } of running) await stop()
    await remove()
  })
  const machine = async (name: string): Promise<Machine> => {
    const project = await openProject(on(name))
    const daemon = await startDaemon(project)
    let stopped: Promise<void> | undefined
    const stop = (): Promise<void> => (stopped ??= daemon.stop().then(() => project.close()))
    const started = { project, daemon, stop }
    running.push(started)
    return started
  }
  return { machine, caller, hasty, directory }
}

test('one decides, one stands by and takes over; callers ask by the log', { skip: missing ?? false, timeout: 300_000 }, async (t) => {
  const { machine, caller, hasty, directory } = await shared(t)
  await rejects(hasty.rollbackVersion(), { code: 'SIDESTREAM_OWNER_UNAVAILABLE', message: /no owner answered within 1 s/ })
  deepStrictEqual(await caller.listVersions(), [])
  await rejects(caller.readFeatures({ items: ['item-1'] }), { code: 'SIDESTREAM_VERSION_UNKNOWN' })

  const first = await machine('first')
  const second = await machine('second')
  deepStrictEqual([(await first.daemon.status()).control, (await second.daemon.status()).control], ['owner', 'standby'])
  deepStrictEqual([second.daemon.ingest, second.daemon.owner], [undefined, undefined])
  await importSources(first.project, [sourceOf('standby', events)], { end: true })
  await first.daemon.idle()
  ok((await first.daemon.status()).live !== null)

  const rounds: number[] = []
  const refreshed = await caller.refresh('by a caller', { onRound: (round) => rounds.push(round) })
  strictEqual(refreshed.outcome, 'live', refreshed.message)
  const version = refreshed.version!
  deepStrictEqual(await caller.refresh('by a caller'), refreshed)
  const [line] = (await caller.listVersions()).filter(({ state }) => state === 'live')
  deepStrictEqual([line?.version, (await caller.showVersion(version)).reason], [version, 'command'])
  const { features } = await caller.readFeatures({ items: ['item-1', 'nobody'] })
  deepStrictEqual([features[0]?.deleted, features[1]], [false, undefined])
  strictEqual((await caller.rollbackVersion()).version, version - 1)
  await rejects(caller.activateVersion(99), { code: 'SIDESTREAM_VERSION_UNKNOWN' })
  deepStrictEqual(await caller.collectVersions(), [])

  const at = events.at(-1)!.eventTs
  await writeFile(join(directory, 'more.csv'), `user_id,item_id,ts,behaviors\nuser-1,item-1,${at},click\nuser-1,item-2,${at},dance\n`)
  const report = await caller.importFiles({ interactions: join(directory, 'more.csv'), end: false })
  deepStrictEqual(report, { appended: 2, skipped: 0, refused: 0 })
  await until('the dead letter', async () => (await caller.listDeadLetters({})).length === 1, 30_000)
  deepStrictEqual(await caller.retryDeadLetters({ code: 'SIDESTREAM_BEHAVIOR_UNKNOWN' }), { retried: 1, left: [] })
  strictEqual(await caller.status(), undefined)

  await first.stop()
  const stoppedTs = Date.now()
  const forward = await caller.activateVersion(version)
  deepStrictEqual([forward.version, (await second.daemon.status()).control], [version, 'owner'])
  t.diagnostic(`the second one answered ${Date.now() - stoppedTs} ms after the first had stopped`)
  await second.daemon.idle()
  strictEqual((await caller.refresh('by a caller')).version, version)
  strictEqual((await caller.refresh('after the move')).outcome, 'live')
  const moves = await publishedVersions(second.project)
  deepStrictEqual(
    moves.map(({ seq }) => seq),
    moves.map((_, i) => i + 1),
  )
  deepStrictEqual(
    (await readdir(join(directory, 'second', 'artifact-cache'))).some((name) => name.startsWith('heads~')),
    true,
    'it has read the heads that the first one trained',
  )
  ok(!(await readdir(directory)).includes('caller'), 'a caller leaves nothing behind')
  match((await second.daemon.refresh('after the move')).message, /is live/)
})
