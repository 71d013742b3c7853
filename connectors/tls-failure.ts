/**
 * What went wrong with an encrypted connection, in the same words for every server. These failures stay until an option, a file or
 * the server is changed.
 */

/** The part of Node's and OpenSSL's errors that says it. */
interface Failure {
  readonly code?: string | number | undefined
  readonly message?: string
}

/** Options of a driver for an encrypted connection; PEM texts. */
export interface TlsOptions {
  /** Certificate of the authority that signed the server's. Left out: those that Node trusts. */
  readonly ca?: string
  /** Our certificate and its key, where the server asks for one. */
  readonly cert?: string
  readonly key?: string
  /** Name that the server's certificate must have, where it is not the host that is connected to. */
  readonly servername?: string
}

const names = new Set(['ERR_TLS_CERT_ALTNAME_INVALID', 'HOSTNAME_MISMATCH'])
const times = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'])
const untrusted = /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|INVALID_CA|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH)/
const refused = /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|EPROTO)/

/**
 * @param server - as a message names it: `redis at localhost:6379`
 * @returns what is wrong and what to do; undefined for what is no matter of certificates or encryption
 */
export function tlsFailure({ code, message = '' }: Failure, server: string): string | undefined {
  if (typeof code !== 'string') return undefined
  if (names.has(code)) {
    return `the certificate of ${server} is made for another name (${message}): connect to a name that it has, or say which one to expect (servername)`
  }
  if (times.has(code)) {
    return `the certificate of ${server} is not valid now (${code}): renew it, and check the clocks of both machines`
  }
  if (untrusted.test(code)) {
    return `the certificate of ${server} is not trusted (${code}): give the certificate of the authority that signed it (ca)`
  }
  if (!refused.test(code)) return undefined
  if (/WRONG_VERSION_NUMBER|wrong version number|PACKET_LENGTH_TOO_LONG/i.test(`${code} ${message}`)) {
    return `the port of ${server} does not speak TLS: use its TLS port, or turn TLS off`
  }
  return `no TLS connection with ${server} (${code}): our certificate and key must fit together, and be what it asks for`
}
