/** A Redis Cluster of three masters, for tests. */
import { Redis } from 'ioredis'

import { freePorts, loopback, ownRedis, until } from '../../services/index.ts'
import type { OwnRedis } from '../../services/index.ts'

export interface OwnCluster {
  readonly nodes: readonly { host: string; port: number }[]
  readonly servers: readonly OwnRedis[]
  /** A connection to each node, in order, as the default user. */
  readonly masters: readonly Redis[]
  /** Empties all nodes. */
  flush(): Promise<void>
  close(): Promise<void>
}

/** @param config - further lines of every node's configuration */
export async function ownCluster(config: readonly string[]): Promise<OwnCluster> {
  const lines = ['cluster-enabled yes', 'cluster-node-timeout 2000', ...config]
  // The port of the nodes' own talk: by default 10,000 above, where systems place outgoing connections.
  const buses = await freePorts(3)
  const servers = await Promise.all(buses.map((bus) => ownRedis({ config: [...lines, `cluster-port ${bus}`] })))
  const masters = servers.map(({ port }) => new Redis({ host: loopback, port }))
  for (const [i, master] of masters.entries()) {
    await master.call('cluster', 'addslotsrange', Math.ceil((i * 16_384) / 3), Math.ceil(((i + 1) * 16_384) / 3) - 1)
    await master.call('cluster', 'set-config-epoch', i + 1)
  }
  for (const [i, { port }] of servers.entries()) {
    if (i > 0) await masters[0]!.call('cluster', 'MEET', loopback, port, buses[i]!)
  }
  const agrees = async (master: Redis): Promise<boolean> => {
    const slots = (await master.cluster('SLOTS')) as unknown[]
    return slots.length === 3 && String(await master.cluster('INFO')).includes('cluster_state:ok')
  }
  await until('the cluster is one', async () => (await Promise.all(masters.map(agrees))).every(Boolean), 20_000)
  return {
    nodes: servers.map(({ port }) => ({ host: loopback, port })),
    servers,
    masters,
    flush: async () => {
      await Promise.all(masters.map((master) => master.flushall()))
    },
    close: async () => {
      for (const master of masters) master.disconnect()
      await Promise.all(servers.map((server) => server.close()))
    },
  }
}
