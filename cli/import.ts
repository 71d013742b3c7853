/** `sidestream import`: files into the log's topics. */

import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Command } from 'commander'
import { fileError, parseRecipe, SidestreamError } from '../schemas/index.ts'
import type { Recipe } from '../schemas/index.ts'
import { fileSources, importSources } from '../pipeline/index.ts'
import { once, projectCommand, withProject } from './options.ts'
import { createOutput } from './output.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly interactions?: string
  readonly content?: string
  readonly idEmbeddings?: string
  readonly recipe?: string
  readonly data?: string
  readonly end: boolean
}

/** Refused rows that are named one by one; all are counted. */
const shownRefusals = 20

export function importCommand(): Command {
  return projectCommand('import', 'Append interactions, content and ID embeddings from files (Parquet, CSV, CSV.gz) to the topics.')
    .option('--interactions <file>', 'columns user_id, item_id, ts (ms), behaviors', once('--interactions'))
    .option('--content <file>', 'columns item_id, ts (ms), one vector column per modality', once('--content'))
    .option('--id-embeddings <file>', 'columns entity, entity_id, ts (ms), vector, exposures', once('--id-embeddings'))
    .option('--recipe <file>', 'read files of another shape as this recipe says', once('--recipe'))
    .option('--data <dir>', "where the recipe's files are (default: beside the recipe)")
    .option('--end', 'nothing more will come: close every partition', false)
    .action(async (options: Options) => {
      const output = createOutput(options.json)
      const given = [options.interactions, options.content, options.idEmbeddings, options.recipe]
      if (given.every((file) => file === undefined) && !options.end) {
        throw new SidestreamError(
          'SIDESTREAM_USAGE_INVALID',
          'nothing to import: give --interactions, --content, --id-embeddings, --recipe or --end',
        )
      }
      if (options.data !== undefined && options.recipe === undefined) {
        throw new SidestreamError('SIDESTREAM_USAGE_INVALID', '--data says where the files of a --recipe are; name the recipe as well')
      }
      const recipe =
        options.recipe === undefined
          ? undefined
          : { recipe: await readRecipeFile(options.recipe), directory: options.data ?? dirname(options.recipe) }
      const report = await withProject(options.config, async (project) => {
        let refused = 0
        const files = {
          ...(options.interactions !== undefined && { interactions: options.interactions }),
          ...(options.content !== undefined && { content: options.content }),
          ...(options.idEmbeddings !== undefined && { idEmbeddings: options.idEmbeddings }),
          ...(recipe !== undefined && { recipe }),
        }
        const sources = fileSources(project, files, (error) => {
          if (refused++ < shownRefusals) output.note(`left out: ${error.message}`)
        })
        const done = await importSources(project, sources, {
          end: options.end,
          onProgress: throttled(({ appended, skipped }) =>
            output.note(`imported ${appended} rows${skipped > 0 ? `, ${skipped} were there already` : ''}`),
          ),
        })
        return { ...done, refused: done.refused + refused }
      })
      const text = `imported ${report.appended} rows, ${report.skipped} were there already, ${report.refused} refused${options.end ? '; the topics are closed' : ''}`
      output.result({ ...report, ended: options.end }, text)
    })
}

/** @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_CONFIG_INVALID */
export async function readRecipeFile(path: string): Promise<Recipe> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw fileError(path, error)
  }
  return parseRecipe(text, path)
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
