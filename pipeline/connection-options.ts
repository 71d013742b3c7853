/** What drivers need to reach a server, from how the configuration says it: addresses, logins, certificates. */

import { readFile } from 'node:fs/promises'
import type { TlsOptions } from '../connectors/index.ts'
import { fileError, isSidestreamError, SidestreamError } from '../schemas/index.ts'

/** The TLS options of a connection group of the configuration. */
export interface TlsFiles {
  readonly tls: boolean
  readonly caFile: string | null
  readonly certFile: string | null
  readonly keyFile: string | null
  readonly servername: string | null
}

/** The group of options that says how a server is reached. */
export type ConnectionGroup = 'log.kafka' | 'store.redis'

const optionsBehind: Readonly<Record<ConnectionGroup, Readonly<Record<'login' | 'certificate' | 'address', readonly string[]>>>> = {
  'log.kafka': {
    login: ['log.kafka.sasl', 'log.kafka.username', 'SIDESTREAM_KAFKA_PASSWORD'],
    certificate: ['log.kafka.caFile', 'log.kafka.servername', 'log.kafka.tls', 'log.kafka.brokers'],
    address: ['log.kafka.brokers', 'log.kafka.tls', 'log.kafka.connectTimeoutMs'],
  },
  'store.redis': {
    login: ['store.redis.username', 'SIDESTREAM_REDIS_PASSWORD'],
    certificate: ['store.redis.caFile', 'store.redis.servername', 'store.redis.tls', 'store.redis.nodes'],
    address: ['store.redis.nodes', 'store.redis.tls', 'store.redis.connectTimeoutMs'],
  },
}

/** How a connection is opened. */
export interface Reaching {
  readonly group: ConnectionGroup
  readonly connectTimeoutMs: number
  /** Told what is waited for, at once and every ten seconds, and when it has come. */
  readonly onWaiting: (text: string) => void
}

const repeatMs = 10_000

/** Opens a connection and tells what it waits for; an error that options can mend names them. */
export async function reach<T>(
  { group, connectTimeoutMs, onWaiting }: Reaching,
  open: (onWaiting: (reason: SidestreamError) => void) => Promise<T>,
): Promise<T> {
  const begunMs = performance.now()
  let toldMs = -Infinity
  const afterMs = (): string => `${((performance.now() - begunMs) / 1000).toFixed(1)} s`
  const tell = ({ message }: SidestreamError): void => {
    if (performance.now() - toldMs < repeatMs) return
    toldMs = performance.now()
    onWaiting(`waiting: ${message}; given up after ${connectTimeoutMs / 1000} s (${group}.connectTimeoutMs)`)
  }
  try {
    const opened = await open(tell)
    if (toldMs > -Infinity) onWaiting(`what waited goes on, after ${afterMs()}`)
    return opened
  } catch (error) {
    if (!isSidestreamError(error)) throw error
    const concerns = error.class === 'retryable' ? 'address' : error.details['concerns']
    if (concerns !== 'address' && concerns !== 'login' && concerns !== 'certificate') throw error
    const options = optionsBehind[group][concerns].join(', ')
    const advice = concerns === 'address' ? `; given up after ${afterMs()}: start it, or mend its address` : ''
    throw new SidestreamError(error.code, `${error.message}${advice} (options: ${options})`, { ...error.details, cause: error })
  }
}

/** `host:port`, with brackets around an IPv6 host, as two. */
export function hostAndPort(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) }
}

/** The entries that are not null: drivers have defaults of their own for what is left out. */
export function given<T extends object>(options: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null)) as { [K in keyof T]?: NonNullable<T[K]> }
}

/**
 * What a driver needs to encrypt, the files as text; undefined for a connection without TLS.
 * @throws SIDESTREAM_FILE_UNREADABLE; SIDESTREAM_CONFIG_INVALID for a file that is not PEM
 */
export async function readTls(
  { tls, caFile, certFile, keyFile, servername }: TlsFiles,
  group: ConnectionGroup,
): Promise<TlsOptions | undefined> {
  if (!tls) return undefined
  return {
    ...(caFile !== null && { ca: await readPem(caFile, `${group}.caFile`) }),
    ...(certFile !== null && { cert: await readPem(certFile, `${group}.certFile`) }),
    ...(keyFile !== null && { key: await readPem(keyFile, `${group}.keyFile`) }),
    ...(servername !== null && { servername }),
  }
}

/**
 * A certificate or key as text.
 * @param option - which option names the file
 * @throws SIDESTREAM_FILE_UNREADABLE; SIDESTREAM_CONFIG_INVALID for a file that is not PEM; both name the option
 */
export async function readPem(path: string, option: string): Promise<string> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const { code, message, details } = fileError(path, error)
    throw new SidestreamError(code, `${message} (option: ${option})`, { ...details, cause: error })
  }
  if (text.includes('-----BEGIN ')) return text
  throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `${path} is no PEM file: it has no BEGIN line (option: ${option})`, { file: path })
}
