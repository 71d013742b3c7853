/** What drivers need to reach a server, from how the configuration says it: addresses, logins, certificates. */

import { readFile } from 'node:fs/promises'
import { fileError, SidestreamError } from '../schemas/index.ts'

/** The TLS options of a connection group of the configuration. */
export interface TlsFiles {
  readonly tls: boolean
  readonly caFile: string | null
  readonly certFile: string | null
  readonly keyFile: string | null
}

/** PEM text; what is left out is Node's own choice. */
export interface TlsText {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
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
 * The texts of the files; undefined for a connection without TLS.
 * @throws SIDESTREAM_FILE_UNREADABLE; SIDESTREAM_CONFIG_INVALID for a file that is not PEM
 */
export async function readTls({ tls, caFile, certFile, keyFile }: TlsFiles): Promise<TlsText | undefined> {
  if (!tls) return undefined
  return {
    ...(caFile !== null && { ca: await readPem(caFile) }),
    ...(certFile !== null && { cert: await readPem(certFile) }),
    ...(keyFile !== null && { key: await readPem(keyFile) }),
  }
}

async function readPem(path: string): Promise<string> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw fileError(path, error)
  }
  if (text.includes('-----BEGIN ')) return text
  throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `${path} is no PEM file: it has no BEGIN line`, { file: path })
}
