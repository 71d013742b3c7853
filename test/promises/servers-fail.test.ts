/**
 * Promise: when Kafka or Redis die, come back, or hang for a while, a running daemon goes on by itself, and the outcome is that of
 * a run in which nothing happened: nothing lost, nothing twice, no dead letter.
 */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { createTopics } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { ownBroker, ownRedis, skipWithoutBroker, skipWithoutRedisServer } from '../services/index.ts'
import { onServers } from './server-config.ts'
import { smallConfig, smallWorld } from './small-world.ts'
import { runWorld } from './world-run.ts'

const events = smallWorld({ items: 100, users: 30, interactions: 800 })
const batchRows = 64
const batches = Math.ceil(events.length / batchRows)

/** Does something to a server when a share of the world has been sent; the import goes on meanwhile. */
interface Fault {
  readonly name: string
  readonly atShare: number
  readonly strike: () => Promise<void>
}

function withFaults(project: Project, faults: readonly Fault[], struck: Promise<string>[]): Project {
  let sends = 0
  const due = [...faults]
  return {
    ...project,
    log: new Proxy(project.log, {
      get: (log, key) => {
        if (key !== 'producer') {
          const value: unknown = Reflect.get(log, key, log)
          return typeof value === 'function' ? value.bind(log) : value
        }
        return async () => {
          const producer = await log.producer()
          return {
            send: (...args: Parameters<typeof producer.send>) => {
              if (args[0] === 'interactions' || args[0] === 'item-content') sends++
              const next = due[0]
              if (next !== undefined && sends >= next.atShare * batches) {
                due.shift()
                struck.push(next.strike().then(() => next.name))
              }
              return producer.send(...args)
            },
            flush: () => producer.flush(),
            close: () => producer.close(),
          }
        }
      },
    }),
  }
}

test(
  'broker and Redis killed, restarted and frozen while the daemon works: the outcome is that of a calm run',
  { skip: (await skipWithoutBroker()) || (await skipWithoutRedisServer()), timeout: 300_000 },
  async (t) => {
    const broker = await ownBroker()
    t.after(() => broker.close())
    const redis = await ownRedis({ persistent: true })
    t.after(() => redis.close())
    const { directory, remove } = await scratchDirectory()
    t.after(remove)

    const run = async (partitions: number, faults: readonly Fault[]): Promise<{ outcome: object; struck: string[] }> => {
      const dataDir = `${directory}/${faults.length}`
      const config = smallConfig({ dataDir, partitions }, onServers({ kafka: broker, redis, partitions }))
      await createTopics(config)
      const struck: Promise<string>[] = []
      const outcome = await runWorld({ config, name: 'faults', events, batchRows, wrap: (project) => withFaults(project, faults, struck) })
      return { outcome, struck: await Promise.all(struck) }
    }
    const calm = await run(2, [])

    const again =
      (server: typeof broker.server): Fault['strike'] =>
      async () => {
        await server.kill()
        await pause(500)
        await server.start()
      }
    const frozen =
      (server: typeof broker.server, ms: number): Fault['strike'] =>
      async () => {
        server.freeze()
        await pause(ms)
        server.thaw()
      }
    const faults: Fault[] = [
      { name: 'Redis is killed', atShare: 0.15, strike: again(redis.server) },
      { name: 'the broker is killed', atShare: 0.35, strike: again(broker.server) },
      { name: 'Redis hangs for longer than an answer may take', atShare: 0.6, strike: frozen(redis.server, 7000) },
      { name: 'the broker hangs', atShare: 0.75, strike: frozen(broker.server, 2000) },
    ]
    const { outcome, struck } = await run(2, faults)
    strictEqual(struck.length, faults.length)
    deepStrictEqual(outcome, calm.outcome)
  },
)
