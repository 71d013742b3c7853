/** `sidestream get`: what the store says of items. */

import type { Command } from 'commander'
import { projectCommand, wholeNumber, withCommands } from './options.ts'
import { createOutput } from './output.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly view?: string
  readonly atVersion?: number
}

export function getCommand(): Command {
  return projectCommand('get', 'Read the published features of items, all from one version.')
    .argument('<item...>', 'item ids')
    .option('--view <name>', 'view to read (default: the one that owns the semantic IDs)')
    .option('--at-version <n>', 'read this version instead of the live one', wholeNumber('--at-version', 1))
    .action(async (items: string[], options: Options) => {
      const answer = await withCommands(options.config, (commands) =>
        commands.readFeatures({
          items,
          ...(options.view !== undefined && { view: options.view }),
          ...(options.atVersion !== undefined && { version: options.atVersion }),
        }),
      )
      const rows = items.map((item, i) => {
        const feature = answer.features[i]
        if (feature === undefined) return { item, found: false as const }
        const { sid, sidOrigin, vector, dtype, eventTs } = feature
        return { item, found: true as const, sid: [...sid], sidOrigin, eventTs, dtype, vector: [...vector] }
      })
      const text = rows.map((row) => {
        if (!row.found) return `${row.item}: not in version ${answer.version}`
        const head = row.vector
          .slice(0, 6)
          .map((x) => x.toFixed(4))
          .join(', ')
        return `${row.item}: semantic ID ${row.sid.join('-')} (${row.sidOrigin}), content of ${new Date(row.eventTs).toISOString()}, ${row.vector.length} ${row.dtype} numbers [${head}, …]`
      })
      createOutput(options.json).result({ version: answer.version, items: rows }, [`version ${answer.version}`, ...text].join('\n'))
    })
}
