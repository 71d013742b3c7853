/** Files that a user names, as an import: whoever runs it, on the machine where the files are. */

import { readFile } from 'node:fs/promises'
import { fileError, parseRecipe, readContent, readIdEmbeddings, readInteractions, readItemPairs } from '../schemas/index.ts'
import type { Recipe, SidestreamError, SourceEvent } from '../schemas/index.ts'
import { hashFile, importSources, recipeSource } from './import.ts'
import type { ImportReport, ImportSource } from './import.ts'
import type { ProjectPorts } from './project.ts'
import type { ImportEvents, ImportRequest } from './project-commands.ts'

/** Refused rows that are named one by one; all are counted. */
const toldRefusals = 20

/**
 * Reads the files into the topics.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID, SIDESTREAM_CONFIG_INVALID for a recipe that is none, and as
 * `importSources`
 */
export async function importFiles(
  project: ProjectPorts,
  { recipe, end, ...files }: ImportRequest,
  events: ImportEvents = {},
  signal?: AbortSignal,
): Promise<ImportReport> {
  let refused = 0
  const onRefused = (error: SidestreamError): void => {
    if (refused++ < toldRefusals) events.onRefused?.(error.message)
  }
  const described = recipe === undefined ? {} : { recipe: { recipe: await readRecipeFile(recipe.file), directory: recipe.data } }
  const report = await importSources(project, fileSources(project, { ...files, ...described }, onRefused), {
    end,
    onProgress: (counts) => events.onProgress?.(counts),
    ...(signal !== undefined && { signal }),
  })
  return { ...report, refused: report.refused + refused }
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

interface ImportFiles {
  readonly interactions?: string
  readonly content?: string
  readonly idEmbeddings?: string
  readonly pairs?: string
  /** A recipe and the directory of its files. */
  readonly recipe?: { readonly recipe: Recipe; readonly directory: string }
}

/** Files as sources, content first. `onRefused` is told of rows that break the file's contract; they are left out. */
function fileSources(
  project: Pick<ProjectPorts, 'config'>,
  files: ImportFiles,
  onRefused: (error: SidestreamError, row: number) => void,
): ImportSource[] {
  const options = { onInvalid: onRefused }
  const sources: ImportSource[] = []
  if (files.recipe !== undefined) sources.push(recipeSource(files.recipe.recipe, files.recipe.directory, options))
  const add = (path: string | undefined, events: (path: string) => AsyncIterable<readonly SourceEvent[]>): void => {
    if (path !== undefined) sources.push({ identity: () => hashFile(path), events: () => events(path) })
  }
  add(files.content, async function* (path) {
    for await (const rows of readContent(path, project.config.content.modalities, options)) {
      yield rows.map(({ itemId, eventTs, content }) => ({ topic: 'item-content', itemId, eventTs, record: content }) as const)
    }
  })
  add(files.idEmbeddings, async function* (path) {
    for await (const rows of readIdEmbeddings(path, options)) {
      yield rows.map((record) => ({ topic: 'id-embeddings', eventTs: record.eventTs, record }) as const)
    }
  })
  add(files.pairs, async function* (path) {
    for await (const rows of readItemPairs(path, options)) {
      yield rows.map((record) => ({ topic: 'item-pairs', eventTs: record.eventTs, record }) as const)
    }
  })
  add(files.interactions, async function* (path) {
    for await (const rows of readInteractions(path, {}, options)) {
      yield rows.map((record) => ({ topic: 'interactions', eventTs: record.eventTs, record }) as const)
    }
  })
  return sources
}
