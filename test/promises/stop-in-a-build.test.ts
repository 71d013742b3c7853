/** Promise: a stop never waits for a build to end; the next start takes the build up again and ends it. */
import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { importSources, openProject, showVersion, startDaemon, versionDigest } from '../../pipeline/index.ts'
import type { Daemon, Project } from '../../pipeline/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { hourMs, smallConfig, smallWorld, sourceOf } from './small-world.ts'

const events = smallWorld({ items: 70, users: 20, interactions: 400 })

/** A project whose store holds back the rows of version 2 until it is let go. */
function holdingVersion2(project: Project): { held: Project; asked: Promise<void>; letGo: () => void } {
  let letGo = (): void => {}
  let ask = (): void => {}
  const gate = new Promise<void>((resolve) => (letGo = resolve))
  const asked = new Promise<void>((resolve) => (ask = resolve))
  const { store } = project
  const write: Project['store']['write'] = async (target, entries) => {
    if (target.version === 2) {
      ask()
      await gate
    }
    return store.write(target, entries)
  }
  const held = new Proxy(store, {
    get: (target, key) => {
      const value: unknown = key === 'write' ? write : Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  return { held: { ...project, store: held }, asked, letGo }
}

async function start(project: Project): Promise<Daemon> {
  const daemon = await startDaemon(project)
  await importSources(project, [sourceOf('stop', events)], { end: true })
  await daemon.idle()
  return daemon
}

test('stopped while version 2 is written, gone on with at the next start', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const config = smallConfig({ dataDir: directory }, { refresh: { everyMs: 0, bootstrapMs: 3 * hourMs, evalWindowMs: hourMs } })

  const first = await openProject(config)
  const { held, asked, letGo } = holdingVersion2(first)
  const stopped = await start(held)
  const refused = rejects(stopped.refresh('second'), { code: 'SIDESTREAM_CLOSED' })
  await asked
  const stopping = stopped.stop()
  await refused // the owner gave the build up although not one row of it is written
  letGo()
  await stopping
  strictEqual((await showVersion(first, 2)).state, 'building')
  strictEqual((await stopped.status()).live, 1)
  await first.close()

  const second = await openProject(config)
  const daemon = await startDaemon(second)
  await daemon.idle()
  const result = await daemon.refresh('second') // asked before the stop: answered, not done again
  deepStrictEqual([result.outcome, result.version, (await daemon.status()).live], ['live', 2, 2])
  const digest = await versionDigest(second, 2)
  await daemon.stop()
  await second.close()

  const alone = await scratchDirectory()
  t.after(alone.remove)
  const undisturbed = await openProject({ ...config, dataDir: alone.directory })
  const other = await start(undisturbed)
  strictEqual((await other.refresh('second')).version, 2)
  strictEqual(digest, await versionDigest(undisturbed, 2))
  await other.stop()
  await undisturbed.close()
})
