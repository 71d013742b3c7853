/**
 * The store in Redis or a Redis Cluster: one hash per bucket of a view in a version.
 * Invariants: a value is replaced only by a newer one, inside a script of its bucket; the pointer, its history and the ids
 * of its commands change in one script; a write resolves when Redis has acknowledged it, which is as durable as Redis is set
 * to be. Time is Redis's.
 */

import { SidestreamError } from '../../schemas/index.ts'
import { closedError } from '../closed.ts'
import { checkEntries, checkLabel, checkProject, checkTarget, checkVersion } from './checks.ts'
import { RedisBuckets } from './redis-buckets.ts'
import type { RedisCall, RedisConnection } from './redis-connection.ts'
import { redisKeys } from './redis-keys.ts'
import { checkRedisOptions } from './redis-options.ts'
import type { RedisStoreOptions } from './redis-options.ts'
import { inspectServer } from './redis-inspection.ts'
import type { StoreFinding } from './redis-inspection.ts'
import { groupIds, groupWrites, placeOutcomes, placeValues } from './redis-batches.ts'
import type { PlacedCall } from './redis-batches.ts'
import { scanBuckets } from './redis-scan.ts'
import type {
  LivePointer,
  PointerChange,
  Store,
  StoreEntry,
  StoreRead,
  StoreTarget,
  SwapOutcome,
  SwapRequest,
  WriteOutcome,
} from './store.ts'

/** The store port, and what only this driver can tell. */
export interface RedisStore extends Store {
  /** What about the server endangers data or speed, for `doctor`; empty when all is well. */
  inspect(): Promise<readonly StoreFinding[]>
  /** Deletes every key of a project that nothing writes any more. */
  forget(project: string): Promise<void>
}

/**
 * Opens the store in Redis. Waits for a server that is not there yet.
 * @throws SIDESTREAM_STORE_UNREACHABLE after `connectTimeoutMs`; SIDESTREAM_STORE_ACCESS_DENIED for a wrong user or password;
 * SIDESTREAM_CONFIG_INVALID for TLS, cluster and database settings that do not fit the server; SIDESTREAM_USAGE_INVALID
 */
export async function openRedisStore(options: RedisStoreOptions = {}): Promise<RedisStore> {
  checkRedisOptions(options)
  const { RedisConnection } = await import('./redis-connection.ts') // ioredis is loaded by those who use it
  return new RedisStoreDriver(await RedisConnection.open(options), options.buckets)
}

const bucketsPerMaster = 64

class RedisStoreDriver implements RedisStore {
  readonly name = 'redis'
  readonly #connection: RedisConnection
  readonly #buckets: RedisBuckets
  readonly #wantedBuckets: number | undefined
  readonly #running = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  constructor(connection: RedisConnection, wantedBuckets: number | undefined) {
    this.#connection = connection
    this.#buckets = new RedisBuckets(connection)
    this.#wantedBuckets = wantedBuckets
  }

  write(target: StoreTarget, entries: readonly StoreEntry[]): Promise<WriteOutcome[]> {
    return this.#run(async () => {
      checkTarget(target)
      checkEntries(entries)
      if (entries.length === 0) return []
      const wanted = this.#wantedBuckets ?? bucketsPerMaster * this.#connection.masters
      let groups: readonly PlacedCall[] = []
      const replies = await this.#buckets.within(target, wanted, (buckets) => {
        groups = groupWrites(target, entries, buckets)
        return groups.map(({ call }) => call)
      })
      return placeOutcomes(groups, replies as Buffer[], entries.length)
    })
  }

  read(target: StoreTarget, ids: readonly string[]): Promise<StoreRead> {
    return this.#run(async () => {
      checkTarget(target)
      const liveKey = redisKeys.live(target.project)
      const live: RedisCall = { name: 'get', key: liveKey, args: [liveKey], bytes: 100 }
      for (;;) {
        const buckets = ids.length === 0 ? undefined : await this.#buckets.read(target)
        const groups = buckets === undefined ? [] : groupIds(target, ids, buckets)
        const calls = groups.map(({ call }) => call)
        const [pointer, count, ...replies] = await this.#connection.send([live, this.#buckets.call(target), ...calls])
        // Another number than remembered: the store was emptied and filled anew meanwhile.
        if (this.#buckets.seen(target, count) !== buckets && ids.length > 0) continue
        const values: (Uint8Array | undefined)[] = ids.map(() => undefined)
        placeValues(groups, replies as (Buffer | null)[][], values)
        return { live: pointerOf(pointer, liveKey), values }
      }
    })
  }

  async *scan(target: StoreTarget): AsyncIterable<readonly StoreEntry[]> {
    this.#assertOpen()
    checkTarget(target)
    const buckets = await this.#buckets.look(target)
    if (buckets !== undefined) yield* scanBuckets(this.#connection, target, buckets)
  }

  live(project: string): Promise<LivePointer | undefined> {
    return this.#run(async () => {
      checkProject(project)
      const key = redisKeys.live(project)
      return pointerOf(await this.#connection.ask('get', key, key), key)
    })
  }

  swap({ project, expected, version, action, commandId }: SwapRequest): Promise<SwapOutcome> {
    return this.#run(async () => {
      checkProject(project)
      checkVersion(version)
      checkLabel('a command id', commandId)
      const keys = [redisKeys.live(project), redisKeys.history(project), redisKeys.commands(project)]
      const expects = [expected?.version ?? '', expected?.epoch ?? '']
      const change = [version, action, commandId, JSON.stringify(commandId)]
      const [outcome, told] = (await this.#connection.ask('ssSwap', keys[0], ...keys, ...expects, ...change)) as [Buffer, Buffer]
      if (String(outcome) === 'moved') return { outcome: 'moved', live: told.length === 0 ? undefined : pointerOf(told, keys[0]!) }
      return { outcome: String(outcome) as 'swapped' | 'repeated', change: changeOf(told, keys[1]!) }
    })
  }

  history(project: string, afterSeq: number): Promise<readonly PointerChange[]> {
    return this.#run(async () => {
      checkProject(project)
      const key = redisKeys.history(project)
      const changes = (await this.#connection.ask('lrange', key, key, Math.max(0, Math.floor(afterSeq)), -1)) as Buffer[]
      return changes.map((change) => changeOf(change, key))
    })
  }

  putVersion(project: string, version: number, record: Uint8Array): Promise<void> {
    return this.#run(async () => {
      checkProject(project)
      checkVersion(version)
      const keys = [redisKeys.version(project, version), redisKeys.versions(project)]
      await this.#connection.ask('ssPutVersion', keys[0], ...keys, version, Buffer.from(record))
    })
  }

  getVersion(project: string, version: number): Promise<Uint8Array | undefined> {
    return this.#run(async () => {
      checkProject(project)
      checkVersion(version)
      const key = redisKeys.version(project, version)
      const record = (await this.#connection.ask('get', key, key)) as Buffer | null
      return record === null ? undefined : Uint8Array.from(record)
    })
  }

  listVersions(project: string): Promise<{ version: number; record: Uint8Array }[]> {
    return this.#run(async () => {
      checkProject(project)
      const index = redisKeys.versions(project)
      const versions = ((await this.#connection.ask('zrange', index, index, 0, -1)) as Buffer[]).map((text) => Number(String(text)))
      if (versions.length === 0) return []
      const keys = versions.map((version) => redisKeys.version(project, version))
      const records = (await this.#connection.ask('mget', keys[0], ...keys)) as (Buffer | null)[]
      return versions.flatMap((version, i) => {
        const record = records[i]
        return record === null || record === undefined ? [] : [{ version, record: Uint8Array.from(record) }]
      })
    })
  }

  pin(project: string, version: number, holder: string, ttlMs: number): Promise<void> {
    if (!(ttlMs > 0)) return this.unpin(project, version, holder)
    return this.#run(async () => {
      const keys = pinKeys(project, version, holder)
      await this.#connection.ask('ssPin', keys[0], ...keys, holder, Math.min(Math.ceil(ttlMs), longestLeaseMs))
    })
  }

  unpin(project: string, version: number, holder: string): Promise<void> {
    return this.#run(async () => {
      const keys = pinKeys(project, version, holder)
      await this.#connection.send([
        { name: 'del', key: keys[0], args: [keys[0]], bytes: 100 },
        { name: 'ssForgetPin', key: keys[0], args: [...keys, holder], bytes: 200 },
      ])
    })
  }

  pins(project: string, version: number): Promise<string[]> {
    return this.#run(async () => {
      checkProject(project)
      checkVersion(version)
      const index = redisKeys.pins(project, version)
      const holders = ((await this.#connection.ask('smembers', index, index)) as Buffer[]).sort(Buffer.compare).map(String)
      const leases = await this.#connection.send(
        holders.map((holder): RedisCall => {
          const key = redisKeys.pin(project, version, holder)
          return { name: 'exists', key, args: [key], bytes: 200 }
        }),
      )
      const over = holders.filter((_, i) => leases[i] === 0)
      await this.#connection.send(
        over.map((holder): RedisCall => {
          const keys = pinKeys(project, version, holder)
          return { name: 'ssForgetPin', key: keys[0], args: [...keys, holder], bytes: 200 }
        }),
      )
      return holders.filter((_, i) => leases[i] === 1)
    })
  }

  collect(project: string, version: number): Promise<void> {
    return this.#run(async () => {
      await this.#perBucket(project, version, 'unlink')
    })
  }

  usage(project: string, version: number): Promise<{ entries: number; bytes: number }> {
    return this.#run(async () => {
      const replies = await this.#perBucket(project, version, 'ssUsage')
      let [entries, bytes] = [0, 0]
      for (const [count, size] of replies as [number, number][]) {
        entries += count
        bytes += size
      }
      return { entries, bytes }
    })
  }

  now(): Promise<number> {
    return this.#run(async () => {
      const [seconds, micros] = ((await this.#connection.ask('time', undefined)) as Buffer[]).map((text) => Number(String(text)))
      return seconds! * 1_000 + Math.floor(micros! / 1_000)
    })
  }

  inspect(): Promise<readonly StoreFinding[]> {
    return this.#run(async () => inspectServer(await this.#connection.info(), this.#connection.address, this.#connection.asksForNoPassword))
  }

  forget(project: string): Promise<void> {
    return this.#run(async () => {
      checkProject(project)
      const index = redisKeys.versions(project)
      const keys = [redisKeys.live(project), redisKeys.history(project), redisKeys.commands(project)]
      for (const text of (await this.#connection.ask('zrange', index, index, 0, -1)) as Buffer[]) {
        const version = Number(String(text))
        await this.#perBucket(project, version, 'unlink')
        const holders = redisKeys.pins(project, version)
        const pinned = (await this.#connection.ask('smembers', holders, holders)) as Buffer[]
        keys.push(...pinned.map((holder) => redisKeys.pin(project, version, String(holder))), holders)
        keys.push(redisKeys.version(project, version), redisKeys.buckets(project, version))
      }
      // The list of versions last: until then a call that was cut short can be repeated.
      await this.#connection.send([...keys, index].map((key): RedisCall => ({ name: 'del', key, args: [key], bytes: 100 })))
    })
  }

  /** Calls that were asked before are finished first: each ends within its time-out. */
  close(): Promise<void> {
    this.#closing ??= Promise.allSettled([...this.#running]).then(() => this.#connection.close())
    return this.#closing
  }

  async #perBucket(project: string, version: number, name: 'unlink' | 'ssUsage'): Promise<unknown[]> {
    checkProject(project)
    checkVersion(version)
    const calls: RedisCall[] = []
    for (const { view, buckets } of await this.#buckets.views(project, version)) {
      for (let bucket = 0; bucket < buckets; bucket++) {
        const key = redisKeys.bucket(project, view, bucket, version)
        calls.push({ name, key, args: [key], bytes: 100 })
      }
    }
    return this.#connection.send(calls)
  }

  async #run<T>(body: () => Promise<T>): Promise<T> {
    this.#assertOpen()
    const running = body()
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closedError('the redis store')
  }
}

/** Ten thousand years: Redis refuses times beyond what it can add to its clock. */
const longestLeaseMs = 315_360_000_000_000

function pinKeys(project: string, version: number, holder: string): [lease: string, holders: string] {
  checkProject(project)
  checkVersion(version)
  checkLabel('a pin holder', holder)
  return [redisKeys.pin(project, version, holder), redisKeys.pins(project, version)]
}

function pointerOf(reply: unknown, key: string): LivePointer | undefined {
  if (reply === null) return undefined
  const { version, epoch } = fromJson(reply, key) as { version?: unknown; epoch?: unknown }
  if (typeof version !== 'number' || typeof epoch !== 'number') throw corrupt(key)
  return { version, epoch }
}

function changeOf(reply: unknown, key: string): PointerChange {
  return fromJson(reply, key) as PointerChange
}

function fromJson(reply: unknown, key: string): object {
  try {
    const json: unknown = JSON.parse(String(reply))
    if (typeof json === 'object' && json !== null) return json
  } catch {
    // told below
  }
  throw corrupt(key)
}

function corrupt(key: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_STORE_CORRUPT', `${key} holds something else than sidestream writes there: restore the store`, {
    key,
  })
}
