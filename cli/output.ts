/**
 * How every command speaks: results on stdout (one JSON object with `--json`), progress and notes on stderr.
 * Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 refused.
 */

import cliProgress from 'cli-progress'
import type { CommanderError } from 'commander'
import { isSidestreamError, refusalCodes } from '../schemas/index.ts'
import type { ErrorCode } from '../schemas/index.ts'

export const exitCodes = { done: 0, failed: 1, usage: 2, refused: 3 } as const

const usageCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['SIDESTREAM_USAGE_INVALID', 'SIDESTREAM_CONFIG_INVALID'])

export interface Output {
  readonly json: boolean
  /** The command's answer: `text` for people, `value` for programs. Called once, at the end. */
  result(value: object, text: string): void
  /** A line about what is going on, on stderr. */
  note(text: string): void
  /** A progress bar on a terminal, a line every few seconds elsewhere, none with `--json`. */
  progress(label: string): Progress
}

export interface Progress {
  /** @param share - of the work that is done, up to 1 @param note - how much that is */
  update(share: number, note: string): void
  end(): void
}

export function createOutput(json: boolean): Output {
  return {
    json,
    result: (value, text) => process.stdout.write(json ? `${JSON.stringify(value, replaceBigInts)}\n` : `${text}\n`),
    note: (text) => process.stderr.write(`${text}\n`),
    progress: (label) => (json ? noProgress : process.stderr.isTTY ? barProgress(label) : lineProgress(label)),
  }
}

function replaceBigInts(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

const noProgress: Progress = { update: () => {}, end: () => {} }

function barProgress(label: string): Progress {
  const bar = new cliProgress.SingleBar(
    { format: '{label} [{bar}] {percentage}% {note}', hideCursor: true, stream: process.stderr },
    cliProgress.Presets.shades_classic,
  )
  bar.start(1, 0, { label, note: '' })
  return { update: (share, note) => bar.update(share, { note }), end: () => bar.stop() }
}

function lineProgress(label: string): Progress {
  let last = Date.now()
  return {
    update: (share, note) => {
      if (Date.now() - last < 5000) return
      last = Date.now()
      process.stderr.write(`${label}: ${Math.floor(100 * share)}%${note === '' ? '' : `, ${note}`}\n`)
    },
    end: () => {},
  }
}

/** Columns padded to their widest cell: numbers to the right, text to the left. */
export function textTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((cell, i) => Math.max(cell.length, ...rows.map((row) => (row[i] ?? '').length)))
  const numeric = header.map((_, i) => rows.every((row) => /^(-|\d[\d.]*( \w+)?)$/.test(row[i] ?? '')))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd()
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

/** What the parser refused: it has told so on stderr already, this adds the answer for programs. Help and version are no errors. */
export function reportUsage({ exitCode, message }: CommanderError, json: boolean): number {
  if (exitCode === 0) return exitCodes.done
  if (json) printError('SIDESTREAM_USAGE_INVALID', message.replace(/^error: /, ''))
  return exitCodes.usage
}

/** Prints what went wrong and gives the exit code: the message and code for our errors, the stack for anything else. */
export function reportError(error: unknown, json: boolean): number {
  if (!isSidestreamError(error)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    if (json) printError(null, error instanceof Error ? error.message : text)
    process.stderr.write(`${text}\nThis is a defect of sidestream; please report it with the lines above.\n`)
    return exitCodes.failed
  }
  // What a refusal stands on, such as the curve of a budget, is part of the answer.
  if (json) printError(error.code, error.message, refusalCodes.has(error.code) ? error.details : {})
  process.stderr.write(`${error.code}: ${error.message}\n`)
  if (refusalCodes.has(error.code)) return exitCodes.refused
  return usageCodes.has(error.code) ? exitCodes.usage : exitCodes.failed
}

/** @param code - null for a defect, which has none */
function printError(code: ErrorCode | null, message: string, details: Readonly<Record<string, unknown>> = {}): void {
  process.stdout.write(`${JSON.stringify({ error: { code, message }, ...details }, replaceBigInts)}\n`)
}
