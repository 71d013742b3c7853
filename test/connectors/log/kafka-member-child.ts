/**
 * A member of a group in a process of its own, for tests: its handler blocks the event loop once, as a long computation does, then
 * writes and commits. It tells its parent what happened.
 * Arguments: brokers, topic, group, how long to block (ms).
 */
import { openTestLog } from './kafka-bench.ts'

const [brokers, topic, group, blockMs] = process.argv.slice(2) as [string, string, string, string]
const log = await openTestLog({ brokers: brokers.split(','), sessionTimeoutMs: 1500, heartbeatIntervalMs: 200 })
const consumer = await log.consumer({ group, topics: [topic], start: 'earliest', batchRecords: 1 })
let blocked = false
await consumer.run({
  onAssigned: async (lane) => {
    process.send!({ kind: 'assigned', partition: lane.partition, epoch: lane.epoch })
    return undefined
  },
  onBatch: async (batch, lane) => {
    const offsets = batch.records.map(({ offset }) => String(offset))
    if (!blocked) {
      blocked = true
      process.send!({ kind: 'blocks', offsets })
      await new Promise((resolve) => setTimeout(resolve, 50)) // the message leaves first
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(blockMs))
    }
    process.send!({ kind: 'handled', offsets, outcome: await lane.commit(batch.next) })
  },
  onFatal: (error) => process.send!({ kind: 'fatal', message: error.message }),
})
process.once('message', () => {
  void consumer.stop({ drainMs: 1000 }).then(async () => {
    await log.close()
    process.disconnect()
  })
})
