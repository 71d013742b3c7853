/** `sidestream refresh`: train what is complete, judge, build and switch a version now. */

import { randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import { SidestreamError } from '../schemas/index.ts'
import type { ErrorCode } from '../schemas/index.ts'
import { startDaemon } from '../pipeline/index.ts'
import { noteLogger } from './logger.ts'
import { projectCommand, withProject } from './options.ts'
import { createOutput } from './output.ts'
import { meanLoss, roundTime } from './round-text.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly id?: string
}

export function refreshCommand(): Command {
  return projectCommand('refresh', 'Build, judge and switch a version from what is in the log now.')
    .option('--id <id>', 'command id: a refresh that was cut short goes on when it is given again')
    .action(async (options: Options) => {
      const output = createOutput(options.json)
      const id = options.id ?? randomUUID()
      const result = await withProject(
        options.config,
        async (project) => {
          const daemon = await startDaemon(project, {
            events: {
              onRound: ({ round, counts, losses }) =>
                output.note(
                  `round of ${roundTime(round, project.config)}: ${counts.rows} rows, loss ${meanLoss(losses)?.toFixed(4) ?? '-'}`,
                ),
              onTask: (task, done) => {
                if (task !== id) output.note(done.message)
              },
            },
          })
          try {
            await daemon.idle()
            return await daemon.refresh(id)
          } finally {
            await daemon.stop()
          }
        },
        noteLogger(output.note),
      )
      if (result.outcome !== 'live') throw new SidestreamError((result.code ?? 'SIDESTREAM_BUILD_REFUSED') as ErrorCode, result.message)
      output.result({ id, ...result }, result.message)
    })
}
