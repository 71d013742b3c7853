import { logContract } from '../../contract/log.ts'
import { openTestLog, skipWithoutKafka } from './kafka-bench.ts'
import type { LogDriver } from '../../../connectors/index.ts'

logContract({
  name: 'kafka',
  skip: skipWithoutKafka,
  open: async () => {
    let open: LogDriver = await openTestLog()
    return {
      driver: open,
      reopen: async () => {
        await open.close()
        open = await openTestLog()
        return open
      },
      close: () => open.close(),
    }
  },
})
