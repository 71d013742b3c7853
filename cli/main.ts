#!/usr/bin/env node
/**
 * The `sidestream` command: parses, calls `pipeline` or `replay`, prints. No command does work of its own.
 */

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { aucCommand } from './auc.ts'
import { deadLettersCommand } from './dead-letters.ts'
import { demoCommand } from './demo.ts'
import { distillCommand, embedCommand } from './distill.ts'
import { doctorCommand } from './doctor.ts'
import { getCommand } from './get.ts'
import { importCommand } from './import.ts'
import { reportError, reportUsage } from './output.ts'
import { refreshCommand } from './refresh.ts'
import { runCommand } from './run.ts'
import { schemasCommand } from './schemas.ts'
import { sidCommand } from './sid.ts'
import { versionsCommand } from './versions.ts'

function packageVersion(): string {
  // Sources stand one folder below the package, the build two.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string }).version
    } catch {
      continue
    }
  }
  return 'unknown'
}

function buildProgram(): Command {
  const program = new Command('sidestream')
    .description('Streams behavior into content embeddings and semantic IDs, and publishes them as whole versions.')
    .version(packageVersion())
  const commands = [
    demoCommand,
    runCommand,
    importCommand,
    distillCommand,
    embedCommand,
    sidCommand,
    refreshCommand,
    versionsCommand,
    getCommand,
    deadLettersCommand,
    schemasCommand,
    aucCommand,
    doctorCommand,
  ]
  for (const command of commands) program.addCommand(command())
  return throwing(program)
}

/** Makes a command and all below it throw instead of ending the process: commands that are added do not inherit it. */
function throwing(command: Command): Command {
  for (const child of command.commands) throwing(child)
  return command.exitOverride().showHelpAfterError('(add --help for what this command takes)')
}

async function main(argv: readonly string[]): Promise<void> {
  const json = argv.includes('--json')
  // Nothing that waits for the log or a thread keeps the process up by itself; a command that is not done does.
  const working = setInterval(() => {}, 60_000)
  try {
    await buildProgram().parseAsync(argv, { from: 'user' })
  } catch (error) {
    // A command that answers and yet failed (doctor) has set the exit code itself; errors come here.
    process.exitCode = error instanceof CommanderError ? reportUsage(error, json) : reportError(error, json)
  } finally {
    clearInterval(working)
  }
}

await main(process.argv.slice(2))
