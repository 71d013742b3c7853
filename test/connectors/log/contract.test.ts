import { rmSync } from 'node:fs'

import { openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { LogDriver } from '../../../connectors/index.ts'
import { logContract } from '../../contract/log.ts'
import { scratchDirectory } from './scratch.ts'

/** Waits between tries are skipped: how long they are is tested apart. */
const wait = (): Promise<void> => new Promise(setImmediate)

logContract({
  name: 'file',
  open: async () => {
    const directory = scratchDirectory()
    const options = { directory, segmentBytes: 40_000, groupCommitMs: 1, wait }
    const driver = await openFileLog(options)
    let open: LogDriver = driver
    return {
      driver,
      reopen: async () => {
        await open.close()
        open = await openFileLog(options)
        return open
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
    const driver = await openMemoryLog({ wait })
    return { driver, reopen: async () => driver, close: () => driver.close() }
  },
})
