/** Options that commands share. */

import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import { fileError, parseConfig, SidestreamError } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import { openProject } from '../pipeline/index.ts'
import type { Logger, Project } from '../pipeline/index.ts'

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

/** Opens the project, runs `body`, and closes it whatever happens. */
export async function withProject<T>(configPath: string, body: (project: Project) => Promise<T>, logger?: Logger): Promise<T> {
  const project = await openProject(await readConfig(configPath), logger === undefined ? {} : { logger })
  try {
    return await body(project)
  } finally {
    await project.close()
  }
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

/** For options that take one value: given twice, one of the two would be lost silently. @throws SIDESTREAM_USAGE_INVALID */
export function once(what: string): (text: string, before: string | undefined) => string {
  return (text, before) => {
    if (before !== undefined) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${what} is given twice: run the command once for each`)
    return text
  }
}
