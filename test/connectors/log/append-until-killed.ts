/** A child process for the crash test: opens the log, appends batches as fast as it can, and prints each one that was acknowledged. */
import { writeSync } from 'node:fs'

import { openFileLog } from '../../../connectors/index.ts'

const [directory = ''] = process.argv.slice(2)
const log = await openFileLog({ directory, segmentBytes: 300_000 })
await (await log.admin()).createTopics([{ name: 'orders', partitions: 2 }])
const producer = await log.producer()
writeSync(1, 'ready\n')

/** Batch `n` of a partition holds `1 + n % 7` records with value `<n>:<i>`, padded; the line tells partition, n and base. */
async function append(partition: number): Promise<void> {
  for (let n = 0; ; n++) {
    const records = Array.from({ length: 1 + (n % 7) }, (_, i) => ({
      key: null,
      value: Buffer.from(`${n}:${i}:`.padEnd(50 + ((n * 37) % 900), '.')),
    }))
    const base = (await producer.send('orders', partition, records)).get(partition)!
    writeSync(1, `${partition} ${n} ${base}\n`)
  }
}

await Promise.all([append(0), append(1)])
