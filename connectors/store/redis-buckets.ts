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
  readonly #connection: RedisConnection
  readonly #remembered = new Map<string, number>()
  #generation = 0

  constructor(connection: RedisConnection) {
    this.#connection = connection
  }

  /** Number of buckets; undefined when nothing was ever written to the target. */
  async read(target: StoreTarget): Promise<number | undefined> {
    const known = this.#known(target)
    if (known !== undefined) return known
    const key = redisKeys.buckets(target.project, target.version)
    const reply = await this.#connection.ask('hget', key, key, target.view)
    return reply === null ? undefined : this.#remember(target, countOf(reply, key))
  }

  async #choose(target: StoreTarget, wanted: number): Promise<number> {
    const known = this.#known(target)
    if (known !== undefined) return known
    const key = redisKeys.buckets(target.project, target.version)
    const args = [key, target.view]
    const [, reply] = await this.#connection.send([
      { name: 'hsetnx', key, args: [...args, wanted], bytes: 100 },
      { name: 'hget', key, args, bytes: 100 },
    ])
    return this.#remember(target, countOf(reply, key))
  }

  /** All views of a version that were ever written, with their numbers. */
  async views(project: string, version: number): Promise<{ view: string; buckets: number }[]> {
    const key = redisKeys.buckets(project, version)
    const fields = (await this.#connection.ask('hgetall', key, key)) as Record<string, Buffer> // ioredis makes an object of it
    return Object.entries(fields).map(([view, count]) => ({ view, buckets: countOf(count, key) }))
  }

  /**
   * Runs a write into the buckets of a target, `wanted` many when it is new. A server that was restarted in between may have
   * lost the number of buckets, and nobody would find what was written without it: so it is made sure of once more.
   * @throws SIDESTREAM_STORE_UNREACHABLE when another number stands there now
   */
  async within<T>(target: StoreTarget, wanted: number, write: (buckets: number) => Promise<T>): Promise<T> {
    const buckets = await this.#choose(target, wanted)
    const generation = this.#connection.generation
    const result = await write(buckets)
    if (generation === this.#connection.generation || (await this.#choose(target, buckets)) === buckets) return result
    throw new SidestreamError(
      'SIDESTREAM_STORE_UNREACHABLE',
      `redis at ${this.#connection.address} was emptied and filled anew while version ${target.version} was written; tried again`,
    )
  }

  #known({ project, view, version }: StoreTarget): number | undefined {
    if (this.#generation !== this.#connection.generation) {
      this.#generation = this.#connection.generation
      this.#remembered.clear()
    }
    return this.#remembered.get(`${project}/${view}/${version}`)
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
