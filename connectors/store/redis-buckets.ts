/**
 * How many buckets each view of a version has. Chosen by the first write of a view and kept in the store for good, also
 * when the version is collected: so a number once read never goes stale, and a late write is found again.
 * Invariant: all processes use the number in the store, whatever they are configured with.
 */

import { SidestreamError } from '../../schemas/index.ts'
import type { RedisConnection } from './redis-connection.ts'
import { redisKeys } from './redis-keys.ts'
import type { StoreTarget } from './store.ts'

/** Most numbers remembered; the oldest go first. */
const mostRemembered = 1_000

export class RedisBuckets {
  readonly #remembered = new Map<string, number>()

  /** Forgets what was read: a server that was restarted may have lost it. */
  clear(): void {
    this.#remembered.clear()
  }

  known({ project, view, version }: StoreTarget): number | undefined {
    return this.#remembered.get(`${project}/${view}/${version}`)
  }

  /** Number of buckets; undefined when nothing was ever written to the target. */
  async read(connection: RedisConnection, target: StoreTarget): Promise<number | undefined> {
    const known = this.known(target)
    if (known !== undefined) return known
    const key = redisKeys.buckets(target.project, target.version)
    const reply = await connection.ask('hget', key, key, target.view)
    return reply === null ? undefined : this.#remember(target, countOf(reply, key))
  }

  /** Number of buckets, which is `wanted` when the target is new. */
  async choose(connection: RedisConnection, target: StoreTarget, wanted: number): Promise<number> {
    const known = this.known(target)
    if (known !== undefined) return known
    const key = redisKeys.buckets(target.project, target.version)
    const args = [key, target.view]
    const [, reply] = await connection.send([
      { name: 'hsetnx', key, args: [...args, wanted], bytes: 100 },
      { name: 'hget', key, args, bytes: 100 },
    ])
    return this.#remember(target, countOf(reply, key))
  }

  /** All views of a version that were ever written, with their numbers. */
  async views(connection: RedisConnection, project: string, version: number): Promise<{ view: string; buckets: number }[]> {
    const key = redisKeys.buckets(project, version)
    const fields = (await connection.ask('hgetall', key, key)) as Record<string, Buffer> // ioredis makes an object of it
    return Object.entries(fields).map(([view, count]) => ({ view, buckets: countOf(count, key) }))
  }

  #remember({ project, view, version }: StoreTarget, buckets: number): number {
    if (this.#remembered.size >= mostRemembered) this.#remembered.delete(this.#remembered.keys().next().value!)
    this.#remembered.set(`${project}/${view}/${version}`, buckets)
    return buckets
  }
}

function countOf(reply: unknown, key: string): number {
  const count = Number(String(reply))
  if (Number.isInteger(count) && count >= 1) return count
  throw new SidestreamError('SIDESTREAM_STORE_CORRUPT', `${key} holds ${JSON.stringify(String(reply))}, which is no number of buckets`)
}
