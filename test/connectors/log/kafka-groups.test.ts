/** Groups on Kafka beyond what one process can show: members elsewhere, evictions, shares that stay where they are. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { fork } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import type { Lane, LogConsumer } from '../../../connectors/index.ts'
import { bareKafka, brokers, freshTopic, openTestLog, skipWithoutKafka } from './kafka-bench.ts'
import { numbered, record, start, until, values } from '../../contract/log-fixture.ts'
import { nodeOptions, running } from '../../checkout.ts'

const options = { skip: skipWithoutKafka, timeout: 60_000 }

interface Told {
  readonly kind: 'assigned' | 'blocks' | 'handled' | 'fatal'
  readonly offsets?: string[]
  readonly outcome?: 'ok' | 'lost'
  readonly epoch?: number
}

test('a member whose event loop is blocked is evicted; another takes over; the late commit is lost; it comes back', options, async (t) => {
  const log = await openTestLog({ sessionTimeoutMs: 1500, heartbeatIntervalMs: 200 })
  t.after(() => log.close())
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  await producer.send(topic, 0, numbered(5))
  const child = fork(
    fileURLToPath(running(new URL('./kafka-member-child.ts', import.meta.url))),
    [brokers.join(','), topic, topic, '6000'],
    {
      execArgv: [...nodeOptions],
    },
  )
  t.after(() => child.kill('SIGKILL'))
  const told: Told[] = []
  child.on('message', (message) => told.push(message as Told))
  await until('the child to block', () => told.some(({ kind }) => kind === 'blocks'), 30_000)
  const taken: (string | null)[] = []
  const lanes: Lane[] = []
  const ours = await start(
    log,
    { group: topic, topics: [topic], batchRecords: 1 },
    {
      onAssigned: async (lane) => void lanes.push(lane) as undefined,
      onBatch: async (batch, lane) => {
        taken.push(...values(batch.records))
        await lane.commit(batch.next)
      },
    },
  )
  await until('the takeover', () => taken.length === 5) // what the child holds was not committed: it comes again here
  await until('the child to wake up', () => told.some(({ kind }) => kind === 'handled'), 30_000)
  strictEqual(told.find(({ kind }) => kind === 'handled')!.outcome, 'lost')
  await ours.stop({ drainMs: 1000 })
  await until('the child to have it again', () => told.filter(({ kind }) => kind === 'assigned').length >= 2, 30_000)
  await producer.send(topic, 0, [record('k', 'after')])
  await until(
    'the child to go on',
    () => told.some(({ kind, offsets, outcome }) => kind === 'handled' && offsets![0] === '5' && outcome === 'ok'),
    30_000,
  )
  const epochs = told.filter(({ kind }) => kind === 'assigned').map(({ epoch }) => epoch!)
  ok(epochs.every((epoch, i) => i === 0 || epoch > epochs[i - 1]!))
  deepStrictEqual(
    told.filter(({ kind }) => kind === 'fatal'),
    [],
  )
  deepStrictEqual(await (await log.admin()).committed(topic, topic), [6n])
  child.send('stop')
})

test('partitions stay where they are as long as that is even', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = await freshTopic(log, 6)
  const owners = new Map<string, Map<number, Lane>>()
  const join = async (name: string): Promise<LogConsumer> => {
    const lanes = new Map<number, Lane>()
    owners.set(name, lanes)
    return start(
      log,
      { group: topic, topics: [topic] },
      { onAssigned: async (lane) => void lanes.set(lane.partition, lane) as undefined, onBatch: async () => {} },
    )
  }
  const owned = (name: string): number[] =>
    [...owners.get(name)!.values()]
      .filter(({ signal }) => !signal.aborted)
      .map(({ partition }) => partition)
      .sort()
  const settled = (counts: Record<string, number>): Promise<void> =>
    until(JSON.stringify(counts), () => Object.entries(counts).every(([name, count]) => owned(name).length === count))
  const ann = await join('ann')
  const bob = await join('bob')
  await settled({ ann: 3, bob: 3 })
  const before = { ann: owned('ann'), bob: owned('bob') }
  const cy = await join('cy')
  await settled({ ann: 2, bob: 2, cy: 2 })
  for (const name of ['ann', 'bob'] as const) ok(owned(name).every((partition) => before[name].includes(partition)))
  const three = { ann: owned('ann'), bob: owned('bob') }
  await cy.stop({ drainMs: 1000 })
  await settled({ ann: 3, bob: 3 })
  for (const name of ['ann', 'bob'] as const) ok(three[name].every((partition) => owned(name).includes(partition)))
  for (const member of [ann, bob]) await member.stop({ drainMs: 1000 })
})

test('readings leave no group behind, and a group that has left is empty', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = await freshTopic(log, 2)
  const producer = await log.producer()
  await producer.send(topic, 0, numbered(3))
  const admin = bareKafka().admin()
  await admin.connect()
  t.after(() => admin.disconnect())
  const before = (await admin.listGroups()).groups.map(({ groupId }) => groupId)
  for (let i = 0; i < 5; i++) await log.read(topic, () => {})
  const after = (await admin.listGroups()).groups.map(({ groupId }) => groupId)
  deepStrictEqual(
    after.filter((group) => !before.includes(group) && /never|read|sidestream/.test(group)),
    [],
  )
  let count = 0
  const consumer = await start(log, { group: topic, topics: [topic] }, { onBatch: async ({ records }) => void (count += records.length) })
  await until('the records', () => count === 3)
  await consumer.stop({ drainMs: 1000 })
  const { groups } = await admin.describeGroups([topic])
  strictEqual(groups[0]!.state, 'Empty')
})

test('handled positions are committed without being asked, and before a planned change of topics', options, async (t) => {
  const log = await openTestLog()
  t.after(() => log.close())
  const topic = await freshTopic(log, 1)
  const producer = await log.producer()
  const seen: string[] = []
  const consumer = await start(
    log,
    { group: topic, topics: [new RegExp(`^${topic}`)] },
    { onBatch: async (batch) => void seen.push(...values(batch.records).map((value) => `${batch.topic.slice(topic.length)}${value}`)) },
  )
  const admin = await log.admin()
  await producer.send(topic, 0, numbered(4))
  await until('the commit', async () => (await admin.committed(topic, topic))[0] === 4n)
  await producer.send(topic, 0, numbered(1, 'last'))
  await until('the last', () => seen.length === 5)
  await admin.createTopics([{ name: `${topic}.b`, partitions: 1 }])
  await producer.send(`${topic}.b`, 0, numbered(2))
  await until('the new topic', () => seen.length >= 7)
  deepStrictEqual(seen, ['0', '1', '2', '3', 'last0', '.b0', '.b1']) // nothing came twice
  await consumer.stop({ drainMs: 1000 })
})
