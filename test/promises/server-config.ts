/** Configuration of a run on the servers of the tests, with topics and keys of its own. */
import { randomBytes } from 'node:crypto'

export interface ServerChoice {
  readonly kafka: { readonly brokers: readonly string[] }
  readonly redis: { readonly host: string; readonly port: number }
  readonly partitions: number
}

/** Changes for `smallConfig`. Every call names another project on the servers. */
export function onServers({ kafka, redis, partitions }: ServerChoice): { project: string; log: object; store: object } {
  const project = `run-${randomBytes(6).toString('hex')}`
  return {
    project,
    log: { driver: 'kafka', partitions, kafka: { brokers: kafka.brokers, topicPrefix: `${project}.`, fetchWaitMs: 100 } },
    store: { driver: 'redis', redis: { nodes: [`${redis.host}:${redis.port}`] } },
  }
}
