/**
 * The Kafka and Redis that a demo runs on: those that the environment names, or the checkout's own test servers.
 * Invariant: a server that was started here is stopped here; on a server of somebody else only what the demo made is removed.
 */

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
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
  /** True when some of them were there before, and stay. */
  readonly lent: boolean
  /** Stops what was started for the demo. */
  stop(): Promise<void>
}

/** What `scripts/services.mjs --json` answers: `host:port`, null where nothing runs. */
type Services = Readonly<Record<'kafka' | 'redis', string | null>>

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
    ...(log === 'kafka' && brokers.length === 0 ? (['kafka'] as const) : []),
    ...(store === 'redis' && nodes.length === 0 ? (['redis'] as const) : []),
  ]
  if (lacks.length === 0) return { brokers, nodes, lent: brokers.length + nodes.length > 0, stop: async () => {} }
  const script = fileURLToPath(new URL('../../scripts/services.mjs', import.meta.url))
  if (!(await fileExists(script))) {
    const variables = lacks.map((name) => (name === 'kafka' ? 'SIDESTREAM_KAFKA_BROKERS' : 'SIDESTREAM_REDIS_NODES'))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `say where the servers are: set ${variables.join(' and ')} to host:port`)
  }
  const before = await services(script, 'status', lacks)
  const ours = lacks.filter((name) => before[name] === null)
  if (ours.length > 0) onNote(`starting ${ours.map(title).join(' and ')} (the first time, their files are fetched)`)
  const { kafka, redis } = ours.length > 0 ? await services(script, 'start', lacks) : before
  return {
    brokers: lacks.includes('kafka') && kafka !== null ? [kafka] : brokers,
    nodes: lacks.includes('redis') && redis !== null ? [redis] : nodes,
    lent: ours.length < Number(log === 'kafka') + Number(store === 'redis'),
    stop: async () => {
      if (ours.length > 0) await services(script, 'stop', ours)
    },
  }
}

/** Where a directory says under which name its demo made topics and keys that are still on the servers. */
const nameFile = (directory: string): string => join(directory, 'demo-name')

/** The name that an earlier run in `directory` left on the servers; undefined when it left nothing. */
export async function leftName(directory: string): Promise<string | undefined> {
  return (await fileExists(nameFile(directory))) ? (await readFile(nameFile(directory), 'utf8')).trim() : undefined
}

/** Makes a name for topics and keys that no other demo on these servers has, and notes it in `directory`. */
export async function newName(directory: string): Promise<string> {
  const name = `demo-${randomBytes(4).toString('hex')}`
  await writeFile(nameFile(directory), `${name}\n`)
  return name
}

/** Nothing of the demo is on the servers any more. */
export async function forgetName(directory: string): Promise<void> {
  await rm(nameFile(directory), { force: true })
}

async function services(script: string, action: 'start' | 'status' | 'stop', names: readonly string[]): Promise<Services> {
  try {
    const { stdout } = await run(process.execPath, [script, action, ...names, '--json'], { maxBuffer: 1 << 20 })
    return JSON.parse(stdout) as Services
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim() || String(cause)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${names.map(title).join(' and ')} cannot be started here: ${said}`, { cause })
  }
}

const title = (name: string): string => (name === 'kafka' ? 'Kafka' : 'Redis')

function listOf(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}
