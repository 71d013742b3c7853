/** The structured log of a command: pino on stderr, so that stdout stays the answer. */

import pino from 'pino'
import type { Logger } from '../pipeline/index.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export function stderrLogger(level: LogLevel): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }))
}

/** Warnings and errors as plain lines, for commands that people watch. */
export function noteLogger(note: (text: string) => void): Logger {
  const tell = (kind: string) => (_: object, message: string) => note(`${kind}: ${message}`)
  return { debug: () => {}, info: () => {}, warn: tell('warning'), error: tell('error') }
}
