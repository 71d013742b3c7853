/** Makes and removes what a project has on servers that others share; for demos, tests and benches that bring their own. */

import type { Config } from '../schemas/index.ts'
import type { LogAdmin } from '../connectors/index.ts'
import { openLog, openStore } from './compose.ts'
import { inspectTopics, refuseDiffering, wantedTopics } from './topics.ts'

/** Creates every topic of the project that is missing. @throws SIDESTREAM_TOPIC_MISMATCH, and whatever the log throws */
export function createTopics(config: Config): Promise<void> {
  return withAdmin(config, async (admin) => {
    const found = await inspectTopics(admin, config)
    refuseDiffering(found)
    const missing = new Set(found.filter(({ state }) => state === 'missing').map(({ name }) => name))
    await admin.createTopics(wantedTopics(config).filter(({ name }) => missing.has(name)))
  })
}

/** Deletes every topic of the project, with all that is in it. */
export function deleteTopics(config: Config): Promise<void> {
  return withAdmin(config, async (admin) => {
    for (const { name, state } of await inspectTopics(admin, config)) if (state !== 'missing') await admin.deleteTopic(name)
  })
}

/**
 * Deletes all that the project has on Kafka and Redis, while no process of it runs: topics, groups that begin with its prefix and name,
 * keys. What is not there is no error; embedded drivers keep their data, which is in the data directory.
 */
export async function deleteProject(config: Config): Promise<void> {
  if (config.log.driver === 'kafka') {
    await withAdmin(config, async (admin) => {
      for (const { name, state } of await inspectTopics(admin, config)) if (state !== 'missing') await admin.deleteTopic(name)
      await admin.deleteGroups?.(config.project)
    })
  }
  if (config.store.driver !== 'redis') return
  const store = await openStore(config)
  try {
    await store.forget?.(config.project)
  } finally {
    await store.close()
  }
}

async function withAdmin(config: Config, body: (admin: LogAdmin) => Promise<void>): Promise<void> {
  const log = await openLog(config)
  try {
    await body(await log.admin())
  } finally {
    await log.close()
  }
}
