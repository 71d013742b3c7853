/**
 * What a start asks of Kafka. Far from the brokers each request in a row costs a round trip, so look-ups are made once, together and
 * side by side: here how many they are, by kind. Fetches and heartbeats depend on time, and are not counted.
 */
import { ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { createTopics, openProject, startDaemon } from '../../pipeline/index.ts'
import { checkConfig } from '../../schemas/index.ts'
import type { Config } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { faultProxy, ownBroker, skipWithoutBroker } from '../services/index.ts'
import { testConfig } from './fixture.ts'

const partitions = 4
/** Most requests of a start with four partitions, measured, and some for what comes twice when the broker is slow. */
const most = { open: { Metadata: 6 + 4, all: 14 + 8 }, start: { Metadata: 36 + 10, FindCoordinator: 7 + 5, all: 102 + 30 } } as const

test(
  'a daemon that starts asks Kafka about a hundred things, whatever the number of topics',
  { skip: await skipWithoutBroker(), timeout: 120_000 },
  async (t) => {
    const opened: (() => Promise<void>)[] = []
    t.after(async () => {
      for (const close of opened.reverse()) await close()
    })
    const { directory, remove } = await scratchDirectory()
    opened.push(remove)
    const proxy = await faultProxy()
    opened.push(() => proxy.close())
    const broker = await ownBroker({ proxy })
    opened.push(() => broker.close())
    const configOf = (address: string): Config => {
      const { project, dataDir, seed, content, interactions, head, training, semanticIds, views, refresh, guard, store } =
        testConfig(directory)
      const log = { driver: 'kafka', partitions, kafka: { brokers: [address], topicPrefix: 'start.' } }
      return checkConfig({ project, dataDir, seed, content, interactions, head, training, semanticIds, views, refresh, guard, store, log })
    }
    await createTopics(configOf(broker.brokers[0]!))

    let counts = new Map<string, number>()
    proxy.watchRequests((name) => counts.set(name, (counts.get(name) ?? 0) + 1))
    const taken = (): { of: (name: string) => number; all: number; text: string } => {
      const asked = counts
      counts = new Map()
      const kinds = [...asked].filter(([name]) => name !== 'Fetch' && name !== 'Heartbeat' && name !== 'OffsetCommit')
      const all = kinds.reduce((sum, [, count]) => sum + count, 0)
      return { of: (name) => asked.get(name) ?? 0, all, text: `${all}: ${JSON.stringify(Object.fromEntries(kinds))}` }
    }
    const project = await openProject(configOf(proxy.address))
    opened.push(() => project.close())
    const open = taken()
    ok(open.all <= most.open.all && open.of('Metadata') <= most.open.Metadata, open.text)
    strictEqual(open.of('DescribeConfigs'), 1)

    const daemon = await startDaemon(project)
    opened.push(() => daemon.stop())
    const start = taken()
    t.diagnostic(`open ${open.text}; start ${start.text}`)
    ok(start.all <= most.start.all, start.text)
    ok(start.of('Metadata') <= most.start.Metadata && start.of('FindCoordinator') <= most.start.FindCoordinator, start.text)
    ok(start.of('JoinGroup') >= 3, 'control, ingest and owner have joined')
  },
)
