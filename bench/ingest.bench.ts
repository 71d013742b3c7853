/**
 * Interactions to training samples on the embedded default: file log with group commit, Avro, histories in LMDB, samples
 * and watermarks in the log, and the owner's copy of them with the round clock. All are appended as fast as possible.
 * Figures: interactions/s until the histories are committed and the samples acknowledged (`ingest`), and until the owner has
 * committed them too (`ingest and owner`). No content comes, so nothing is trained.
 * Options: `--items N` (interactions, 120,000), `--users N` (4,000), `--partitions N` (2), `--dir DIR`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { fillUniform } from '../compute/index.ts'
import type { ProducerRecord } from '../connectors/index.ts'
import { openProject, startDaemon } from '../pipeline/index.ts'
import type { Role } from '../pipeline/index.ts'
import { checkConfig, Codec } from '../schemas/index.ts'
import { watchOthers } from './harness.ts'

const { values: options } = parseArgs({
  options: {
    items: { type: 'string', default: '120000' },
    users: { type: 'string', default: '4000' },
    partitions: { type: 'string', default: '2' },
    dir: { type: 'string', default: tmpdir() },
  },
})
const count = Number(options.items)
const partitions = Number(options.partitions)
const aim = 20_000
const sendRecords = 500

/** Users come evenly, items by popularity, a third of the acts is positive; 42 hours of event time. */
function interactions(): ProducerRecord[] {
  const codec = new Codec()
  const encoder = new TextEncoder()
  const draws = new Float64Array(3 * count)
  fillUniform(draws, 1, 1)
  const stepMs = (42 * 3_600_000) / count
  return Array.from({ length: count }, (_, i) => {
    const userId = `user-${Math.floor(draws[3 * i]! * Number(options.users))}`
    const itemId = `item-${Math.floor(6000 * draws[3 * i + 1]! ** 3)}`
    const behaviors = draws[3 * i + 2]! < 1 / 3 ? ['click', 'like'] : ['click']
    const value = codec.encode('interactions', { userId, itemId, eventTs: Math.floor(i * stepMs), behaviors, surface: 'feed' })
    return { key: encoder.encode(userId), value }
  })
}

async function run(name: string, roles: readonly Role[], records: readonly ProducerRecord[]): Promise<void> {
  const directory = mkdtempSync(join(options.dir, 'sidestream-bench-'))
  const config = checkConfig(
    {
      project: 'bench',
      dataDir: directory,
      content: { modalities: { text: { dim: 8 } } },
      interactions: { positiveBehaviors: ['like'], otherBehaviors: ['click'] },
      log: { partitions },
    },
    { env: {} },
  )
  const project = await openProject(config)
  try {
    const daemon = await startDaemon(project, { roles })
    const producer = await project.log.producer()
    const others = watchOthers()
    const cpu = process.cpuUsage()
    const start = performance.now()
    const sends: Promise<unknown>[] = []
    for (let from = 0; from < count; from += sendRecords) {
      sends.push(producer.send('interactions', undefined, records.slice(from, from + sendRecords)))
      if (sends.length >= 8) await sends.shift()
    }
    await Promise.all(sends)
    for (let quiet = false; !quiet;) {
      await Promise.race([daemon.failed(), sleep(2)])
      quiet = Object.values((await daemon.status()).lag).every((lag) => lag === 0)
    }
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const share = others()
    const { ingest, owner } = await daemon.status()
    const line = {
      bench: name,
      interactions: count,
      'interactions/s': Math.round(count / seconds),
      'cpu us/interaction': Number(((user + system) / count).toPrecision(3)),
      aim,
      'ratio to aim': Number((count / seconds / aim).toPrecision(3)),
      samples: ingest?.samples,
      'samples at the owner': owner?.samples,
      partitions,
      others: share,
      node: process.version,
    }
    process.stdout.write(`${JSON.stringify(line)}\n`)
    await producer.close()
    await daemon.stop()
  } finally {
    await project.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

const records = interactions()
await run('ingest', ['ingest'], records)
await run('ingest and owner', ['ingest', 'distill', 'publish'], records)
