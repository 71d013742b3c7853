/**
 * What went wrong between us and Redis, as one of our codes.
 * Invariant: no secret gets out: the arguments that ioredis hangs on its errors (passwords, values) are dropped.
 */

import { SidestreamError, isSidestreamError } from '../../schemas/index.ts'
import { tlsFailure } from '../tls-failure.ts'

/** What was being done, for the message. */
export interface RedisPlace {
  /** `host:port`, without user and password. */
  readonly address: string
  /** Command and key, when there is one. */
  readonly call?: string
}

/** Said of a server that takes no connection and does not refuse it either. */
export const unansweredText = 'did not answer (if always: should it be asked with TLS, or without?)'

/** Turns whatever ioredis or the server said into an error of ours; one of ours is given back as it is. */
export function redisFailure(error: unknown, place: RedisPlace): SidestreamError {
  if (isSidestreamError(error)) return error
  const cause = withoutArguments(error)
  const { message } = cause
  const code = 'code' in cause ? String(cause.code) : ''
  const at = `redis at ${place.address}`
  const call = place.call === undefined ? '' : ` (in ${place.call})`
  const details = { cause, address: place.address }
  const says = (...words: string[]): boolean => words.some((word) => message.includes(word))

  if (says('WRONGPASS', 'NOAUTH', 'invalid password', 'invalid username-password')) {
    return new SidestreamError(
      'SIDESTREAM_STORE_ACCESS_DENIED',
      `${at} does not accept the user name and password: ${message.replace(/\.$/, '')}; set both as the server knows them`,
      { ...details, concerns: 'login' },
    )
  }
  if (says('NOPERM', 'ACL failure', 'The user executing the script', 'unknown command', 'unknown subcommand', 'protected mode')) {
    return new SidestreamError(
      'SIDESTREAM_STORE_ACCESS_DENIED',
      `${at} does not let this user do it: ${message}${call}; docs/reference/redis-store.md has the ACL line to give the user`,
      details,
    )
  }
  if (says('OOM command not allowed')) {
    return new SidestreamError(
      'SIDESTREAM_STORE_FULL',
      `${at} is out of memory${call}: collect versions (\`versions gc\`), keep fewer, or raise its maxmemory; tried again until there is room`,
      details,
    )
  }
  if (says('MISCONF')) {
    return new SidestreamError(
      'SIDESTREAM_STORE_FULL',
      `${at} refuses writes because it cannot save to its disk${call}: free space there or mend its persistence; tried again until it can (${message})`,
      details,
    )
  }
  if (says('WRONGTYPE', 'CORRUPT')) {
    return new SidestreamError(
      'SIDESTREAM_STORE_CORRUPT',
      `${at} holds something that is not ours${call}: ${message}; find what writes keys under ss:, delete them, and build the version anew`,
      details,
    )
  }
  if (says('DB index is out of range', 'invalid DB index', 'SELECT is not allowed')) {
    return new SidestreamError('SIDESTREAM_CONFIG_INVALID', `${at} has no such database: ${message}; a cluster has only number 0`, details)
  }
  if (says('cluster support disabled')) {
    return new SidestreamError('SIDESTREAM_CONFIG_INVALID', `${at} is no cluster: set cluster to false`, details)
  }
  const tls = tlsFailure({ code, message }, at)
  if (tls !== undefined) return new SidestreamError('SIDESTREAM_CONFIG_INVALID', tls, { ...details, concerns: 'certificate' })
  return new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', `${at} cannot be used now${call}: ${describe(cause, code)}`, details)
}

function describe(cause: Error, code: string): string {
  if (code === 'ECONNREFUSED') return 'nothing listens there'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `its name is unknown (${code})`
  if (code === 'ETIMEDOUT') return `it ${unansweredText}`
  const text = cause.message === '' ? code : cause.message
  if (text.includes('max retries per request')) return 'the connection was lost before it answered (if always: does it expect TLS?)'
  if (text === 'Connection is closed.' || text.includes("Stream isn't writeable") || code === 'ECONNRESET' || code === 'EPIPE') {
    return 'it closed the connection (if always: does it expect TLS?)'
  }
  return text
}

/** A copy with name, message, code and stack only. */
function withoutArguments(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error))
  const copy = new Error(error.message)
  copy.name = error.name
  if (error.stack !== undefined) copy.stack = error.stack
  if ('code' in error) Object.defineProperty(copy, 'code', { value: error.code, enumerable: true })
  return copy
}
