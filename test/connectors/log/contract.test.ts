import { rmSync } from 'node:fs'

import { openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { LogDriver } from '../../../connectors/index.ts'
import { logContract } from '../../contract/log.ts'
import { scratchDirectory } from './scratch.ts'

/** Waits between tries are skipped: how long they are is tested apart. */
const wait = (): Promise<void> => new Promise(setImmediate)

/** A clock that `expire` puts forward. */
function movableClock(): { now: () => number; forward(): void } {
  let ahead = 0
  return { now: () => Date.now() + ahead, forward: () => void (ahead += 8 * 86_400_000) }
}

async function createCompacted(driver: LogDriver, name: string, partitions: number): Promise<void> {
  await (await driver.admin()).createTopics([{ name, partitions, cleanup: 'compact' }])
}

logContract({
  name: 'file',
  open: async () => {
    const directory = scratchDirectory()
    const clock = movableClock()
    const options = { directory, segmentBytes: 40_000, groupCommitMs: 1, deleteRetentionMs: 0, wallClock: clock.now, wait }
    const driver = await openFileLog(options)
    let open = driver
    return {
      driver,
      reopen: async () => {
        await open.close()
        open = await openFileLog(options)
        return open
      },
      createCompacted: (topic, partitions) => createCompacted(open, topic, partitions),
      compactNow: (topic) => open.compact(topic),
      expire: async () => {
        clock.forward()
        await open.maintain()
      },
      close: async () => {
        await open.close()
        rmSync(directory, { recursive: true })
      },
    }
  },
})

logContract({
  name: 'memory',
  volatile: 'a memory log ends with its process',
  open: async () => {
    const clock = movableClock()
    const driver = await openMemoryLog({ wait, deleteRetentionMs: 0, wallClock: clock.now })
    return {
      driver,
      reopen: async () => driver,
      createCompacted: (topic, partitions) => createCompacted(driver, topic, partitions),
      compactNow: (topic) => driver.compact(topic),
      expire: async () => {
        clock.forward()
        await driver.maintain()
      },
      close: () => driver.close(),
    }
  },
})
