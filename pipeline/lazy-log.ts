/** A log that is opened when something of it is used: what only reads the store works while the log is away. */

import type { LogDriver } from '../connectors/index.ts'
import { lazily } from './lazily.ts'

/** @param open - called once, by the first use; again by the next one when it failed */
export function lazyLog(about: Pick<LogDriver, 'name' | 'caps'>, open: () => Promise<LogDriver>): LogDriver {
  const { use: log, close } = lazily(open)
  return {
    ...about,
    producer: async (options) => (await log()).producer(options),
    consumer: async (options) => (await log()).consumer(options),
    admin: async () => (await log()).admin(),
    read: async (topic, onBatch, options) => (await log()).read(topic, onBatch, options),
    close,
  }
}
