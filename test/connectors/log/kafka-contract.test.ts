import { after } from 'node:test'

import { logContract } from '../../contract/log.ts'
import { bareKafka, openTestLog, skipWithoutKafka } from './kafka-bench.ts'
import type { LogDriver } from '../../../connectors/index.ts'

const admin = bareKafka().admin()
after(() => admin.disconnect())

/** Brokers compact when they find the time; these settings have them look every second. */
const eager = { 'segment.ms': 1000, 'min.cleanable.dirty.ratio': 0.01, 'delete.retention.ms': 1000, 'max.compaction.lag.ms': 1000 }

logContract({
  name: 'kafka',
  skip: skipWithoutKafka,
  open: async () => {
    await admin.connect()
    let open: LogDriver = await openTestLog()
    return {
      driver: open,
      reopen: async () => {
        await open.close()
        open = await openTestLog()
        return open
      },
      createCompacted: async (topic, numPartitions) => {
        const config = { 'cleanup.policy': 'compact', ...eager }
        const configEntries = Object.entries(config).map(([name, value]) => ({ name, value: String(value) }))
        await admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: true })
      },
      compactNow: async (topic) => {
        // The newest segment is never compacted: a record after `segment.ms` begins a new one.
        const producer = await open.producer()
        const { partitions } = await (await open.admin()).describe(topic)
        for (let p = 0; p < partitions; p++) await producer.send(topic, p, [{ key: Buffer.from('tick'), value: Buffer.from('') }])
        await producer.close()
      },
      expire: async (topic) => {
        const { end } = await (await open.admin()).describe(topic)
        await admin.fetchTopicOffsets(topic) // so that kafkajs knows the leader
        const partitions = end.map((offset, partition) => ({ partition, offset: String(offset) }))
        await admin.deleteTopicRecords({ topic, partitions })
      },
      close: () => open.close(),
    }
  },
})
