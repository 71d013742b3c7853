import { openKafkaLog } from '../../../connectors/index.ts'
import type { LogDriver } from '../../../connectors/index.ts'
import { logContract } from '../../contract/log.ts'

const broker = process.env['SIDESTREAM_TEST_KAFKA'] ?? '127.0.0.1:19092'

/** Waits between tries are skipped: how long they are is tested apart. */
const wait = (): Promise<void> => new Promise(setImmediate)

logContract({
  name: 'kafka',
  open: async () => {
    const options = {
      brokers: [broker],
      fetchWaitMs: 30,
      sessionTimeoutMs: 6000,
      heartbeatIntervalMs: 300,
      metadataMaxAgeMs: 300,
      connectTimeoutMs: 5000,
      wait,
      ...(process.env['KLOG'] && {
        logger: { debug: (f: object, m: string) => console.error('D', m, f), warn: (f: object, m: string) => console.error('W', m, f) },
      }),
    }
    let open: LogDriver = await openKafkaLog(options)
    return {
      driver: open,
      reopen: async () => {
        await open.close()
        open = await openKafkaLog(options)
        return open
      },
      close: () => open.close(),
    }
  },
})
