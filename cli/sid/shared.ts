/** Options of several `sid` commands. */

import { availableParallelism } from 'node:os'
import type { Command } from 'commander'
import { SidestreamError } from '../../schemas/index.ts'
import type { ItemTable, SidCollisions, VectorFile } from '../../pipeline/index.ts'
import { once, wholeNumber } from '../options.ts'
import type { Output, Progress } from '../output.ts'

export interface VectorOptions {
  readonly in?: string
  readonly ids?: string
  readonly idColumn?: string
  readonly vectorColumn?: string
}

export const vectorFileText = 'vectors: .parquet or .csv with columns item_id, vector; .f32 with its JSON and ids; .npy with ids'

/** `--in` and how it is read. */
export function vectorOptions(command: Command, need: 'required' | 'optional' = 'required'): Command {
  const flags = '--in <file>'
  if (need === 'required') command.requiredOption(flags, vectorFileText, once('--in'))
  else command.option(flags, vectorFileText, once('--in'))
  return command
    .option('--ids <file>', 'ids of a .f32 or .npy file, one a line, where they do not stand beside it', once('--ids'))
    .option('--id-column <name>', 'column of the item in a table (item_id)', once('--id-column'))
    .option('--vector-column <name>', 'column of the vector in a table (vector)', once('--vector-column'))
}

/** What the options say of the file. */
export function vectorFile(file: string, { ids, idColumn, vectorColumn }: VectorOptions): VectorFile {
  return {
    in: file,
    ...(ids !== undefined && { ids }),
    ...(idColumn !== undefined && { idColumn }),
    ...(vectorColumn !== undefined && { vectorColumn }),
  }
}

/** Names of columns, for a file beside `--in`: they are those of `--in`, its ids are not. */
export function columnsOf({ idColumn, vectorColumn }: VectorOptions): VectorOptions {
  return { ...(idColumn !== undefined && { idColumn }), ...(vectorColumn !== undefined && { vectorColumn }) }
}

export function threadsOption(command: Command): Command {
  return command.option(
    '--threads <number>',
    'worker threads; the result does not depend on them',
    wholeNumber('--threads', 1),
    availableParallelism(),
  )
}

/** A table with something about items, and `--<name>-columns` for those of other names. */
export function tableOption(command: Command, name: string, meaning: string, columns: string): Command {
  return command
    .option(`--${name} <file>`, `${meaning}: .parquet or .csv with columns ${columns}`, once(`--${name}`))
    .option(
      `--${name}-columns <names>`,
      `other names of these columns, between a comma`,
      columnPair(`--${name}-columns`),
      columns.split(','),
    )
}

/** What `tableOption` gave; undefined without the file. */
export function itemTable(file: string | undefined, columns: readonly [string, string]): ItemTable | undefined {
  return file === undefined ? undefined : { file, columns }
}

function columnPair(what: string): (text: string) => [string, string] {
  return (text) => {
    const [item, value, ...more] = text.split(',').map((part) => part.trim())
    if (!item || !value || more.length > 0)
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} must be two names between a comma, not "${text}"`)
    return [item, value]
  }
}

/** Whole numbers between commas, such as 256,256,256. @throws SIDESTREAM_USAGE_INVALID */
export function wholeNumbers(what: string, least: number, most: number): (text: string) => number[] {
  return (text) => {
    const values = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)))
    if (!values.every((value) => Number.isInteger(value) && value >= least && value <= most)) {
      throw new SidestreamError(
        'SIDESTREAM_USAGE_INVALID',
        `${what} must be whole numbers from ${least} to ${most} between commas, such as 256,256,256, not "${text}"`,
      )
    }
    return values
  }
}

/** What a bound on items per ID came to. */
export function capacityText({ capacity, duplicates, moved, unresolved, publishedOver }: SidCollisions): string {
  const places = duplicates === 'together' ? 'identical vectors in one place' : 'identical vectors a place each'
  const over = publishedOver === 0 ? '' : `, ${publishedOver} beyond it keep their published ID`
  return `capacity ${capacity}, ${places}: ${moved} items moved, ${unresolved} found no room${over}`
}

/** What a suffix came to; nothing without one. @param kept - items that keep a published one; null where none can */
export function suffixLines(suffixes: number | null, kept: number | null = null): string[] {
  const staying = kept === null ? '' : `; ${kept} items keep the one that they were published with`
  return suffixes === null ? [] : [`ID and suffix are 1-1, with suffixes below ${suffixes}: numbers without a meaning${staying}`]
}

/** A bar for each phase of a command. */
export class PhaseBars<P extends string> {
  readonly #output: Output
  readonly #labels: Readonly<Record<P, string>>
  #bar: Progress | undefined
  #phase: P | undefined

  constructor(output: Output, labels: Readonly<Record<P, string>>) {
    this.#output = output
    this.#labels = labels
  }

  readonly show = ({ phase, share, note }: { readonly phase: P; readonly share: number; readonly note: string }): void => {
    if (phase !== this.#phase) this.end()
    this.#phase = phase
    this.#bar ??= this.#output.progress(this.#labels[phase])
    this.#bar.update(share, note)
  }

  end(): void {
    this.#bar?.end()
    this.#bar = undefined
  }
}

/** @throws SIDESTREAM_USAGE_INVALID */
export function share(what: string): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() === '' || !(value >= 0 && value <= 1))
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} must be a share from 0 to 1, not "${text}"`)
    return value
  }
}

/** Ends an interrupted command with a message instead of the abort itself. @param advice - what is left and what to do */
export function interrupted(signal: AbortSignal, advice: string): (error: unknown) => never {
  return (error) => {
    if (!signal.aborted) throw error
    throw new SidestreamError('SIDESTREAM_CLOSED', `interrupted: ${advice}`, { cause: error })
  }
}
