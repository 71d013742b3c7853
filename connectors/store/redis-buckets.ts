/**
 * How many buckets each view of a version has. Chosen by the first write of a view and kept in the store for good, also
 * when the version is collected: so a late write is found again.
 * Invariant: all processes use the number in the store, whatever they are configured with. It is remembered, and looked at
 * again with every use: a server can be emptied under an open connection, and filled anew with another number.
 */

import { SidestreamError } from '../../schemas/index.ts'
import type { RedisCall, RedisConnection } from './redis-connection.ts'
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

  /** Number of buckets as it was last seen; undefined when nothing was ever written to the target. */
  async read(target: StoreTarget): Promise<number | undefined> {
    return this.#known(target) ?? (await this.look(target))
  }

  /** Number of buckets now; undefined when nothing was ever written to the target. */
  async look(target: StoreTarget): Promise<number | undefined> {
    return this.seen(target, (await this.#connection.send([this.call(target)]))[0])
  }

  /** Asks for the number of buckets; its reply is for `seen`. */
  call(target: StoreTarget): RedisCall {
    const key = redisKeys.buckets(target.project, target.version)
    return { name: 'hget', key, args: [key, target.view], bytes: 100 }
  }

  /** What the reply to `call` says, remembered. */
  seen(target: StoreTarget, reply: unknown): number | undefined {
    if (reply !== null) return this.#remember(target, countOf(reply, redisKeys.buckets(target.project, target.version)))
    this.#remembered.delete(nameOf(target))
    return undefined
  }

  async #choose(target: StoreTarget, wanted: number): Promise<number> {
    return this.seen(target, (await this.#connection.send(this.#choice(target, wanted))).at(-1))!
  }

  #choice(target: StoreTarget, wanted: number): [choose: RedisCall, look: RedisCall] {
    const look = this.call(target)
    return [{ ...look, name: 'hsetnx', args: [...look.args, wanted] }, look]
  }

  /** All views of a version that were ever written, with their numbers. */
  async views(project: string, version: number): Promise<{ view: string; buckets: number }[]> {
    const key = redisKeys.buckets(project, version)
    const fields = (await this.#connection.ask('hgetall', key, key)) as Record<string, Buffer> // ioredis makes an object of it
    return Object.entries(fields).map(([view, count]) => ({ view, buckets: countOf(count, key) }))
  }

  /**
   * Sends writes into the buckets of a target, `wanted` many when it is new. A server that was emptied or restarted meanwhile has
   * lost the number of buckets, and nobody would find what was written without it: so it is made sure of behind every write.
   * @returns the replies to the writes
   * @throws SIDESTREAM_STORE_UNREACHABLE when another number stands there now
   */
  async within(target: StoreTarget, wanted: number, write: (buckets: number) => readonly RedisCall[]): Promise<unknown[]> {
    const buckets = this.#known(target) ?? (await this.#choose(target, wanted))
    const { generation } = this.#connection
    const replies = await this.#connection.send([...write(buckets), ...this.#choice(target, buckets)])
    let there = this.seen(target, replies.pop())
    replies.pop()
    // In a cluster the number may be on a node that was restarted after it had answered.
    if (generation !== this.#connection.generation) there = await this.#choose(target, buckets)
    if (there === buckets) return replies
    throw new SidestreamError(
      'SIDESTREAM_STORE_UNREACHABLE',
      `redis at ${this.#connection.address} was emptied and filled anew while version ${target.version} was written; tried again`,
    )
  }

  #known(target: StoreTarget): number | undefined {
    if (this.#generation !== this.#connection.generation) {
      this.#generation = this.#connection.generation
      this.#remembered.clear()
    }
    return this.#remembered.get(nameOf(target))
  }

  #remember(target: StoreTarget, buckets: number): number {
    if (this.#remembered.size >= mostRemembered) this.#remembered.delete(this.#remembered.keys().next().value!)
    this.#remembered.set(nameOf(target), buckets)
    return buckets
  }
}

const nameOf = ({ project, view, version }: StoreTarget): string => `${project}/${view}/${version}`

function countOf(reply: unknown, key: string): number {
  const count = Number(String(reply))
  if (Number.isInteger(count) && count >= 1) return count
  throw new SidestreamError('SIDESTREAM_STORE_CORRUPT', `${key} holds ${JSON.stringify(String(reply))}, which is no number of buckets`)
}
