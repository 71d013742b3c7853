/** Redis servers that a test owns, from `redis-server` of the PATH. Invariant: a started server answers PING. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { Redis } from 'ioredis'

import { certificate } from './certificates.ts'
import { missing } from './missing.ts'
import type { Missing } from './missing.ts'
import { freePorts, loopback } from './ports.ts'
import { OwnServer, serverDirectory } from './server.ts'

const run = promisify(execFile)

export interface RedisOptions {
  /** Further lines of redis.conf, for example `maxmemory 4mb`, `requirepass pw`, `user alice on >pw ~* +@all`. */
  readonly config?: readonly string[]
  /** Keeps data over stop and kill (append-only file, synced every write). @default false */
  readonly persistent?: boolean
  /** The port speaks TLS alone. @default false */
  readonly tls?: boolean
}

/** A Redis of your own. */
export interface OwnRedis {
  readonly host: string
  readonly port: number
  /** Certificate of the authority that signed the server's, PEM; with `tls`. */
  readonly ca?: string
  readonly server: OwnServer
  /** Ends it and removes its data. */
  close(): Promise<void>
}

let found: Promise<Missing | undefined> | undefined

/** Undefined when `redis-server` can be run. @throws Error when missing with `CI=true` */
export function redisMissing(): Promise<Missing | undefined> {
  found ??= run('redis-server', ['--version']).then(
    () => undefined,
    () => missing('Redis: there is no redis-server on the PATH (Debian: apt-get install redis-server)'),
  )
  return found
}

/** `false`, or why a test that needs a Redis of its own is left out: for `{ skip }`. @throws Error when missing with `CI=true` */
export async function skipWithoutRedisServer(): Promise<string | false> {
  return (await redisMissing())?.missing ?? false
}

/** Starts a Redis of your own. */
export async function ownRedis(options: RedisOptions = {}): Promise<OwnRedis> {
  return startRedis({ ...options, directory: await serverDirectory('redis'), guarded: true })
}

/** Starts a Redis in a directory of the caller's, with or without a guard that ends it with this process. */
export async function startRedis(options: RedisOptions & { directory: string; guarded: boolean }): Promise<OwnRedis> {
  const { directory, guarded, config = [], persistent = false, tls = false } = options
  const unable = await redisMissing()
  if (unable !== undefined) throw new Error(unable.missing)
  const [port] = (await freePorts(1)) as [number]
  const signed = tls ? await certificate(directory) : undefined
  const lines = [
    `bind ${loopback}`,
    ...(signed === undefined
      ? [`port ${port}`]
      : ['port 0', `tls-port ${port}`, `tls-cert-file ${signed.certFile}`, `tls-key-file ${signed.keyFile}`, 'tls-auth-clients no']),
    ...(signed === undefined ? [] : [`tls-ca-cert-file ${signed.caFile}`]),
    `dir ${directory}`,
    'save ""',
    ...(persistent ? ['appendonly yes', 'appendfsync always'] : []),
    ...config,
  ]
  const file = join(directory, 'redis.conf')
  await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600 })
  const ready = (): Promise<boolean> => pings(port, signed?.ca)
  const server = new OwnServer({ name: 'Redis', command: ['redis-server', file], ready, startMs: 20_000 }, directory, guarded)
  await server.start()
  return { host: loopback, port, server, close: () => server.close(), ...(signed !== undefined && { ca: signed.ca }) }
}

/** True when a Redis there answers; one that wants a password answers as well. */
export async function pings(port: number, ca?: string, host = loopback): Promise<boolean> {
  const redis = new Redis({
    host,
    port,
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
    connectTimeout: 2000,
    ...(ca !== undefined && { tls: { ca } }),
  })
  redis.on('error', () => {})
  try {
    await redis.connect()
    return (await redis.ping()) === 'PONG'
  } catch (error) {
    return error instanceof Error && error.message.startsWith('NOAUTH')
  } finally {
    redis.disconnect()
  }
}
