/**
 * Connections to brokers that hand kafkajs whole answers only. kafkajs keeps what it has of an answer when a connection is cut, and
 * reads the next connection's bytes as its rest: garbage, and at times an exception that nobody catches.
 * Invariants: a listener for data gets one whole answer at a time, of one connection; nothing it throws ends the process.
 */
import { connect, isIP } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'

export interface SocketTarget {
  readonly host: string
  readonly port: number
  readonly ssl: ConnectionOptions | undefined
  readonly onConnect: () => void
}

/** More than any answer has; what says it has more comes from something else than a broker. */
const answerLimitBytes = 268_435_456
const keepAliveMs = 60_000
/** Code of the error for a port that speaks TLS while we do not. */
export const tlsWanted = 'ERR_SSL_TLS_WANTED'

export function openSocket({ host, port, ssl, onConnect }: SocketTarget): Socket {
  const socket = ssl
    ? connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }), ...ssl }, onConnect)
    : connect({ host, port }, onConnect)
  const on = socket.on.bind(socket) as (event: string, listener: (...values: unknown[]) => void) => Socket
  socket.on = ((event: string, listener: (...values: unknown[]) => void) =>
    on(event, event === 'data' ? (wholeAnswers(socket, listener) as (...values: unknown[]) => void) : listener)) as Socket['on']
  socket.setMaxListeners(0) // kafkajs adds one with every try to end a connection that is not made yet, of which Node would warn
  return socket.setKeepAlive(true, keepAliveMs).setNoDelay(true)
}

/** Collects chunks until an answer, its length before it, is complete. */
function wholeAnswers(socket: Socket, listener: (answer: Buffer) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = []
  let buffered = 0
  let needed = 4
  return (chunk) => {
    chunks.push(chunk)
    buffered += chunk.length
    try {
      while (buffered >= needed) {
        const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, buffered)
        const length = 4 + bytes.readInt32BE(0)
        if (length < 4 || length > answerLimitBytes) throw stranger(bytes)
        const isWhole = buffered >= length
        const rest = isWhole ? bytes.subarray(length) : bytes
        chunks = rest.length === 0 ? [] : [rest]
        buffered = rest.length
        needed = isWhole ? 4 : length
        if (isWhole) listener(bytes.subarray(0, length))
      }
    } catch (error) {
      socket.destroy(error as Error)
    }
  }
}

/** Something else than an answer of a broker. */
function stranger(bytes: Buffer): Error {
  const isTlsAlert = bytes[0] === 0x15 && bytes[1] === 3
  if (isTlsAlert) return Object.assign(new Error('the port speaks TLS'), { code: tlsWanted })
  return new Error('the answer does not come from a Kafka broker: check the port')
}
