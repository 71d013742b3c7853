/**
 * One Kafka and one Redis for everybody: named by the environment, kept running by `npm run services -- start`, or started for this
 * process. Invariants: an address that is handed out has answered; what one checkout keeps running is no other's.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { lockDirectory } from '../../connectors/index.ts'
import { cacheDirectory, withLock } from './cache.ts'
import { describes, startBroker } from './kafka-broker.ts'
import { kafkaFiles } from './kafka-files.ts'
import { isMissing, missing } from './missing.ts'
import type { Missing } from './missing.ts'
import { until } from './ports.ts'
import { identify, isAlive, recordedProcess, runDirectory, signal } from './process.ts'
import { pings, redisMissing, startRedis } from './redis.ts'
import { checkoutPath } from '../checkout.ts'

export const serviceNames = ['kafka', 'redis'] as const
export type ServiceName = (typeof serviceNames)[number]

/** Environment variables that name a service of somebody else's, as host:port (Kafka: several, with commas). */
export const serviceVariables = { kafka: 'SIDESTREAM_TEST_KAFKA', redis: 'SIDESTREAM_TEST_REDIS' } as const

/** How a runner tells its children that a service cannot be had, so that they do not try again. */
const missingMark = 'missing:'

const answered = new Map<ServiceName, Promise<string | Missing>>()

/** The Kafka of this run. Its data is shared: use topics and groups of your own. @throws Error when missing with `CI=true` */
export async function kafkaService(): Promise<{ brokers: string[] } | Missing> {
  const address = await service('kafka')
  return typeof address === 'string' ? { brokers: address.split(',') } : address
}

/** The Redis of this run. Its data is shared: use keys of your own and never FLUSHALL. @throws Error when missing with `CI=true` */
export async function redisService(): Promise<{ host: string; port: number } | Missing> {
  const address = await service('redis')
  return typeof address === 'string' ? hostAndPort(address) : address
}

/** Address of a service, looked for once per process: environment, then the kept one, then one of our own. */
export function service(name: ServiceName): Promise<string | Missing> {
  let answer = answered.get(name)
  if (answer === undefined) {
    answer = find(name)
    answered.set(name, answer)
  }
  return answer
}

async function find(name: ServiceName): Promise<string | Missing> {
  const given = process.env[serviceVariables[name]]
  if (given?.startsWith(missingMark)) return missing(given.slice(missingMark.length))
  if (given) {
    await until(`${serviceVariables[name]} names ${given}: an answer`, () => alive(name, given), 10_000)
    return given
  }
  const kept = await keptService(name)
  if (kept !== undefined) return kept
  if (process.env['SIDESTREAM_TEST_SERVICES'] === 'off') return missing(`${title(name)}: SIDESTREAM_TEST_SERVICES is off`)
  await sweep()
  const unable = await unavailable(name)
  return unable ?? startService(name, join(runDirectory(), name), true)
}

/** Environment for child processes, so that they use the same services. */
export function serviceEnvironment(answers: Readonly<Partial<Record<ServiceName, string | Missing>>>): Record<string, string> {
  const entries = serviceNames.flatMap((name) => {
    const answer = answers[name]
    if (answer === undefined) return []
    return [[serviceVariables[name], typeof answer === 'string' ? answer : `${missingMark}${answer.missing}`] as const]
  })
  return Object.fromEntries(entries)
}

const title = (name: ServiceName): string => (name === 'kafka' ? 'Kafka' : 'Redis')

function hostAndPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) }
}

async function alive(name: ServiceName, address: string): Promise<boolean> {
  if (name === 'kafka') return describes(address.split(',')[0]!)
  const { host, port } = hostAndPort(address)
  return pings(port, undefined, host)
}

async function unavailable(name: ServiceName): Promise<Missing | undefined> {
  if (name === 'redis') return redisMissing()
  const files = await kafkaFiles()
  return isMissing(files) ? files : undefined
}

async function startService(name: ServiceName, directory: string, guarded: boolean): Promise<string> {
  await mkdir(directory, { recursive: true })
  if (name === 'redis') {
    const { host, port } = await startRedis({ directory, guarded })
    return `${host}:${port}`
  }
  return (await startBroker({ directory, guarded, heapMb: 384 })).brokers[0]!
}

/** Names the checkout beside its servers, so that they can be ended when it is gone. */
const checkoutFile = 'checkout'

/** Where the servers are that a checkout keeps running. */
export function keptDirectory(checkout = checkoutPath): string {
  return join(cacheDirectory(), 'run', `kept-${createHash('sha256').update(checkout).digest('hex').slice(0, 12)}`)
}

/** Address of the service that `keepServices` left running; undefined when there is none. */
export async function keptService(name: ServiceName, checkout = checkoutPath): Promise<string | undefined> {
  const directory = join(keptDirectory(checkout), name)
  const address = await readFile(join(directory, 'address'), 'utf8').catch(() => undefined)
  const server = recordedProcess(directory)
  return address !== undefined && server !== undefined && isAlive(server) ? address : undefined
}

/** Starts services that outlive this process; those that run already stay. Addresses by name, or what is missing. */
export async function keepServices(names: readonly ServiceName[], checkout = checkoutPath): Promise<Map<ServiceName, string | Missing>> {
  const directory = keptDirectory(checkout)
  await mkdir(directory, { recursive: true })
  await sweep()
  return withLock(directory, async () => {
    await writeFile(join(directory, checkoutFile), checkout)
    const kept = new Map<ServiceName, string | Missing>()
    for (const name of names) {
      kept.set(name, (await keptService(name, checkout)) ?? (await unavailable(name)) ?? (await keep(name, join(directory, name))))
    }
    return kept
  })
}

async function keep(name: ServiceName, directory: string): Promise<string> {
  await discard(directory) // what a crash or a reboot left
  const address = await startService(name, directory, false)
  await writeFile(join(directory, 'address'), address)
  return address
}

/** Ends the services that a checkout keeps and removes their data; answers which of them ran. */
export async function stopKeptServices(names: readonly ServiceName[], checkout = checkoutPath): Promise<ServiceName[]> {
  const directory = keptDirectory(checkout)
  await mkdir(directory, { recursive: true })
  return withLock(directory, async () => {
    const ran: ServiceName[] = []
    for (const name of names) {
      if ((await keptService(name, checkout)) !== undefined) ran.push(name)
      await discard(join(directory, name))
    }
    return ran
  })
}

/** Ends and removes what processes left behind that were killed together with their guard, and what checkouts kept that are gone. */
export async function sweep(): Promise<void> {
  const runs = join(cacheDirectory(), 'run')
  for (const name of await readdir(runs).catch(() => [])) {
    const directory = join(runs, name)
    if ((await isKept(name, directory)) || (await isNew(name, directory))) continue
    let lock
    try {
      lock = lockDirectory(directory)
    } catch {
      continue // its owner lives
    }
    for (const server of await readdir(directory, { withFileTypes: true })) {
      if (server.isDirectory()) await discard(join(directory, server.name))
    }
    lock.release()
    await rm(directory, { recursive: true, force: true })
  }
}

/** True for what a checkout that exists keeps running, or is about to; `kept` was shared by all, in earlier releases. */
async function isKept(name: string, directory: string): Promise<boolean> {
  if (name === 'kept') return true
  if (!name.startsWith('kept-')) return false
  const checkout = await readFile(join(directory, checkoutFile), 'utf8').catch(() => undefined)
  return checkout === undefined || existsSync(checkout)
}

/** True while the owner, whose pid the name begins with, has made its directory but not yet locked it. */
async function isNew(name: string, directory: string): Promise<boolean> {
  const locked = (await readdir(directory).catch((): string[] => [])).includes('LOCK')
  return !locked && identify(Number.parseInt(name, 10)) !== undefined
}

/** Ends the server of a directory, when one runs, and removes the directory. */
async function discard(directory: string): Promise<void> {
  const server = recordedProcess(directory)
  if (server !== undefined && signal(server, 'SIGTERM')) {
    const gone = (): Promise<boolean> => Promise.resolve(!isAlive(server))
    await until('the server ends', gone, 5000).catch(() => signal(server, 'SIGKILL'))
    await until('the killed server ends', gone, 10_000)
  }
  await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
}
