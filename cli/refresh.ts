/** `sidestream refresh`: train what is complete, judge, build and switch a version now. */

import { randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import { SidestreamError } from '../schemas/index.ts'
import type { ErrorCode } from '../schemas/index.ts'
import type { SidCurvePoint } from '../pipeline/index.ts'
import { noteLogger } from './logger.ts'
import { interruptSignal, projectCommand, withCommands } from './options.ts'
import { createOutput } from './output.ts'
import { roundTime } from './round-text.ts'
import { curveText } from './sid/refresh.ts'
import type { ChurnBudget } from './sid/refresh.ts'
import { waitOption } from './wait-option.ts'
import type { WaitOption } from './wait-option.ts'

interface Options extends WaitOption {
  readonly config: string
  readonly json: boolean
  readonly id?: string
}

export function refreshCommand(): Command {
  return waitOption(projectCommand('refresh', 'Build, judge and switch a version from what is in the log now.'))
    .option('--id <id>', 'command id: a refresh that was cut short goes on when it is given again')
    .action(async (options: Options) => {
      const { note, result: answer } = createOutput(options.json)
      const id = options.id ?? randomUUID()
      const result = await withCommands(
        options.config,
        (commands, config) =>
          commands.refresh(
            id,
            {
              onRound: (round, rows, loss) => note(`round of ${roundTime(round, config)}: ${rows} rows, loss ${loss?.toFixed(4) ?? '-'}`),
              onTask: note,
              onNote: note,
            },
            interruptSignal(),
          ),
        { logger: noteLogger(note), deadlineMs: options.wait * 1000 },
      )
      if (result.outcome !== 'live') {
        const { code, message, details = {} } = result
        if (!options.json && Array.isArray(details['curve']))
          note(curveText(details['curve'] as SidCurvePoint[], details['budget'] as ChurnBudget))
        throw new SidestreamError((code ?? 'SIDESTREAM_BUILD_REFUSED') as ErrorCode, message, { id, ...details })
      }
      answer({ id, ...result }, result.message)
    })
}
