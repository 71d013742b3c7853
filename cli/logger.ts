/** The structured log of a command: pino on stderr, so that stdout stays the answer. */

import pino from 'pino'
import type { Logger } from '../pipeline/index.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export function stderrLogger(level: LogLevel): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }))
}
