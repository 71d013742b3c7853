/**
 * A schema registry in this process that speaks Confluent's API over real HTTP. It keeps what tests put in; a test may script
 * each answer, let it hang, cut the line, or take the registry down for a while.
 */

import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TestContext } from 'node:test'

/** What the peer does with one request instead of answering it. */
export type Scripted =
  | 'hang'
  | 'cut'
  /** Half of an answer, then the line is cut. */
  | 'cut-inside'
  /** The head of an answer, and nothing more. */
  | 'hang-inside'
  | { readonly status: number; readonly body?: unknown; readonly headers?: Record<string, string> }

interface Kept {
  readonly schema: string
  readonly schemaType?: string
  readonly references?: readonly { name: string; subject: string; version: number }[]
}

export interface PeerOptions {
  /** Accepted `authorization` header. @default any */
  readonly authorization?: string
  /** Serve TLS. */
  readonly tls?: { readonly key: string; readonly cert: string }
}

export class RegistryPeer {
  /** Every request, as `GET /schemas/ids/1`. */
  readonly requests: string[] = []
  /** Subjects that take no other schema than they have. */
  readonly frozen = new Set<string>()
  readonly #schemas: Kept[] = []
  readonly #subjects = new Map<string, number[]>()
  readonly #scripted: Scripted[] = []
  readonly #sockets = new Set<Socket>()
  readonly #options: PeerOptions
  #server: Server | undefined
  #port = 0

  private constructor(options: PeerOptions) {
    this.#options = options
  }

  static async open(t: Pick<TestContext, 'after'>, options: PeerOptions = {}): Promise<RegistryPeer> {
    const peer = new RegistryPeer(options)
    t.after(() => peer.down())
    await peer.up()
    return peer
  }

  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.#port}`
  }

  /** What is done with the next requests, one each; then they are answered again. */
  next(...scripted: readonly Scripted[]): void {
    this.#scripted.push(...scripted)
  }

  /** Keeps a schema. @returns its id */
  add(subject: string, schema: unknown, more: Omit<Kept, 'schema'> = {}): number {
    const text = typeof schema === 'string' ? schema : JSON.stringify(schema)
    let id = this.#schemas.findIndex((kept) => kept.schema === text && kept.schemaType === more.schemaType) + 1
    if (id === 0) id = this.#schemas.push({ schema: text, ...more })
    const versions = this.#subjects.get(subject) ?? []
    if (!versions.includes(id)) versions.push(id)
    this.#subjects.set(subject, versions)
    return id
  }

  /** How often a path was asked for. */
  count(path: string): number {
    return this.requests.filter((request) => request.endsWith(` ${path}`)).length
  }

  /** Takes requests, on the port of the first time. */
  async up(): Promise<void> {
    const listener: RequestListener = (request, response) => void this.#serve(request, response)
    const { tls } = this.#options
    const server: Server = tls === undefined ? createServer(listener) : createSecureServer(tls, listener)
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(this.#port, '127.0.0.1', resolve)
    })
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** Ends every connection and takes no more. */
  async down(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (server === undefined) return
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push(`${request.method} ${request.url}`)
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const scripted = this.#scripted.shift()
    if (scripted === 'hang') return
    if (scripted === 'cut') return void request.socket.destroy()
    if (scripted === 'cut-inside' || scripted === 'hang-inside') {
      response.writeHead(200, { 'content-length': 100 }).write('{"schema": "')
      if (scripted === 'cut-inside') setImmediate(() => request.socket.destroy())
      return
    }
    const accepted = this.#options.authorization
    if (scripted !== undefined) return reply(response, scripted.status, scripted.body, scripted.headers)
    if (accepted !== undefined && request.headers.authorization !== accepted) return fail(response, 401, 40101, 'unauthorized')
    this.#answer(`${request.method} ${new URL(request.url!, this.url).pathname}`, text, response)
  }

  #answer(request: string, text: string, response: ServerResponse): void {
    const is = (pattern: RegExp): string[] | undefined => pattern.exec(request)?.slice(1).map(decodeURIComponent)
    const body = (): Kept => JSON.parse(text) as Kept
    let at: string[] | undefined
    if (is(/^GET \/config$/) !== undefined) return reply(response, 200, { compatibilityLevel: 'BACKWARD' })
    if ((at = is(/^GET \/schemas\/ids\/(\d+)$/)) !== undefined) {
      const kept = this.#schemas[Number(at[0]) - 1]
      return kept === undefined ? fail(response, 404, 40403, 'Schema not found') : reply(response, 200, kept)
    }
    if ((at = is(/^GET \/subjects\/([^/]+)\/versions\/(\w+)$/)) !== undefined) {
      const versions = this.#subjects.get(at[0]!)
      if (versions === undefined) return fail(response, 404, 40401, 'Subject not found')
      const version = at[1] === 'latest' ? versions.length : Number(at[1])
      const id = versions[version - 1]
      if (id === undefined) return fail(response, 404, 40402, 'Version not found')
      return reply(response, 200, { subject: at[0], id, version, ...this.#schemas[id - 1] })
    }
    if ((at = is(/^POST \/subjects\/([^/]+)$/)) !== undefined) {
      const id = this.#subjects.get(at[0]!)?.find((known) => this.#schemas[known - 1]!.schema === body().schema)
      if (id === undefined) return fail(response, 404, this.#subjects.has(at[0]!) ? 40403 : 40401, 'not found')
      return reply(response, 200, { subject: at[0], id, version: this.#subjects.get(at[0]!)!.indexOf(id) + 1, ...body() })
    }
    if ((at = is(/^POST \/subjects\/([^/]+)\/versions$/)) !== undefined) {
      if (!this.#takes(at[0]!, body().schema)) return fail(response, 409, 409, 'Schema being registered is incompatible')
      return reply(response, 200, { id: this.add(at[0]!, body().schema) })
    }
    if ((at = is(/^POST \/compatibility\/subjects\/([^/]+)\/versions\/latest$/)) !== undefined) {
      if (!this.#subjects.has(at[0]!)) return fail(response, 404, 40401, 'Subject not found')
      const takes = this.#takes(at[0]!, body().schema)
      return reply(response, 200, { is_compatible: takes, messages: takes ? [] : ['reader field missing default value'] })
    }
    fail(response, 404, 404, 'HTTP 404 Not Found')
  }

  #takes(subject: string, schema: string): boolean {
    return !this.frozen.has(subject) || this.#subjects.get(subject)!.some((id) => this.#schemas[id - 1]!.schema === schema)
  }
}

function reply(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body ?? {})
  response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json', ...headers }).end(text)
}

function fail(response: ServerResponse, status: number, code: number, message: string): void {
  reply(response, status, { error_code: code, message })
}
