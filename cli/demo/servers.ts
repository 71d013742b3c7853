/**
 * The Kafka and Redis that a demo runs on: those that the environment names, or the checkout's own test servers.
 * Invariant: a server that was started here is stopped here; on a server of somebody else only what the demo made is removed.
 */

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { fileExists, SidestreamError } from '../../schemas/index.ts'

const run = promisify(execFile)

export interface DemoDrivers {
  readonly log: 'file' | 'kafka'
  readonly store: 'lmdb' | 'redis'
}

export interface DemoServers {
  /** `host:port` of the brokers; empty without Kafka. */
  readonly brokers: readonly string[]
  /** `host:port` of Redis; empty without it. */
  readonly nodes: readonly string[]
  /** Stops what was started for the demo. */
  stop(): Promise<void>
}

/** Answer of `scripts/services.mjs start --json`. */
interface StartedServices {
  readonly kafka: string
  readonly redis: string
}

/**
 * Addresses for the drivers.
 * @throws SIDESTREAM_USAGE_INVALID when the environment names none and this is no checkout that could start them
 */
export async function findServers(
  { log, store }: DemoDrivers,
  env: Readonly<Record<string, string | undefined>>,
  onNote: (text: string) => void,
): Promise<DemoServers> {
  const brokers = log === 'kafka' ? listOf(env['SIDESTREAM_KAFKA_BROKERS']) : []
  const nodes = store === 'redis' ? listOf(env['SIDESTREAM_REDIS_NODES']) : []
  const lacks = [
    ...(log === 'kafka' && brokers.length === 0 ? ['SIDESTREAM_KAFKA_BROKERS'] : []),
    ...(store === 'redis' && nodes.length === 0 ? ['SIDESTREAM_REDIS_NODES'] : []),
  ]
  if (lacks.length === 0) return { brokers, nodes, stop: async () => {} }
  const script = fileURLToPath(new URL('../../scripts/services.mjs', import.meta.url))
  if (!(await fileExists(script))) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `say where the servers are: set ${lacks.join(' and ')} to host:port`)
  }
  const were = await running(script)
  if (were === undefined) onNote('starting Kafka and Redis (the first time their files are fetched)')
  const services = were ?? (await start(script))
  return {
    brokers: log === 'kafka' && brokers.length === 0 ? [services.kafka] : brokers,
    nodes: store === 'redis' && nodes.length === 0 ? [services.redis] : nodes,
    stop: async () => {
      if (were === undefined) await run(process.execPath, [script, 'stop'])
    },
  }
}

/** A name for topics and keys that no other demo on these servers has; the same again when a run goes on in `directory`. */
export async function demoName(directory: string, resume: boolean): Promise<string> {
  const file = join(directory, 'demo-name')
  if (resume && (await fileExists(file))) return (await readFile(file, 'utf8')).trim()
  const name = `demo-${randomBytes(4).toString('hex')}`
  await writeFile(file, `${name}\n`)
  return name
}

async function running(script: string): Promise<StartedServices | undefined> {
  const { stdout } = await run(process.execPath, [script, 'status', '--json'])
  const status = JSON.parse(stdout) as Partial<StartedServices>
  return status.kafka && status.redis ? { kafka: status.kafka, redis: status.redis } : undefined
}

async function start(script: string): Promise<StartedServices> {
  try {
    const { stdout } = await run(process.execPath, [script, 'start', '--json'], { maxBuffer: 1 << 20 })
    return JSON.parse(stdout) as StartedServices
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim() || String(cause)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `Kafka and Redis cannot be started here: ${said}`, { cause })
  }
}

function listOf(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}
