/**
 * JSON over HTTP(S) to a schema registry: timeout, bounded answers, retries of what may go away by waiting.
 * Invariants: no credential is in any message; a redirect is not followed, so credentials go nowhere else; every socket is
 * idle or has a deadline. Node's own `fetch` takes no certificate authority without another package, hence `node:https`.
 */
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { setTimeout as wait } from 'node:timers/promises'
import { SidestreamError, isSidestreamError } from '../errors.ts'

export interface RegistryConnection {
  /** Base URL, such as `https://registry:8081`; a path stays in front of every request. */
  readonly url: string
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** Bearer token, instead of user name and password. */
  readonly token?: string | undefined
  /** Certificate authorities to trust instead of the system's, PEM. */
  readonly ca?: string | undefined
  /** Certificate to show and its key, PEM. */
  readonly cert?: string | undefined
  readonly key?: string | undefined
  /** Longest wait for one answer, whole, milliseconds. @default 5000 */
  readonly timeoutMs?: number
  /** Further tries after a failed one. @default 3 */
  readonly retries?: number
  /** Wait before the first further try, milliseconds; doubles up to two seconds. @default 100 */
  readonly retryMs?: number
  /** Largest answer taken, bytes. @default 4194304 */
  readonly answerBytes?: number
}

/** What came back: the status and the JSON of the body, `undefined` when it is none. */
export interface RegistryAnswer {
  readonly status: number
  readonly json: unknown
  /** The answer was larger than `answerBytes`; there is no `json`. */
  readonly tooLarge: boolean
}

export type RegistryMethod = 'GET' | 'POST'

const mostRetryMs = 2000
const sockets = 8

/** Talks to one registry. Requests may overlap. */
export class RegistryHttp {
  readonly #base: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #agent: HttpAgent | HttpsAgent
  readonly #send: typeof httpRequest
  readonly #timeoutMs: number
  readonly #retries: number
  readonly #retryMs: number
  readonly #answerBytes: number
  readonly #closing = new AbortController()

  constructor(connection: RegistryConnection) {
    const { url, username, password, token, timeoutMs = 5000, retries = 3, retryMs = 100, answerBytes = 4_194_304 } = connection
    const { ca, cert, key } = connection
    this.#base = url.replace(/\/+$/, '')
    const secure = this.#base.startsWith('https:')
    const options = { keepAlive: true, maxSockets: sockets }
    this.#agent = secure
      ? new HttpsAgent({
          ...options,
          ...(ca !== undefined && { ca }),
          ...(cert !== undefined && { cert }),
          ...(key !== undefined && { key }),
        })
      : new HttpAgent(options)
    this.#send = secure ? httpsRequest : httpRequest
    const basic = username === undefined ? undefined : Buffer.from(`${username}:${password ?? ''}`).toString('base64')
    const authorization = token !== undefined ? `Bearer ${token}` : basic === undefined ? undefined : `Basic ${basic}`
    this.#headers = {
      accept: 'application/vnd.schemaregistry.v1+json, application/json',
      ...(authorization !== undefined && { authorization }),
    }
    this.#timeoutMs = timeoutMs
    this.#retries = retries
    this.#retryMs = retryMs
    this.#answerBytes = answerBytes
  }

  /** Where the registry is, for messages. */
  get url(): string {
    return this.#base
  }

  /**
   * Sends one request until it is answered, at most 1 + `retries` times.
   * @throws SIDESTREAM_REGISTRY_UNREACHABLE when there was no answer, or only of overload or failure;
   * SIDESTREAM_REGISTRY_ACCESS_DENIED when the credentials were not accepted; SIDESTREAM_CLOSED after `close`
   */
  async send(method: RegistryMethod, path: string, body?: object): Promise<RegistryAnswer> {
    for (let attempt = 0; ; attempt++) {
      if (this.#closing.signal.aborted) throw new SidestreamError('SIDESTREAM_CLOSED', 'the schema-registry client is closed')
      try {
        return await this.#once(method, path, body)
      } catch (error) {
        if (!isSidestreamError(error) || error.class !== 'retryable' || attempt >= this.#retries) throw error
      }
      await wait(Math.min(this.#retryMs * 2 ** attempt, mostRetryMs), undefined, { signal: this.#closing.signal }).catch(() => {})
    }
  }

  /** Closes idle sockets; requests under way fail. */
  close(): void {
    this.#closing.abort()
    this.#agent.destroy()
  }

  async #once(method: RegistryMethod, path: string, body: object | undefined): Promise<RegistryAnswer> {
    let answer: RegistryAnswer
    try {
      answer = await this.#exchange(method, path, body)
    } catch (error) {
      throw new SidestreamError(
        'SIDESTREAM_REGISTRY_UNREACHABLE',
        `the schema registry at ${this.#base} cannot be reached: ${failureOf(error)}`,
        {
          cause: error,
        },
      )
    }
    const { status } = answer
    if (status === 401 || status === 403) {
      const message = `the schema registry at ${this.#base} refuses ${method} ${path} with status ${status}: check schemaRegistry.username and password, or token, and what they may do`
      throw new SidestreamError('SIDESTREAM_REGISTRY_ACCESS_DENIED', message, { status })
    }
    if (status >= 500 || status === 429 || status === 408) {
      const message = `the schema registry at ${this.#base} answers ${method} ${path} with status ${status}${said(answer.json)}`
      throw new SidestreamError('SIDESTREAM_REGISTRY_UNREACHABLE', message, { status })
    }
    return answer
  }

  #exchange(method: RegistryMethod, path: string, body: object | undefined): Promise<RegistryAnswer> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const headers = {
      ...this.#headers,
      ...(payload !== undefined && { 'content-type': 'application/vnd.schemaregistry.v1+json', 'content-length': payload.length }),
    }
    return new Promise((resolve, reject) => {
      const request = this.#send(`${this.#base}${path}`, { method, headers, agent: this.#agent }, (response) => {
        this.#read(response)
          .then(resolve, reject)
          .finally(() => clearTimeout(deadline))
      })
      const deadline = setTimeout(() => fail(new Error(`no answer within ${this.#timeoutMs} ms`)), this.#timeoutMs)
      const fail = (error: Error): void => {
        clearTimeout(deadline)
        reject(error)
        request.destroy()
      }
      request.on('error', fail)
      request.end(payload)
    })
  }

  async #read(response: IncomingMessage): Promise<RegistryAnswer> {
    const status = response.statusCode ?? 0
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > this.#answerBytes) {
        response.destroy()
        return { status, json: undefined, tooLarge: true }
      }
      chunks.push(chunk)
    }
    return { status, json: parsed(Buffer.concat(chunks).toString('utf8')), tooLarge: false }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The registry's own words, cut. */
export function said(json: unknown): string {
  const message = (json as { message?: unknown } | null | undefined)?.message
  return typeof message === 'string' && message !== '' ? `: ${message.slice(0, 300)}` : ''
}

/** What a socket or TLS error means for whoever has to mend it. */
function failureOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  const reason = message === '' || message === undefined ? String(code ?? error) : message
  if (code !== undefined && /CERT|SELF_SIGNED|LEAF_SIGNATURE/.test(code)) {
    return `its certificate is not trusted (${reason}): give the PEM file of its certificate authority as schemaRegistry.caFile, and name the host as the certificate does`
  }
  if (code === 'EPROTO')
    return `it does not speak TLS as expected (${reason.split('\n')[0]}): check whether schemaRegistry.url should begin with http:// or https://`
  return reason
}
