/** What the Redis driver can be told, and its defaults. */

import { SidestreamError } from '../../schemas/index.ts'
import type { TlsOptions } from '../tls-failure.ts'

/** The part of a structured logger that the driver uses (pino fits). Fields never hold secrets. */
export interface RedisLogger {
  warn(fields: object, message: string): void
}

export interface RedisStoreOptions {
  /** @default '127.0.0.1' */
  readonly host?: string
  /** @default 6379 */
  readonly port?: number
  /** Instead of host and port. Of a cluster some nodes, any one that answers is enough; else exactly one. @default [] */
  readonly nodes?: readonly { readonly host: string; readonly port: number }[]
  /** Whether the server is a Redis Cluster. @default false */
  readonly cluster?: boolean
  /** ACL user; left out: Redis's `default`. */
  readonly username?: string
  readonly password?: string
  /** What the driver says itself, at warn. @default silent */
  readonly logger?: RedisLogger
  /** Database number; a cluster has only 0. @default 0 */
  readonly db?: number
  /** Encrypts the connection; an empty object trusts what Node trusts. Left out: no TLS. */
  readonly tls?: TlsOptions
  /**
   * Buckets of a view in versions made from now on; versions that exist keep theirs. More: smaller keys, slower reads.
   * @default 64, in a cluster 64 per master
   */
  readonly buckets?: number
  /** How long `open` waits for a server that does not answer yet, milliseconds. @default 30000 */
  readonly connectTimeoutMs?: number
  /** Told why, again and again while a server is waited for at the start. @default nobody */
  readonly onWaiting?: (reason: SidestreamError) => void
  /** Ends the waiting at the start. @default never */
  readonly signal?: AbortSignal | undefined
  /** How long a call waits for an answer, a lost connection included, milliseconds; then it fails as retryable. @default 10000 */
  readonly commandTimeoutMs?: number
  /** Most bytes of requests that wait for an answer at a time; further ones wait for room. @default 32 MiB */
  readonly maxPendingBytes?: number
}

export const redisStoreDefaults = {
  host: '127.0.0.1',
  port: 6379,
  cluster: false,
  db: 0,
  connectTimeoutMs: 30_000,
  commandTimeoutMs: 10_000,
  maxPendingBytes: 32 * 1024 * 1024,
} as const

/** Most buckets of one view: beyond it every item is read by a command of its own. */
const mostBuckets = 1_048_576

/** @throws SIDESTREAM_USAGE_INVALID */
export function checkRedisOptions(options: RedisStoreOptions): void {
  const whole = (
    name: 'buckets' | 'connectTimeoutMs' | 'commandTimeoutMs' | 'maxPendingBytes' | 'db',
    least: number,
    most: number,
  ): void => {
    const value = options[name]
    if (value === undefined || (Number.isInteger(value) && value >= least && value <= most)) return
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${name} must be a whole number from ${least} to ${most}, not ${value}`)
  }
  whole('buckets', 1, mostBuckets)
  whole('connectTimeoutMs', 1, 86_400_000)
  whole('commandTimeoutMs', 1, 86_400_000)
  whole('maxPendingBytes', 1_024, 2 ** 30)
  whole('db', 0, 1_000_000)
  if (options.cluster === true && (options.db ?? 0) !== 0) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `a Redis Cluster has only database 0, not ${options.db}`)
  }
  if (options.cluster !== true && (options.nodes ?? []).length > 1) {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', 'several nodes are for a cluster: set cluster, or give one node')
  }
}

/** `host:port`, of a cluster its first nodes; no user, no password. */
export function addressOf(options: RedisStoreOptions): string {
  const nodes = nodesOf(options)
  const shown = nodes.slice(0, 3).map(({ host, port }) => `${host}:${port}`)
  return shown.join(', ') + (nodes.length > shown.length ? ', …' : '')
}

/** Nodes to ask first: those named, or host and port. */
export function nodesOf(options: RedisStoreOptions): readonly { readonly host: string; readonly port: number }[] {
  const { nodes, host = redisStoreDefaults.host, port = redisStoreDefaults.port } = options
  return nodes !== undefined && nodes.length > 0 ? nodes : [{ host, port }]
}
