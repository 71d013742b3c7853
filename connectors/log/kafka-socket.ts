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
const lengthBytes = 4
const keepAliveMs = 60_000
/** Code of the error for a port that speaks TLS while we do not. */
export const tlsWanted = 'ERR_SSL_TLS_WANTED'

/**
 * Where all plain connections of this thread read into: what is read is copied away before anything else is. Node would make a buffer
 * for every read instead, memory outside of the heap that has V8 collect the whole heap again and again.
 */
const readBuffer = Buffer.allocUnsafeSlow(262_144)

export function openSocket({ host, port, ssl, onConnect }: SocketTarget): Socket {
  const answers = new Answers()
  const take = (chunk: Uint8Array): void => {
    try {
      answers.take(chunk)
    } catch (error) {
      socket.destroy(error as Error)
    }
  }
  const onread = {
    buffer: readBuffer,
    callback: (length: number): boolean => {
      take(readBuffer.subarray(0, length))
      return true
    },
  }
  const socket: Socket = ssl
    ? connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }), ...ssl }, onConnect)
    : connect({ host, port, onread }, onConnect)
  const on = socket.on.bind(socket) as (event: string, listener: (...values: unknown[]) => void) => Socket
  if (ssl) on('data', take as (chunk: unknown) => void)
  socket.on = ((event: string, listener: (...values: unknown[]) => void) => {
    if (event !== 'data') return on(event, listener)
    answers.listener = listener
    return socket
  }) as Socket['on']
  socket.setMaxListeners(0) // kafkajs adds one with every try to end a connection that is not made yet, of which Node would warn
  return socket.setKeepAlive(true, keepAliveMs).setNoDelay(true)
}

/** Collects chunks until an answer, its length before it, is complete. */
class Answers {
  listener: (answer: Buffer) => void = () => {}
  /** The answer that is being read, as long as is known of it: of its length first. */
  #answer = Buffer.alloc(lengthBytes)
  #read = 0

  /** @throws what the listener throws; an error for what no broker sends */
  take(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + this.#answer.length - this.#read)
      this.#answer.set(part, this.#read)
      this.#read += part.length
      at += part.length
      if (this.#read < this.#answer.length) return
      if (this.#read === lengthBytes && this.#begin()) continue
      const answer = this.#answer
      this.#answer = Buffer.alloc(lengthBytes)
      this.#read = 0
      this.listener(answer)
    }
  }

  /** Makes room for an answer whose length is known. @returns false when it has no more bytes than that */
  #begin(): boolean {
    const prefix = this.#answer
    const length = prefix.readInt32BE(0)
    if (length < 0 || length > answerLimitBytes) throw stranger(prefix)
    if (length === 0) return false
    this.#answer = Buffer.allocUnsafeSlow(lengthBytes + length)
    this.#answer.set(prefix)
    return true
  }
}

/** Something else than an answer of a broker. */
function stranger(bytes: Buffer): Error {
  const isTlsAlert = bytes[0] === 0x15 && bytes[1] === 3
  if (isTlsAlert) return Object.assign(new Error('the port speaks TLS'), { code: tlsWanted })
  return new Error('the answer does not come from a Kafka broker: check the port')
}
