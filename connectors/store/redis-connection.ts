/**
 * One client of Redis: batches of commands in, replies out, in order.
 * Invariants: a call ends within its time-out, answered or failed; what waits for an answer is bounded in bytes; nothing is
 * sent again behind the caller's back, but for redirections inside a cluster and a script the server has forgotten.
 */

import type { Socket } from 'node:net'

import { Cluster, Command } from 'ioredis'
import type { Redis } from 'ioredis'

import { SidestreamError } from '../../schemas/index.ts'
import { closedError } from '../closed.ts'
import { PendingBytes } from './pending-bytes.ts'
import { noPasswordText } from './redis-inspection.ts'
import { redisFailure, unansweredText } from './redis-errors.ts'
import { createClient } from './redis-client.ts'
import { addressOf, redisStoreDefaults } from './redis-options.ts'
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
  /** For messages. */
  readonly key?: string
  /** All arguments, the key among them. */
  readonly args: readonly RedisArgument[]
  /** About how many bytes it is. */
  readonly bytes: number
}

/** Methods that ioredis makes of our scripts: they load a script the server does not know. */
type ScriptCalls = Record<string, (...args: readonly RedisArgument[]) => Promise<unknown>>

/** A batch is cut at this size, so that a large call neither fills the socket nor holds up others for long. */
const batchBytes = 1024 * 1024
const batchCalls = 2_048

/** When a server that says nothing at the start is told of. */
const silenceMs = 5_000
const notReadyText = 'took the connection but is not ready: it loads its data, or hangs'

export class RedisConnection {
  readonly address: string
  readonly #client: Redis | Cluster
  readonly #options: RedisStoreOptions
  readonly #commandTimeoutMs: number
  readonly #pending: PendingBytes
  readonly #waiting = new Set<(failure: SidestreamError | undefined) => void>()
  #generation = 0
  /** Why there was no connection last time, for messages. */
  #reason: SidestreamError | undefined
  /** A reason that will not go away by waiting; looked at anew with every attempt to connect. */
  #final: SidestreamError | undefined
  #answers = 0
  #asksForNoPassword = false
  #closed = false

  private constructor(options: RedisStoreOptions) {
    this.address = addressOf(options)
    this.#options = options
    this.#commandTimeoutMs = options.commandTimeoutMs ?? redisStoreDefaults.commandTimeoutMs
    this.#pending = new PendingBytes(options.maxPendingBytes ?? redisStoreDefaults.maxPendingBytes)
    this.#client = createClient(options)
    this.#client.on('error', (error: Error) => this.#noteFailure(error))
    this.#client.on('node error', (error: Error) => this.#noteFailure(error))
    this.#client.on('connecting', () => (this.#final = undefined))
    this.#client.on('connect', () => (this.#reason = undefined))
    this.#client.on('ready', () => this.#noteReady())
    this.#client.on('+node', () => (this.#generation += 1))
  }

  /**
   * Connects; waits for a server that is not there yet.
   * @throws SIDESTREAM_STORE_UNREACHABLE after `connectTimeoutMs`; SIDESTREAM_STORE_ACCESS_DENIED; SIDESTREAM_CONFIG_INVALID;
   * SIDESTREAM_CLOSED when the signal aborts
   */
  static async open(options: RedisStoreOptions): Promise<RedisConnection> {
    const connection = new RedisConnection(options)
    const { signal, onWaiting = () => {} } = options
    const stop = (): void => connection.close()
    signal?.addEventListener('abort', stop)
    if (signal?.aborted === true) stop()
    // One that refuses says so by events; one that loads its data, or hangs, says nothing.
    const silent = setInterval(() => onWaiting(connection.#reason ?? connection.#noAnswer(notReadyText)), silenceMs)
    const tell = (): void => void (connection.#reason?.class === 'retryable' && onWaiting(connection.#reason))
    connection.#client.on('error', tell)
    try {
      connection.#client.connect().catch(() => undefined) // its failures come as events, and it tries again by itself
      await connection.#ready(options.connectTimeoutMs ?? redisStoreDefaults.connectTimeoutMs)
      await connection.#prepare()
      return connection
    } catch (error) {
      connection.close()
      throw error
    } finally {
      clearInterval(silent)
      connection.#client.off('error', tell)
      signal?.removeEventListener('abort', stop)
    }
  }

  /** Grows whenever a server was connected anew: it may have lost its data meanwhile. */
  get generation(): number {
    return this.#generation
  }

  /** True when a password is given and the server lets in anybody without. */
  get asksForNoPassword(): boolean {
    return this.#asksForNoPassword
  }

  /** How many masters the server has; 1 when it is no cluster. */
  get masters(): number {
    return this.#client instanceof Cluster ? Math.max(1, this.#client.nodes('master').length) : 1
  }

  /**
   * Sends calls and gives their replies in order, bulk replies as Buffers. Calls for one node go in order, many at a time.
   * @throws what `redisFailure` makes of the first failure; other calls of the batch may have been done
   */
  async send(calls: readonly RedisCall[]): Promise<unknown[]> {
    const replies: unknown[] = []
    replies.length = calls.length
    for (let from = 0; from < calls.length;) {
      let { bytes } = calls[from]!
      let to = from + 1
      while (to < calls.length && to - from < batchCalls && bytes + calls[to]!.bytes <= batchBytes) bytes += calls[to++]!.bytes
      await this.#sendBatch(calls, from, to, bytes, replies)
      from = to
    }
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
    await this.#lookForLogin()
    const major = Number.parseInt(info.get('redis_version') ?? '', 10)
    for (const [name, script] of Object.entries(redisScripts)) {
      this.#client.defineCommand(name, { numberOfKeys: script.keys, lua: scriptText(script, major) })
    }
  }

  /** A password without a user name is refused with a word of its own by a server whose default user has none. */
  async #lookForLogin(): Promise<void> {
    const { username, password, logger } = this.#options
    if (username !== undefined || password === undefined) return
    const asked = this.#client.sendCommand(new Command('auth', [password])) as Promise<unknown>
    this.#asksForNoPassword = await asked.then(
      () => false,
      (error: unknown) => error instanceof Error && /without any password|no password is set/.test(error.message),
    )
    if (this.#asksForNoPassword) logger?.warn({ address: this.address }, `redis at ${this.address} ${noPasswordText}`)
  }

  async #sendBatch(calls: readonly RedisCall[], from: number, to: number, bytes: number, replies: unknown[]): Promise<void> {
    const deadline = performance.now() + this.#commandTimeoutMs
    const release = await this.#pending.take(bytes, this.#commandTimeoutMs)
    if (release === undefined) {
      throw this.#noAnswer(
        `requests of ${this.#pending.used} bytes wait for answers; within ${this.#commandTimeoutMs} ms there was no room for more`,
      )
    }
    let all: Promise<void>
    try {
      await this.#ready(deadline - performance.now())
      all = this.#issue(calls, from, to, replies)
    } catch (error) {
      release()
      throw error
    }
    all.then(release, release) // only when all are answered: until then a request takes memory
    await this.#within(all, deadline - performance.now())
  }

  /**
   * Hands calls to ioredis within one tick. Single commands in corked sockets, since its pipelines cost twice as much time per
   * command and do not follow a slot that moves in their middle.
   */
  #issue(calls: readonly RedisCall[], from: number, to: number, replies: unknown[]): Promise<void> {
    const client = this.#client
    const sockets = (client instanceof Cluster ? client.nodes() : [client]).map(({ stream }) => stream as Socket | undefined)
    let failure: SidestreamError | undefined
    let left = to - from
    return new Promise((resolve, reject) => {
      const end = (): void => {
        if (--left > 0) return
        if (failure === undefined) resolve()
        else reject(failure)
      }
      for (const socket of sockets) socket?.cork()
      try {
        for (let i = from; i < to; i++) {
          const { name, key = '', args } = calls[i]!
          this.#start(name, args).then(
            (reply) => {
              this.#answers++
              replies[i] = reply
              end()
            },
            (error: unknown) => {
              failure ??= redisFailure(error, { address: this.address, call: `${name} ${key}`.trim() })
              end()
            },
          )
        }
      } finally {
        for (const socket of sockets) socket?.uncork()
      }
    })
  }

  #start(name: RedisCommandName, args: readonly RedisArgument[]): Promise<unknown> {
    if (name in redisScripts) return (this.#client as unknown as ScriptCalls)[`${name}Buffer`]!(...args)
    return this.#client.sendCommand(new Command(name, args as RedisArgument[])) as Promise<unknown>
  }

  /** Waits for a reply until the deadline; a connection on which nothing at all was answered meanwhile is given up. */
  async #within(reply: Promise<void>, ms: number): Promise<void> {
    const answers = this.#answers
    let timer: NodeJS.Timeout | undefined
    let over = false
    const late = new Promise<never>((_, reject) => {
      const giveUp = (): void => {
        if (over) return
        if (this.#answers === answers && !this.#closed) this.#client.disconnect(true)
        reject(this.#noAnswer(`no answer within ${this.#commandTimeoutMs} ms: it is slow, stopped or cut off; the call may have been done`))
      }
      // After a pause of this process timers come before the answers that wait in the socket: those are read first.
      timer = setTimeout(() => setImmediate(() => setImmediate(giveUp)), Math.max(1, ms))
    })
    try {
      await Promise.race([reply, late])
    } finally {
      over = true
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
          const silence = status === 'connect' ? notReadyText : unansweredText
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
    if (this.#reason.class !== 'fatal' || this.#client.status === 'ready') return // one node of a cluster, for example
    this.#final = this.#reason
    this.#settle(this.#final)
  }

  #noteReady(): void {
    // A single server is also ready when it does not have our database; a cluster is when any of its nodes will have us.
    if (this.#final !== undefined && !(this.#client instanceof Cluster)) return
    this.#final = undefined
    this.#reason = undefined
    this.#generation += 1
    this.#settle(undefined)
  }

  #settle(failure: SidestreamError | undefined): void {
    for (const end of [...this.#waiting]) end(failure)
  }

  #noAnswer(what: string): SidestreamError {
    return new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', `redis at ${this.address}: ${what}`, { address: this.address })
  }
}

/** About how many bytes arguments take on the wire. */
export function bytesOf(args: readonly RedisArgument[]): number {
  let bytes = 0
  for (const arg of args) bytes += (typeof arg === 'number' ? 8 : arg.length) + 16
  return bytes
}
