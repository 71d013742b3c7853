/** `sidestream import`: files into the log's topics. */

import { dirname } from 'node:path'
import type { Command } from 'commander'
import { SidestreamError } from '../schemas/index.ts'
import type { ImportRequest } from '../pipeline/index.ts'
import { interruptSignal, once, projectCommand, withCommands } from './options.ts'
import { createOutput } from './output.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly interactions?: string
  readonly content?: string
  readonly idEmbeddings?: string
  readonly pairs?: string
  readonly recipe?: string
  readonly data?: string
  readonly end: boolean
}

export function importCommand(): Command {
  return projectCommand(
    'import',
    'Append interactions, content, ID embeddings and item pairs from files (Parquet, CSV, CSV.gz) to the topics.',
  )
    .option('--interactions <file>', 'columns user_id, item_id, ts (ms), behaviors', once('--interactions'))
    .option('--content <file>', 'columns item_id, ts (ms), one vector column per modality', once('--content'))
    .option('--id-embeddings <file>', 'columns entity, entity_id, ts (ms), vector, exposures', once('--id-embeddings'))
    .option('--pairs <file>', 'columns source, query_id, target_id, optional score, ts (ms)', once('--pairs'))
    .option('--recipe <file>', 'read files of another shape as this recipe says', once('--recipe'))
    .option('--data <dir>', "where the recipe's files are (default: beside the recipe)")
    .option('--end', 'nothing more will come: close every partition', false)
    .action(async (options: Options) => {
      const output = createOutput(options.json)
      const given = [options.interactions, options.content, options.idEmbeddings, options.pairs, options.recipe]
      if (given.every((file) => file === undefined) && !options.end) {
        throw new SidestreamError(
          'SIDESTREAM_USAGE_INVALID',
          'nothing to import: give --interactions, --content, --id-embeddings, --pairs, --recipe or --end',
        )
      }
      if (options.data !== undefined && options.recipe === undefined) {
        throw new SidestreamError('SIDESTREAM_USAGE_INVALID', '--data says where the files of a --recipe are; name the recipe as well')
      }
      const report = await withCommands(options.config, (commands) =>
        commands.importFiles(
          requestOf(options),
          {
            onRefused: (reason) => output.note(`left out: ${reason}`),
            onNote: output.note,
            onProgress: throttled(({ appended, skipped }) =>
              output.note(`imported ${appended} rows${skipped > 0 ? `, ${skipped} were there already` : ''}`),
            ),
          },
          interruptSignal(),
        ),
      )
      const text = `imported ${report.appended} rows, ${report.skipped} were there already, ${report.refused} refused${options.end ? '; the topics are closed' : ''}`
      output.result({ ...report, ended: options.end }, text)
    })
}

function requestOf({ interactions, content, idEmbeddings, pairs, recipe, data, end }: Options): ImportRequest {
  return {
    end,
    ...(interactions !== undefined && { interactions }),
    ...(content !== undefined && { content }),
    ...(idEmbeddings !== undefined && { idEmbeddings }),
    ...(pairs !== undefined && { pairs }),
    ...(recipe !== undefined && { recipe: { file: recipe, data: data ?? dirname(recipe) } }),
  }
}

/** Passes a call on at most every two seconds. */
function throttled<T>(tell: (value: T) => void): (value: T) => void {
  let last = Date.now()
  return (value) => {
    if (Date.now() - last < 2000) return
    last = Date.now()
    tell(value)
  }
}
