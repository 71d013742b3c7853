/** Options that commands share. */

import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import { fileError, parseConfig, SidestreamError } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { CommandOptions, ProjectCommands } from '../pipeline/index.ts'
import { createOutput } from './output.ts'

export const defaultConfigPath = 'sidestream.yaml'

/** A command with `--json`. */
export function plainCommand(name: string, description: string): Command {
  return new Command(name).description(description).option('--json', 'print one JSON object on stdout', false)
}

/** A command that works on a project: `--config` and `--json`. */
export function projectCommand(name: string, description: string): Command {
  return plainCommand(name, description).option('-c, --config <file>', 'configuration file', defaultConfigPath)
}

/** @throws SIDESTREAM_CONFIG_INVALID, also when there is no such file; SIDESTREAM_FILE_UNREADABLE */
export async function readConfig(path: string): Promise<Config> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fileError(path, error)
    throw new SidestreamError(
      'SIDESTREAM_CONFIG_INVALID',
      `there is no configuration file ${path}: name yours with --config; docs/reference/configuration.md shows the smallest`,
      { cause: error },
    )
  }
  return parseConfig(text, { env: process.env, path })
}

/** Finds the way to the project, runs `body`, and closes it whatever happens. */
export async function withCommands<T>(
  configPath: string,
  body: (commands: ProjectCommands, config: Config) => Promise<T>,
  options: CommandOptions = {},
): Promise<T> {
  const config = await readConfig(configPath)
  const { openCommands } = await import('../pipeline/index.ts') // loaded by those who work on a project
  const commands = await openCommands(config, { onWaiting: createOutput(false).note, ...options })
  try {
    return await body(commands, config)
  } finally {
    await commands.close()
  }
}

/** Aborts at the first Ctrl-C, so that a command can end in order; a second one ends the process. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController()
  process.once('SIGINT', () => controller.abort())
  return controller.signal
}

/** @throws SIDESTREAM_USAGE_INVALID */
export function wholeNumber(what: string, least = 0): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!Number.isSafeInteger(value) || value < least) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} must be a whole number of at least ${least}, not "${text}"`)
    }
    return value
  }
}

/** A number from `least` to `most`. @throws SIDESTREAM_USAGE_INVALID */
export function numberFrom(what: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() === '' || !(value >= least && value <= most))
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} must be a number from ${least} to ${most}, not "${text}"`)
    return value
  }
}

/** A share from 0 to below 1. @throws SIDESTREAM_USAGE_INVALID */
export function shareOf(what: string): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() === '' || !(value >= 0 && value < 1)) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} must be from 0 to below 1, not "${text}"`)
    }
    return value
  }
}

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

/** A time such as 90s, 10m or 2h, in milliseconds. @throws SIDESTREAM_USAGE_INVALID */
export function duration(what: string): (text: string) => number {
  return (text) => {
    const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? []
    if (number === undefined) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} must be a time such as 90s, 10m or 2h, not "${text}"`)
    }
    return Number(number) * unitMs[unit as keyof typeof unitMs]
  }
}

/** For options that take one value: given twice, one of the two would be lost silently. @throws SIDESTREAM_USAGE_INVALID */
export function once(what: string): (text: string, before: string | undefined) => string {
  return (text, before) => {
    if (before !== undefined) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} is given twice: run the command once for each`)
    return text
  }
}
