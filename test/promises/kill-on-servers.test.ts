/**
 * Promise: an owner on Kafka and Redis that is killed in the middle of taking in, of training and of a build goes on after a restart,
 * and ends equal to a run on the embedded default that was left alone.
 */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { createTopics } from '../../pipeline/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { isMissing, kafkaService, redisService } from '../services/index.ts'
import type { KillPlan } from './kill-points.ts'
import { runAlone, runChild } from './run-child.ts'
import { onServers } from './server-config.ts'
import { hourMs, smallConfig } from './small-world.ts'

const kafka = await kafkaService()
const redis = await redisService()
const missing = isMissing(kafka) ? kafka.missing : isMissing(redis) ? redis.missing : undefined
const world = { items: 70, users: 20, interactions: 400 }
const partitions = 2
/** Longer rounds than usual: each of them starts threads, in every run anew. */
const calm = {
  training: { batch: 64, warmupSteps: 10, learningRate: 0.01, roundMs: 3 * hourMs },
  refresh: { everyMs: 12 * hourMs, bootstrapMs: 3 * hourMs, evalWindowMs: 3 * hourMs },
}

test(
  'an owner killed while it takes in, trains and builds: the outcome is that of a calm run',
  { skip: missing ?? false, timeout: 300_000 },
  async (t) => {
    if (isMissing(kafka) || isMissing(redis)) throw new Error(missing)
    const { outcome: expected, writes } = await runAlone({ partitions, world, changes: calm })
    strictEqual(expected.versions.length, 3)
    const rounds = writes.filter((name) => name.startsWith('artifact heads/round-'))
    const plans: readonly KillPlan[] = [
      { at: 'send distill-samples', side: 'after' }, // sent, and not in the state
      { at: rounds[Math.floor(rounds.length / 3)]!, side: 'during' },
      { at: 'rows of version 2', side: 'during' },
    ]
    for (const { at } of plans) ok(writes.includes(String(at)), `a calm run writes ${at}`)

    const { directory, remove } = await scratchDirectory()
    t.after(remove)
    const { log, ...servers } = onServers({ kafka, redis, partitions }) as { project: string; log: { kafka: object }; store: object }
    // What is killed is missed by its groups after this time only.
    const changes = { ...calm, ...servers, log: { ...log, kafka: { ...log.kafka, sessionTimeoutMs: 5000 } } }
    await createTopics(smallConfig({ dataDir: directory, partitions }, changes))
    for (const plan of plans) {
      const { killed, line } = await runChild({ directory, partitions, world, plan, changes })
      ok(killed, `the run ended before the kill ${plan.side} ${plan.at}: ${line}`)
      match(line, new RegExp(`^killed ${plan.side} write \\d+: ${plan.at}$`))
      t.diagnostic(line)
    }
    const { code, line } = await runChild({ directory, partitions, world, changes })
    strictEqual(code, 0, line)
    deepStrictEqual(JSON.parse(line), expected)
  },
)
