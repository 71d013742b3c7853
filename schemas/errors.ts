/**
 * The one error family. The code is the contract; its class names the reaction:
 * retryable (try again), fenced (somebody newer owns it), fatal (stop and tell), poison (dead letter, go on).
 * Invariant: messages say what was wrong, where, and what to do, and never hold a secret.
 */

export type ErrorClass = 'retryable' | 'fenced' | 'fatal' | 'poison'

/** Every stable code and its class. Codes are only ever added. */
export const errorClasses = {
  SIDESTREAM_LOG_UNAVAILABLE: 'retryable',
  SIDESTREAM_STORE_UNREACHABLE: 'retryable',
  SIDESTREAM_STORE_FULL: 'retryable',
  SIDESTREAM_REGISTRY_UNREACHABLE: 'retryable',
  SIDESTREAM_OWNER_UNAVAILABLE: 'retryable',

  SIDESTREAM_EPOCH_FENCED: 'fenced',
  SIDESTREAM_POINTER_MOVED: 'fenced',

  SIDESTREAM_USAGE_INVALID: 'fatal',
  SIDESTREAM_CONFIG_INVALID: 'fatal',
  SIDESTREAM_FILE_UNREADABLE: 'fatal',
  SIDESTREAM_FILE_INVALID: 'fatal',
  SIDESTREAM_DISK_FULL: 'fatal',
  SIDESTREAM_DIRECTORY_IN_USE: 'fatal',
  SIDESTREAM_ADDRESS_IN_USE: 'fatal',
  SIDESTREAM_LOG_ACCESS_DENIED: 'fatal',
  SIDESTREAM_LOG_CODEC_UNKNOWN: 'fatal',
  SIDESTREAM_LOG_CORRUPT: 'fatal',
  SIDESTREAM_LOG_WRITE_FAILED: 'fatal',
  SIDESTREAM_TOPIC_UNKNOWN: 'fatal',
  SIDESTREAM_TOPIC_MISMATCH: 'fatal',
  SIDESTREAM_STORE_CORRUPT: 'fatal',
  SIDESTREAM_STORE_ACCESS_DENIED: 'fatal',
  SIDESTREAM_STATE_GAP: 'fatal',
  SIDESTREAM_REGISTRY_ACCESS_DENIED: 'fatal',
  SIDESTREAM_REGISTRY_ANSWER_INVALID: 'fatal',
  SIDESTREAM_ARTIFACT_MISSING: 'fatal',
  SIDESTREAM_ARTIFACT_CORRUPT: 'fatal',
  SIDESTREAM_GRAPH_INVALID: 'fatal',
  SIDESTREAM_SESSION_FAILED: 'fatal',
  SIDESTREAM_SHAPE_MISMATCH: 'fatal',
  SIDESTREAM_TRAINING_DIVERGED: 'fatal',
  SIDESTREAM_ITEMS_TOO_FEW: 'fatal',
  SIDESTREAM_INPUT_TOO_LARGE: 'fatal',
  SIDESTREAM_VERSION_UNKNOWN: 'fatal',
  SIDESTREAM_VERSION_GONE: 'fatal',
  SIDESTREAM_VERSION_STATE_INVALID: 'fatal',
  SIDESTREAM_CLOSED: 'fatal',

  SIDESTREAM_GUARD_REFUSED: 'fatal',
  SIDESTREAM_BUDGET_REFUSED: 'fatal',
  SIDESTREAM_BUILD_REFUSED: 'fatal',
  SIDESTREAM_SCHEMA_REFUSED: 'fatal',

  SIDESTREAM_RECORD_UNDECODABLE: 'poison',
  SIDESTREAM_RECORD_SCHEMA_UNKNOWN: 'poison',
  SIDESTREAM_RECORD_TOO_LARGE: 'poison',
  SIDESTREAM_RECORD_INVALID: 'poison',
  SIDESTREAM_ID_INVALID: 'poison',
  SIDESTREAM_VECTOR_DIM_MISMATCH: 'poison',
  SIDESTREAM_VECTOR_NOT_FINITE: 'poison',
  SIDESTREAM_BEHAVIOR_UNKNOWN: 'poison',
  SIDESTREAM_EVENT_IN_FUTURE: 'poison',
} as const satisfies Record<string, ErrorClass>

export type ErrorCode = keyof typeof errorClasses

/** Codes that mean "asked for, judged, refused": the command line exits with 3. */
export const refusalCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'SIDESTREAM_GUARD_REFUSED',
  'SIDESTREAM_BUDGET_REFUSED',
  'SIDESTREAM_BUILD_REFUSED',
  'SIDESTREAM_SCHEMA_REFUSED',
])

const brand = Symbol.for('sidestream.error')

export interface ErrorDetails {
  readonly cause?: unknown
  readonly [detail: string]: unknown
}

/** Thrown by every room. `details` hold plain values for logs and dead letters, never secrets. */
export class SidestreamError extends Error {
  static {
    Object.defineProperty(this.prototype, brand, { value: true })
  }

  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, { cause, ...details }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'SidestreamError'
    this.code = code
    this.details = details
  }

  get class(): ErrorClass {
    return errorClasses[this.code]
  }
}

/** True for errors of this family, also across copies of the package. */
export function isSidestreamError(error: unknown): error is SidestreamError {
  return typeof error === 'object' && error !== null && brand in error
}

/** True when `error` belongs in the dead letters: the record is bad, not the machine. */
export function isPoison(error: unknown): error is SidestreamError {
  return isSidestreamError(error) && error.class === 'poison'
}

/** True for what may be over when it is tried again. */
export function isRetryable(error: unknown): error is SidestreamError {
  return isSidestreamError(error) && error.class === 'retryable'
}
