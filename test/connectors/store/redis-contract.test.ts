import { after, before } from 'node:test'

import { Redis } from 'ioredis'

import { openRedisStore } from '../../../connectors/index.ts'
import type { RedisStoreOptions } from '../../../connectors/index.ts'
import { storeContract } from '../../contract/store.ts'
import type { StoreDriver } from '../../contract/store.ts'
import { ownRedis, skipWithoutRedisServer } from '../../services/index.ts'
import type { OwnRedis } from '../../services/index.ts'
import { ownCluster } from './redis-cluster.ts'
import type { OwnCluster } from './redis-cluster.ts'
import { clusterRules, leastRules } from './redis-users.ts'

const skip = await skipWithoutRedisServer()
let server: OwnRedis
let cluster: OwnCluster
before(async () => {
  if (skip !== false) return
  const admin = 'user default on nopass ~* &* +@all'
  server = await ownRedis({ config: [admin, `user least on >pass-word ${leastRules}`] })
  cluster = await ownCluster([admin, `user least on >pass-word ${leastRules} ${clusterRules}`])
})
after(async () => {
  await server?.close()
  await cluster?.close()
})

function driver(name: string, options: () => RedisStoreOptions, flush: () => Promise<void>): StoreDriver {
  const open: StoreDriver['open'] = async () => {
    const store = await openRedisStore({ ...options(), username: 'least', password: 'pass-word' })
    return { store, close: () => store.close().then(flush) }
  }
  return { name, skip, clock: 'server', open }
}

async function flushServer(): Promise<void> {
  const redis = new Redis({ port: server.port })
  await redis.flushall()
  redis.disconnect()
}

storeContract(driver('redis store, least user', () => ({ port: server.port }), flushServer))
storeContract(
  driver(
    'redis store, cluster of three, least user',
    () => ({ nodes: cluster.nodes, cluster: true }),
    () => cluster.flush(),
  ),
)
