/**
 * One client of Redis: batches of commands in, replies out, in order.
 * Invariants: a call ends within its time-out, answered or failed; what waits for an answer is bounded in bytes; nothing is
 * sent again behind the caller's back, but for redirections inside a cluster and a script the server has forgotten.
 */

import { Cluster, Command } from 'ioredis'
import type { Redis } from 'ioredis'

import { SidestreamError } from '../../schemas/index.ts'
import { closedError } from '../closed.ts'
import { PendingBytes } from './pending-bytes.ts'
import { isRedirection, redisFailure, unansweredText } from './redis-errors.ts'
import { addressOf, createClient, redisStoreDefaults } from './redis-options.ts'
import type { RedisStoreOptions } from './redis-options.ts'
import { redisScripts, scriptText } from './redis-scripts.ts'
import type { RedisScriptName } from './redis-scripts.ts'

/** The commands the driver uses, scripts included; `docs/reference/redis-store.md` lists what the user must be allowed. */
export type RedisCommandName =
  | 'del'
  | 'exists'
  | 'get'
  | 'hget'
  | 'hgetall'
  | 'hkeys'
  | 'hlen'
  | 'hmget'
  | 'hsetnx'
  | 'info'
  | 'lrange'
  | 'memory'
  | 'mget'
  | 'smembers'
  | 'srem'
  | 'time'
  | 'unlink'
  | 'zrange'
  | RedisScriptName

export type RedisArgument = string | number | Buffer

export interface RedisCall {
  readonly name: RedisCommandName
  /** The key that says which node must be asked; left out when any will do. */
  readonly key?: string
  /** All arguments, the key among them. */
  readonly args: readonly RedisArgument[]
  /** About how many bytes it is. */
  readonly bytes: number
}

type Chain = Record<string, (...args: readonly RedisArgument[]) => unknown> & {
  exec(): Promise<[Error | null, unknown][] | null>
}

/** A pipeline is cut at this size, so that a large call neither fills the socket nor holds up others for long. */
const pipelineBytes = 1024 * 1024
const pipelineCalls = 2_048

export class RedisConnection {
  readonly address: string
  readonly #client: Redis | Cluster
  readonly #commandTimeoutMs: number
  readonly #pending: PendingBytes
  readonly #waiting = new Set<(failure: SidestreamError | undefined) => void>()
  #generation = 0
  /** Why there was no connection last time, for messages. */
  #reason: SidestreamError | undefined
  /** A reason that will not go away by waiting; looked at anew with every attempt to connect. */
  #final: SidestreamError | undefined
  #answers = 0
  #closed = false

  private constructor(options: RedisStoreOptions) {
    this.address = addressOf(options)
    this.#commandTimeoutMs = options.commandTimeoutMs ?? redisStoreDefaults.commandTimeoutMs
    this.#pending = new PendingBytes(options.maxPendingBytes ?? redisStoreDefaults.maxPendingBytes)
    this.#client = createClient(options)
    this.#client.on('error', (error: Error) => this.#noteFailure(error))
    this.#client.on('node error', (error: Error) => this.#noteFailure(error))
    this.#client.on('connecting', () => (this.#final = undefined))
    this.#client.on('ready', () => this.#noteReady())
    this.#client.on('+node', () => (this.#generation += 1))
  }

  /**
   * Connects; waits for a server that is not there yet.
   * @throws SIDESTREAM_STORE_UNREACHABLE after `connectTimeoutMs`; SIDESTREAM_STORE_ACCESS_DENIED; SIDESTREAM_CONFIG_INVALID
   */
  static async open(options: RedisStoreOptions): Promise<RedisConnection> {
    const connection = new RedisConnection(options)
    try {
      connection.#client.connect().catch(() => undefined) // its failures come as events, and it tries again by itself
      await connection.#ready(options.connectTimeoutMs ?? redisStoreDefaults.connectTimeoutMs)
      await connection.#prepare()
      return connection
    } catch (error) {
      connection.close()
      throw error
    }
  }

  /** Grows whenever a server was connected anew: it may have lost its data meanwhile. */
  get generation(): number {
    return this.#generation
  }

  /** How many masters the server has; 1 when it is no cluster. */
  get masters(): number {
    return this.#client instanceof Cluster ? Math.max(1, this.#client.nodes('master').length) : 1
  }

  /**
   * Sends calls and gives their replies in order, bulk replies as Buffers. Calls for one node go in order.
   * @throws what `redisFailure` makes of the first failure; other calls of the batch may have been done
   */
  async send(calls: readonly RedisCall[]): Promise<unknown[]> {
    const replies: unknown[] = []
    replies.length = calls.length
    if (calls.length === 0) return replies
    if (this.#client instanceof Cluster) await this.#ready(this.#commandTimeoutMs)
    const groups = this.#byNode(calls)
    await Promise.all(groups.map((group) => this.#sendInTurn(calls, group, replies)))
    return replies
  }

  /** Sends one call. @throws as `send` */
  async ask(name: RedisCommandName, key: string | undefined, ...args: readonly RedisArgument[]): Promise<unknown> {
    const call: RedisCall = { name, args, bytes: bytesOf(args), ...(key === undefined ? {} : { key }) }
    return (await this.send([call]))[0]
  }

  /** `INFO` as a map. */
  async info(): Promise<Map<string, string>> {
    const text = String(await this.ask('info', undefined))
    return new Map(
      text
        .split('\r\n')
        .filter((line) => line.includes(':'))
        .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
    )
  }

  close(): void {
    this.#closed = true
    this.#client.disconnect()
    this.#settle(closedError('the redis store'))
  }

  /** Learns what the server is, and gives ioredis the scripts in the form it understands. */
  async #prepare(): Promise<void> {
    const info = await this.info()
    const isCluster = info.get('cluster_enabled') === '1'
    if (isCluster && !(this.#client instanceof Cluster)) {
      throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `redis at ${this.address} is a cluster: set cluster to true`)
    }
    const major = Number.parseInt(info.get('redis_version') ?? '', 10)
    for (const [name, script] of Object.entries(redisScripts)) {
      this.#client.defineCommand(name, { numberOfKeys: script.keys, lua: scriptText(script, major) })
    }
  }

  /** Indices of calls by the node that must get them. */
  #byNode(calls: readonly RedisCall[]): number[][] {
    if (!(this.#client instanceof Cluster)) return [calls.map((_, i) => i)]
    const { slots } = this.#client
    const groups = new Map<string, number[]>()
    for (const [i, { key }] of calls.entries()) {
      const node = key === undefined ? '' : (slots[slotOf(key)]?.join(';') ?? '')
      const group = groups.get(node)
      if (group === undefined) groups.set(node, [i])
      else group.push(i)
    }
    return [...groups.values()]
  }

  async #sendInTurn(calls: readonly RedisCall[], group: readonly number[], replies: unknown[]): Promise<void> {
    for (let from = 0; from < group.length;) {
      let bytes = calls[group[from]!]!.bytes
      let to = from + 1
      while (to < group.length && to - from < pipelineCalls && bytes + calls[group[to]!]!.bytes <= pipelineBytes) {
        bytes += calls[group[to++]!]!.bytes
      }
      await this.#sendPipeline(calls, group.slice(from, to), bytes, replies)
      from = to
    }
  }

  async #sendPipeline(calls: readonly RedisCall[], group: readonly number[], bytes: number, replies: unknown[]): Promise<void> {
    const deadline = performance.now() + this.#commandTimeoutMs
    const release = await this.#pending.take(bytes, this.#commandTimeoutMs)
    if (release === undefined) {
      throw this.#noAnswer(
        `requests of ${this.#pending.used} bytes wait for answers; within ${this.#commandTimeoutMs} ms there was no room for more`,
      )
    }
    let running: Promise<[Error | null, unknown][] | null>
    try {
      await this.#ready(deadline - performance.now())
      const pipeline = this.#client.pipeline() as unknown as Chain
      for (const i of group) {
        const { name, args } = calls[i]!
        pipeline[`${name}Buffer`]!(...args)
      }
      running = pipeline.exec()
    } catch (error) {
      release()
      throw redisFailure(error, { address: this.address })
    }
    const settled = running.then(
      (results) => ((this.#answers += 1), results),
      (error: unknown) => group.map((): [Error, unknown] => [error as Error, undefined]),
    )
    void settled.finally(release) // only now: a request without an answer still takes memory
    const results = await this.#within(settled, deadline - performance.now())
    for (const [at, i] of group.entries()) {
      const [error, reply] = results?.[at] ?? [new Error('no reply'), undefined]
      replies[i] = error === null || error === undefined ? reply : await this.#again(calls[i]!, error, deadline)
    }
  }

  /** A call of a pipeline that failed: once more by itself when only the cluster has moved its slot. */
  async #again(call: RedisCall, error: Error, deadline: number): Promise<unknown> {
    const place = { address: this.address, call: `${call.name} ${call.key ?? ''}`.trim() }
    if (!(this.#client instanceof Cluster) || !isRedirection(error)) throw redisFailure(error, place)
    try {
      const single = (this.#client as unknown as Record<string, (...args: readonly RedisArgument[]) => Promise<unknown>>)[
        `${call.name}Buffer`
      ]!
      return await this.#within(single.apply(this.#client, [...call.args]), deadline - performance.now())
    } catch (failure) {
      throw redisFailure(failure, place)
    }
  }

  /** Waits for a reply until the deadline; a connection on which nothing at all was answered meanwhile is given up. */
  async #within<T>(reply: Promise<T>, ms: number): Promise<T> {
    const answers = this.#answers
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => {
          if (this.#answers === answers && !this.#closed) this.#client.disconnect(true)
          reject(
            this.#noAnswer(`no answer within ${this.#commandTimeoutMs} ms: it is slow, stopped or cut off; the call may have been done`),
          )
        },
        Math.max(1, ms),
      )
    })
    try {
      return await Promise.race([reply, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Resolves when calls can be sent. @throws the reason when that is final, or after `ms` */
  async #ready(ms: number): Promise<void> {
    if (this.#closed) throw closedError('the redis store')
    if (this.#final !== undefined) throw this.#final
    if (this.#client.status === 'ready') return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => {
          this.#waiting.delete(end)
          const { status } = this.#client
          // A server that takes connections but answers nothing holds us in the handshake: start over.
          if (status === 'connect') this.#client.disconnect(true)
          const silence = status === 'connect' ? 'took the connection but is not ready: it loads its data, or hangs' : unansweredText
          reject(this.#reason ?? this.#noAnswer(`within ${Math.ceil(ms)} ms it ${silence}`))
        },
        Math.max(1, ms),
      )
      const end = (failure: SidestreamError | undefined): void => {
        this.#waiting.delete(end)
        clearTimeout(timer)
        if (failure === undefined) resolve()
        else reject(failure)
      }
      this.#waiting.add(end)
    })
  }

  #noteFailure(error: unknown): void {
    const inner = error instanceof Error && 'lastNodeError' in error ? error.lastNodeError : undefined
    this.#reason = redisFailure(inner ?? error, { address: this.address })
    if (this.#reason.class !== 'fatal') return
    this.#final = this.#reason
    this.#settle(this.#final)
  }

  #noteReady(): void {
    if (this.#final !== undefined) return // such as a database number the server does not have
    this.#reason = undefined
    this.#generation += 1
    this.#settle(undefined)
  }

  #settle(failure: SidestreamError | undefined): void {
    for (const end of [...this.#waiting]) end(failure)
  }

  #noAnswer(what: string): SidestreamError {
    return new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', `redis at ${this.address}: ${what}; tried again`, { address: this.address })
  }
}

/** About how many bytes arguments take on the wire. */
export function bytesOf(args: readonly RedisArgument[]): number {
  let bytes = 0
  for (const arg of args) bytes += (typeof arg === 'number' ? 8 : arg.length) + 16
  return bytes
}

const slots = new Map<string, number>()

/** Slot of a key, remembered by its hash tag; forgotten as a whole when too many are known. */
function slotOf(key: string): number {
  const tag = key.slice(0, key.indexOf('}') + 1)
  let slot = slots.get(tag)
  if (slot === undefined) {
    if (slots.size > 100_000) slots.clear()
    slots.set(tag, (slot = new Command('get', [tag]).getSlot() ?? 0))
  }
  return slot
}
