/**
 * Promise: when the machine that decides is gone, a daemon on another one, with an empty data directory, goes on from the log and the
 * store alone, and the outcome is that of one that was never interrupted: same versions, same losses, nothing said twice.
 */
import { deepStrictEqual, ok } from 'node:assert/strict'
import { test } from 'node:test'

import { createTopics, importSources, openProject, startDaemon } from '../../pipeline/index.ts'
import type { Config } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { isMissing, kafkaService, redisService } from '../services/index.ts'
import { onServers } from './server-config.ts'
import { smallConfig, smallWorld, sourceOf } from './small-world.ts'
import { runWorld } from './world-run.ts'

const kafka = await kafkaService()
const redis = await redisService()
const missing = isMissing(kafka) ? kafka.missing : isMissing(redis) ? redis.missing : undefined
const events = smallWorld({ items: 100, users: 30, interactions: 800 })
const name = 'another-machine'
const skippable = { skip: missing ?? false, timeout: 300_000 }

/** Takes in a part of the world, trains and publishes what is complete, and stops. @returns rounds trained */
async function runPart(config: Config, share: number): Promise<number> {
  const project = await openProject(config)
  try {
    const daemon = await startDaemon(project)
    try {
      await importSources(project, [sourceOf(name, events.slice(0, Math.floor(share * events.length)))])
      await daemon.idle()
      return daemon.owner!.control.all('trained').length
    } finally {
      await daemon.stop()
    }
  } finally {
    await project.close()
  }
}

test('half of the interactions are taken in by another process, which comes and goes: the outcome is the same', skippable, async (t) => {
  if (isMissing(kafka) || isMissing(redis)) throw new Error(missing)
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const partitions = 4
  const servers = onServers({ kafka, redis, partitions })
  const on = (machine: string): Config => smallConfig({ dataDir: `${directory}/${machine}`, partitions }, servers)
  await createTopics(on('owner'))
  let taken = 0
  const help = async (): Promise<void> => {
    const project = await openProject(on('helper'))
    try {
      const daemon = await startDaemon(project, { roles: ['ingest'] })
      while (daemon.ingest!.counts.interactions < 100)
        await Promise.race([daemon.failed(), new Promise((resolve) => setTimeout(resolve, 5))])
      await daemon.stop()
      taken = daemon.ingest!.counts.interactions
    } finally {
      await project.close()
    }
  }
  const helped = help()
  const outcome = await runWorld({ config: on('owner'), name, events })
  await helped
  ok(taken >= 100 && taken < 700, `the other process took ${taken} interactions in`)
  deepStrictEqual(outcome, await runWorld({ config: smallConfig({ dataDir: `${directory}/alone`, partitions: 2 }), name, events }))
})

test('a daemon on another machine goes on where the first one ended', skippable, async (t) => {
  if (isMissing(kafka) || isMissing(redis)) throw new Error(missing)
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const partitions = 2
  const servers = onServers({ kafka, redis, partitions })
  const on = (machine: string): Config => smallConfig({ dataDir: `${directory}/${machine}`, partitions }, servers)
  await createTopics(on('first'))
  const early = await runPart(on('first'), 0.4)
  const later = await runPart(on('second'), 0.7)
  ok(early > 3 && later > early, `rounds of the first ${early}, with the second ${later}`)
  // The first machine comes back with a state that others have gone past.
  const outcome = await runWorld({ config: on('first'), name, events })

  const embedded = await runWorld({ config: smallConfig({ dataDir: `${directory}/alone`, partitions }), name, events })
  deepStrictEqual(outcome, embedded)
})
