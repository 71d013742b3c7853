/** `sidestream versions`: what was built, what is live, and how to change it. */

import { Command } from 'commander'
import { activateVersion, collectVersions, listVersions, rollbackVersion, showVersion } from '../pipeline/index.ts'
import { projectCommand, withProject, wholeNumber } from './options.ts'
import { createOutput, textTable } from './output.ts'

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
      const versions = await withProject(options.config, listVersions)
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
        const record = await withProject(options.config, (project) => showVersion(project, version))
        createOutput(options.json).result(record, JSON.stringify(record, undefined, 2))
      }),
  )
  command.addCommand(
    own('activate', 'make a kept or ready version live')
      .argument('<version>', 'version number', wholeNumber('version', 1))
      .action(async (version: number, options: Options) => {
        const change = await withProject(options.config, (project) => activateVersion(project, version))
        createOutput(options.json).result(change, `version ${change.version} is live (change ${change.seq})`)
      }),
  )
  command.addCommand(
    own('rollback', "go back to the live version's parent").action(async (options: Options) => {
      const change = await withProject(options.config, rollbackVersion)
      createOutput(options.json).result(change, `rolled back: version ${change.version} is live (change ${change.seq})`)
    }),
  )
  command.addCommand(
    own('gc', 'collect versions that nothing needs any more').action(async (options: Options) => {
      const collected = await withProject(options.config, collectVersions)
      createOutput(options.json).result(
        { collected },
        collected.length === 0 ? 'nothing to collect' : `collected versions ${collected.join(', ')}`,
      )
    }),
  )
  return command
}
