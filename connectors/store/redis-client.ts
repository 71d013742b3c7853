/** What ioredis is told from the options of the driver. */

import { Cluster, Redis } from 'ioredis'
import type { CommonRedisOptions, StandaloneConnectionOptions } from 'ioredis'

import { nodesOf, redisStoreDefaults } from './redis-options.ts'
import type { RedisStoreOptions } from './redis-options.ts'

/** A client that connects when told to, sends nothing twice, and queues nothing while it has no connection. */
export function createClient(options: RedisStoreOptions): Redis | Cluster {
  const { tls, cluster = redisStoreDefaults.cluster } = options
  const connectTimeoutMs = options.connectTimeoutMs ?? redisStoreDefaults.connectTimeoutMs
  const backoff = (times: number): number => Math.min(50 * 2 ** Math.min(times - 1, 10), 2_000)
  const common: CommonRedisOptions & StandaloneConnectionOptions = {
    connectTimeout: Math.min(connectTimeoutMs, 5_000),
    maxLoadingRetryTime: 1_000,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    keepAlive: 30_000,
    disconnectTimeout: 200, // a server that hangs does not answer a goodbye either
    connectionName: 'sidestream',
    disableClientInfo: true, // a right that servers before 7.2 do not know
    // A replica that took over, or the old master after a failover: the name may lead to the right server now.
    reconnectOnError: (error) => error.message.includes('READONLY'),
    ...loginOf(options),
  }
  const security = tls === undefined ? {} : { tls: { ...tls } }
  if (cluster) {
    return new Cluster([...nodesOf(options)], {
      lazyConnect: true,
      enableOfflineQueue: false,
      clusterRetryStrategy: backoff,
      slotsRefreshTimeout: 5_000,
      redisOptions: { ...common, ...security },
    })
  }
  const [node] = nodesOf(options)
  return new Redis({
    ...common,
    ...security,
    ...node,
    db: options.db ?? redisStoreDefaults.db,
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: backoff,
  })
}

/**
 * Always with a user name: of a password alone that the server does not ask for, ioredis would print a warning of its own with every
 * connection. `RedisConnection` looks for that, and says it once.
 */
function loginOf({ username, password }: RedisStoreOptions): Pick<CommonRedisOptions, 'username' | 'password'> {
  if (password === undefined) return username === undefined ? {} : { username }
  return { username: username ?? 'default', password }
}
