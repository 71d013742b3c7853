/** `sidestream versions`: what was built, what is live, and how to change it. */

import { Command } from 'commander'
import type { ProjectCommands } from '../pipeline/index.ts'
import { projectCommand, wholeNumber, withCommands } from './options.ts'
import { createOutput, textTable } from './output.ts'
import { waitOption } from './wait-option.ts'
import type { WaitOption } from './wait-option.ts'

interface Options {
  readonly config: string
  readonly json: boolean
}

export function versionsCommand(): Command {
  // No options of its own: a group that has them would take them from its commands.
  const command = new Command('versions').description('The versions of a project.')
  const own = (name: string, description: string): Command => projectCommand(name, description)
  command.addCommand(
    own('list', 'all versions with state, parent and size').action(async (options: Options) => {
      const versions = await withCommands(options.config, (commands) => commands.listVersions())
      const rows = versions.map(({ version, state, parent, head, entries, bytes }) => [
        String(version),
        state,
        parent === null ? '-' : String(parent),
        String(entries),
        `${(bytes / 1024).toFixed(0)} KiB`,
        head,
      ])
      const text =
        rows.length === 0
          ? 'no version yet: import content, then run'
          : textTable(['version', 'state', 'parent', 'rows', 'size', 'head'], rows)
      createOutput(options.json).result({ versions }, text)
    }),
  )
  command.addCommand(
    own('show', 'everything that made one version')
      .argument('<version>', 'version number', wholeNumber('version', 1))
      .action(async (version: number, options: Options) => {
        const record = await withCommands(options.config, (commands) => commands.showVersion(version))
        createOutput(options.json).result(record, JSON.stringify(record, undefined, 2))
      }),
  )
  command.addCommand(
    waitOption(own('activate', 'make a kept or ready version live'))
      .argument('<version>', 'version number', wholeNumber('version', 1))
      .action(async (version: number, options: Options & WaitOption) => {
        const change = await decide(options, (commands) => commands.activateVersion(version))
        createOutput(options.json).result(change, `version ${change.version} is live (change ${change.seq})`)
      }),
  )
  command.addCommand(
    waitOption(own('rollback', "go back to the live version's parent")).action(async (options: Options & WaitOption) => {
      const change = await decide(options, (commands) => commands.rollbackVersion())
      createOutput(options.json).result(change, `rolled back: version ${change.version} is live (change ${change.seq})`)
    }),
  )
  command.addCommand(
    waitOption(own('gc', 'collect versions that nothing needs any more')).action(async (options: Options & WaitOption) => {
      const collected = await decide(options, (commands) => commands.collectVersions())
      createOutput(options.json).result(
        { collected },
        collected.length === 0 ? 'nothing to collect' : `collected versions ${collected.join(', ')}`,
      )
    }),
  )
  return command
}

/** What an owner elsewhere may have to decide: how long it is waited for is said on stderr. */
function decide<T>(options: Options & WaitOption, body: (commands: ProjectCommands) => Promise<T>): Promise<T> {
  return withCommands(options.config, body, {
    onNote: createOutput(options.json).note,
    deadlineMs: options.wait * 1000,
  })
}
