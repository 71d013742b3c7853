#!/usr/bin/env node
/**
 * The `sidestream` command: parses, calls `pipeline` or `replay`, prints. No command does work of its own.
 */

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { reportError, reportUsage } from './output.ts'

/** Every command by its name, in the order of the help: a command is loaded only when it is asked for. */
const loaders: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['demo', async () => (await import('./demo.ts')).demoCommand()],
  ['run', async () => (await import('./run.ts')).runCommand()],
  ['import', async () => (await import('./import.ts')).importCommand()],
  ['distill', async () => (await import('./distill.ts')).distillCommand()],
  ['embed', async () => (await import('./distill.ts')).embedCommand()],
  ['sid', async () => (await import('./sid.ts')).sidCommand()],
  ['refresh', async () => (await import('./refresh.ts')).refreshCommand()],
  ['versions', async () => (await import('./versions.ts')).versionsCommand()],
  ['get', async () => (await import('./get.ts')).getCommand()],
  ['dead-letters', async () => (await import('./dead-letters.ts')).deadLettersCommand()],
  ['schemas', async () => (await import('./schemas.ts')).schemasCommand()],
  ['auc', async () => (await import('./auc.ts')).aucCommand()],
  ['doctor', async () => (await import('./doctor.ts')).doctorCommand()],
])

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

/** @param first - word after `sidestream`: the one command that is needed; all are when it names none, to be listed or suggested */
async function buildProgram(first: string | undefined): Promise<Command> {
  const program = new Command('sidestream')
    .description('Streams behavior into content embeddings and semantic IDs, and publishes them as whole versions.')
    .version(packageVersion())
  const named = first === undefined ? undefined : loaders.get(first)
  const wanted = named === undefined ? [...loaders.values()] : [named]
  for (const command of await Promise.all(wanted.map((load) => load()))) program.addCommand(command)
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
    const program = await buildProgram(argv[0])
    await program.parseAsync(argv, { from: 'user' })
  } catch (error) {
    // A command that answers and yet failed (doctor) has set the exit code itself; errors come here.
    process.exitCode = error instanceof CommanderError ? reportUsage(error, json) : reportError(error, json)
  } finally {
    clearInterval(working)
  }
}

await main(process.argv.slice(2))
