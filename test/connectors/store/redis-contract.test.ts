import { after, before } from 'node:test'

import { Redis } from 'ioredis'

import { openRedisStore } from '../../../connectors/index.ts'
import { storeContract } from '../../contract/store.ts'
import { ownRedis, skipWithoutRedis } from './own-redis.ts'

let server: Awaited<ReturnType<typeof ownRedis>> | undefined
before(async () => {
  if (skipWithoutRedis === false) server = await ownRedis()
})
after(() => server?.close())

storeContract({
  name: 'redis store',
  clock: 'server',
  skip: skipWithoutRedis,
  open: async () => {
    const store = await openRedisStore({ port: server!.port })
    return {
      store,
      close: async () => {
        await store.close()
        const redis = new Redis({ port: server!.port })
        await redis.flushall()
        redis.disconnect()
      },
    }
  },
})
