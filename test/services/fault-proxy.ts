/**
 * A TCP proxy between a client and a server that can be slow, cut, silent or closed, lose one request or answer, and heal again.
 * Invariant: bytes pass in order and unchanged, or not at all.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'

import { requestScanner } from './kafka-requests.ts'
import { loopback } from './ports.ts'

/** One connection through the proxy. */
interface Pair {
  readonly client: Socket
  readonly server: Socket
  /** What the server says next is lost. */
  deaf?: boolean
}

/** One request of a Kafka client that is not to end well. */
interface Loss {
  readonly what: 'request' | 'answer'
  readonly apiKey: number
  readonly done: () => void
}

export class FaultProxy {
  readonly #listener: Server
  readonly #pairs = new Set<Pair>()
  #target: { host: string; port: number } | undefined
  #delayMs = 0
  #silent = false
  #refusing = false
  #loss: Loss | undefined
  #onRequest: ((name: string) => void) | undefined

  /** Use `faultProxy()`. */
  constructor(listener: Server) {
    this.#listener = listener
    listener.on('connection', (client: Socket) => this.#accept(client))
  }

  /** Where clients connect to; stays the same. */
  get port(): number {
    return (this.#listener.address() as AddressInfo).port
  }

  get address(): string {
    return `${loopback}:${this.port}`
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#pairs.size
  }

  /** Sets where new connections lead. */
  leadTo(host: string, port: number): void {
    this.#target = { host, port }
  }

  /** Every chunk, both ways, arrives this much later, also on open connections. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  /** Cuts the open connections (reset); new ones are let in. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      reset(client)
      server.destroy()
    }
  }

  /** Cuts, and ends new connections at once, as when nobody listens. */
  refuse(): void {
    this.#refusing = true
    this.cut()
  }

  /** Tells of each request of a Kafka client, by its kind, on connections that are made from now on. */
  watchRequests(onRequest: (name: string) => void): void {
    this.#onRequest = onRequest
  }

  /** Nothing passes and nothing is closed, as when a cable is pulled; what is sent meanwhile arrives after `heal`. */
  blackHole(): void {
    this.#silent = true
    for (const { client, server } of this.#pairs) {
      client.pause()
      server.pause()
    }
  }

  /**
   * The next request of a Kafka client with this api key (0 produce, 22 init of a producer id, 26 end of a transaction) or its answer
   * is lost, and its connection with it. Resolves when that has happened. For clients with one request in flight.
   */
  lose(what: 'request' | 'answer', apiKey: number): Promise<void> {
    return new Promise((done) => (this.#loss = { what, apiKey, done }))
  }

  /** No fault any more. */
  heal(): void {
    this.#delayMs = 0
    this.#refusing = false
    this.#silent = false
    this.#loss = undefined
    for (const { client, server } of this.#pairs) {
      client.resume()
      server.resume()
    }
  }

  async close(): Promise<void> {
    this.cut()
    this.#listener.close()
    if (this.#listener.listening) await once(this.#listener, 'close')
  }

  #accept(client: Socket): void {
    client.on('error', () => {})
    if (this.#refusing || this.#target === undefined) {
      reset(client)
      return
    }
    const server = connect(this.#target.port, this.#target.host)
    const pair: Pair = { client, server }
    this.#pairs.add(pair)
    server.on('error', () => reset(client))
    if (this.#onRequest !== undefined) client.on('data', requestScanner(this.#onRequest))
    this.#forward(client, server, (chunk) => this.#isLost(chunk, pair))
    this.#forward(server, client, () => pair.deaf === true)
    client.on('close', () => {
      this.#pairs.delete(pair)
      server.destroy()
    })
    server.on('close', () => client.destroy())
    if (this.#silent) {
      client.pause()
      server.pause()
    }
  }

  /** @returns true when the chunk is a request that is to be lost */
  #isLost(chunk: Buffer, pair: Pair): boolean {
    const loss = this.#loss
    if (loss === undefined || chunk.length < 6 || chunk.readInt16BE(4) !== loss.apiKey) return false
    this.#loss = undefined
    loss.done()
    if (loss.what === 'request') return true
    pair.deaf = true
    return false
  }

  /** Chunks keep their order: each waits for the one before it. One that is lost takes the connection along. */
  #forward(from: Socket, to: Socket, isLost: (chunk: Buffer) => boolean): void {
    let before = Promise.resolve()
    const pass = (step: () => void): void => {
      const due = Date.now() + this.#delayMs
      const earlier = before
      before = earlier.then(async () => {
        const wait = due - Date.now()
        if (wait > 0) await new Promise((done) => setTimeout(done, wait))
        if (!to.destroyed) step()
      })
    }
    from.on('data', (chunk: Buffer) => {
      if (!isLost(chunk)) return pass(() => to.write(chunk))
      reset(from)
      to.destroy()
    })
    from.on('end', () => pass(() => to.end()))
  }
}

/** A proxy on a free port; `leadTo` says where. */
export async function faultProxy(target?: { host: string; port: number }): Promise<FaultProxy> {
  const listener = createServer({ allowHalfOpen: true }).listen(0, loopback)
  await once(listener, 'listening')
  const proxy = new FaultProxy(listener)
  if (target !== undefined) proxy.leadTo(target.host, target.port)
  return proxy
}

/** Node never ends a process in which a socket was reset while its end was still to be sent: such a socket is only destroyed. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
