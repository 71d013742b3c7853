/**
 * A child process for the crash test: writes keys over and over, compacts all the time, and prints each change that was
 * acknowledged: `key value`, or `key -` for a deletion.
 */
import { writeSync } from 'node:fs'

import { openFileLog } from '../../../connectors/index.ts'

const [directory = '', life = '0'] = process.argv.slice(2)
const log = await openFileLog({ directory, segmentBytes: 8000, groupCommitMs: 0, deleteRetentionMs: 0 })
await (await log.admin()).createTopics([{ name: 'states', partitions: 1, cleanup: 'compact' }])
const producer = await log.producer()
writeSync(1, 'ready\n')

async function write(): Promise<void> {
  for (let n = 0; ; n++) {
    const changes = Array.from({ length: 1 + (n % 5) }, (_, i) => ({ key: `k${(n * 3 + i * 11) % 40}`, value: `${life}.${n}.${i}` }))
    const kept = changes.filter(({ key }, i) => changes.findLastIndex((other) => other.key === key) === i)
    const records = kept.map(({ key, value }, i) => ({
      key: Buffer.from(key),
      value: (n + i) % 6 === 5 ? null : Buffer.from(value.padEnd(200, '.')),
    }))
    await producer.send('states', 0, records)
    writeSync(1, kept.map(({ key, value }, i) => `${key} ${(n + i) % 6 === 5 ? '-' : value}\n`).join(''))
  }
}

async function compact(): Promise<void> {
  for (;;) {
    await log.compact('states')
    await new Promise(setImmediate)
  }
}

await Promise.all([write(), compact()])
