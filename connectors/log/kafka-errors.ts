/**
 * Errors of kafkajs as errors of this project: what waiting can mend is retryable, what it cannot is fatal and says what to do.
 * Invariant: a message names brokers, topics and groups, never a user's secret; the first error stays as the cause.
 */
import { isSidestreamError, SidestreamError } from '../../schemas/index.ts'
import type { ErrorCode } from '../../schemas/index.ts'
import { tlsFailure } from '../tls-failure.ts'
import { tlsWanted } from './kafka-socket.ts'

/** What kafkajs puts on its errors. */
interface KafkaFailure {
  readonly name?: string
  readonly message?: string
  /** Protocol errors. */
  readonly type?: string
  /** Of the operating system or of OpenSSL. */
  readonly code?: string | number
  readonly cause?: unknown
  readonly originalError?: unknown
  /** Of aggregates. */
  readonly errors?: readonly unknown[]
}

/** The error, its causes and its parts, outermost first. */
function* chain(error: unknown): Generator<KafkaFailure> {
  const seen = new Set<unknown>()
  const waiting = [error]
  while (waiting.length > 0) {
    const next = waiting.shift()
    if (typeof next !== 'object' || next === null || seen.has(next)) continue
    seen.add(next)
    yield next as KafkaFailure
    const { cause, originalError, errors = [] } = next as KafkaFailure
    waiting.push(cause, originalError, ...errors)
  }
}

/** True when the error or one of its causes is of one of these protocol types. */
export function isOfType(error: unknown, ...types: readonly string[]): boolean {
  for (const { type } of chain(error)) if (type !== undefined && types.includes(type)) return true
  return false
}

/** The group has given the partition, or this member, up. */
export function isNotMember(error: unknown): boolean {
  return isOfType(error, 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS', 'FENCED_INSTANCE_ID')
}

const denied: Readonly<Record<string, string>> = {
  TOPIC_AUTHORIZATION_FAILED: 'this user may not use the topic: grant READ, WRITE and DESCRIBE on it',
  GROUP_AUTHORIZATION_FAILED: 'this user may not use the group: grant READ on it',
  CLUSTER_AUTHORIZATION_FAILED: 'this user may not do that to the cluster: grant CREATE for new topics, IDEMPOTENT_WRITE for sending',
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 'this user may not use the transactional id: grant WRITE and DESCRIBE on it',
  SASL_AUTHENTICATION_FAILED: 'check user name, password and mechanism',
  UNSUPPORTED_SASL_MECHANISM: 'the brokers do not offer this SASL mechanism: choose another',
  ILLEGAL_SASL_STATE: 'the brokers expect another way to log in: check the SASL mechanism, and that the port is the one for it',
  SECURITY_DISABLED: 'the brokers have no authorizer',
}

/** Errors that say what is wrong with a request: no other try will end otherwise. */
const invalid: Readonly<Record<string, string>> = {
  INVALID_REPLICATION_FACTOR: 'there are fewer brokers than copies asked for: lower the replication factor',
  INVALID_PARTITIONS: 'the brokers refuse this partition count',
  INVALID_CONFIG: 'the brokers refuse a setting of the topic',
  POLICY_VIOLATION: 'a policy of the brokers forbids it',
  INVALID_SESSION_TIMEOUT: 'the session timeout is outside of what the brokers allow (group.min and group.max.session.timeout.ms)',
  INVALID_TRANSACTION_TIMEOUT: 'the transaction timeout is longer than the brokers allow (transaction.max.timeout.ms)',
  INVALID_GROUP_ID: 'the brokers refuse the name of the group',
  INCONSISTENT_GROUP_PROTOCOL: 'other members of the group use another assignment protocol: choose another group name',
  UNSUPPORTED_VERSION: 'the brokers do not speak a version that kafkajs does',
  UNSUPPORTED_FOR_MESSAGE_FORMAT: 'the topic has a message format of before Kafka 0.11',
}

/** Codes of the operating system, in the words of the Redis driver. */
const away: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'its name is unknown (ENOTFOUND)',
  EAI_AGAIN: 'its name is unknown (EAI_AGAIN)',
}

/** What may be behind errors that do not say it: they look like those of a broker that goes away. */
const hints: readonly (readonly [said: string, hint: string])[] = [
  ['before secure TLS connection', ' (a port that does not speak TLS ends encrypted connections so)'],
  ['losed connection', ' (a port that expects a login closes other connections so)'],
]

/**
 * @param doing - what was tried, as a message begins: `cannot read topic orders`
 * @returns an error of this project as it is, anything else translated
 */
export function kafkaError(error: unknown, doing: string): SidestreamError {
  for (const found of chain(error)) {
    if (isSidestreamError(found)) return found
    const translated = translate(found)
    if (translated !== undefined) {
      const [code, advice, concerns] = translated
      return new SidestreamError(code, `${doing}: ${advice}`, { cause: error, ...(concerns !== undefined && { concerns }) })
    }
  }
  for (const { code } of chain(error)) {
    const why = typeof code === 'string' ? away[code] : undefined
    if (why !== undefined) return new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', `${doing}: ${why}`, { cause: error })
  }
  const told = [...new Set([...chain(error)].map(({ message }) => message).filter((message) => message !== undefined && message !== ''))]
  const hint = hints.find(([said]) => told.some((message) => message!.includes(said)))?.[1] ?? ''
  return new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', `${doing}: ${told.at(-1) ?? String(error)}${hint}`, { cause: error })
}

/** @returns the error for a batch of which nothing was or will be appended; undefined for any other */
export function refusal(error: unknown, doing: string): SidestreamError | undefined {
  if (isOfType(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE')) {
    const message = `${doing}: larger than the topic takes (max.message.bytes): make the record smaller, or raise the topic's limit`
    return new SidestreamError('SIDESTREAM_RECORD_TOO_LARGE', message, { cause: error })
  }
  if (isOfType(error, 'INVALID_RECORD', 'INVALID_TIMESTAMP')) {
    const message = `${doing}: the broker refuses a record (a compacted topic takes no null keys; times must be near the broker's)`
    return new SidestreamError('SIDESTREAM_RECORD_INVALID', message, { cause: error })
  }
  const told = kafkaError(error, doing)
  return told.code === 'SIDESTREAM_LOG_ACCESS_DENIED' ? told : undefined
}

/** @returns code, advice and, where it is one of these, which part of the connection it concerns */
function translate({ name, type, code, message = '' }: KafkaFailure): readonly [ErrorCode, string, ('login' | 'certificate')?] | undefined {
  if (type !== undefined && denied[type] !== undefined)
    return type.includes('SASL') ? ['SIDESTREAM_LOG_ACCESS_DENIED', denied[type], 'login'] : ['SIDESTREAM_LOG_ACCESS_DENIED', denied[type]]
  if (type !== undefined && invalid[type] !== undefined) return ['SIDESTREAM_CONFIG_INVALID', invalid[type]]
  if (name === 'KafkaJSSASLAuthenticationError')
    return ['SIDESTREAM_LOG_ACCESS_DENIED', 'the brokers refused the login: check user name, password and mechanism', 'login']
  if (name === 'KafkaJSNotImplemented')
    return ['SIDESTREAM_LOG_CODEC_UNKNOWN', `${message}: have it written with gzip, snappy, lz4 or zstd`]
  if (code === tlsWanted)
    return ['SIDESTREAM_CONFIG_INVALID', 'the port of the broker speaks TLS: turn TLS on, or use another port', 'certificate']
  const tls = tlsFailure({ code, message }, 'the broker')
  return tls === undefined ? undefined : ['SIDESTREAM_CONFIG_INVALID', tls, 'certificate']
}
