/**
 * Files into the log's topics. Every record says which row of which file it is, so an import that was cut short goes on
 * where each partition stopped.
 * Invariant: after any number of interrupted runs over the same files every row is in the log exactly once.
 */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { partitionForKey } from '../compute/index.ts'
import { fileError, isSidestreamError, readRecipe, SidestreamError, topics } from '../schemas/index.ts'
import type { Recipe, SourceEvent } from '../schemas/index.ts'
import { InputFeed, inputTopics, keyOf } from './input-feed.ts'
import type { InputTopic } from './input-feed.ts'
import type { ProjectPorts } from './project.ts'
import { importedRow, importHeaders, isEndMark, isFileMark } from './record-headers.ts'

/** Any stream of input records in event-time order, with a name that tells it from any other. */
export interface ImportSource {
  /** Hex hash of what the events are made from: equal sources give equal events. */
  identity(): Promise<string>
  events(): AsyncIterable<readonly SourceEvent[]>
}

export interface ImportOptions {
  /** Whether nothing more will come: end marks are written. @default false */
  readonly end?: boolean
  readonly onProgress?: (report: { readonly appended: number; readonly skipped: number }) => void
  /** Awaited after every batch: whoever consumes at the same time can slow the import down. */
  readonly pace?: () => Promise<void>
  /** Stops the import between two batches. */
  readonly signal?: AbortSignal
}

export interface ImportReport {
  /** Rows appended now. */
  readonly appended: number
  /** Rows that an earlier run had appended. */
  readonly skipped: number
  /** Rows that could not be written: dead letters. */
  readonly refused: number
}

/** Appends all rows of the sources. @throws what the sources throw, with the rows that the log has by then; SIDESTREAM_DISK_FULL; SIDESTREAM_CLOSED when it was stopped */
export async function importSources(
  project: ProjectPorts,
  sources: readonly ImportSource[],
  options: ImportOptions = {},
): Promise<ImportReport> {
  const { end = false, onProgress = () => {}, pace = async () => {}, signal } = options
  const feed = await InputFeed.open(project)
  try {
    const partitions = await partitionCounts(project)
    let appended = 0
    let skipped = 0
    for (const source of sources) {
      refuseStopped(signal)
      const file = await source.identity()
      const done = await lastRows(project, file)
      const headers = new TextEncoder().encode(file)
      let row = 0
      refuseStopped(signal)
      for await (const events of told(source.events(), () => row)) {
        const fresh: SourceEvent[] = []
        const rows: number[] = []
        for (const event of events) {
          const at = row++
          const partition = partitionForKey(keyOf(event), partitions[event.topic])
          const place = `${event.topic}/${partition}`
          if (at <= (done.get(place)?.row ?? -1)) skipped++
          else {
            done.set(place, { topic: event.topic, partition, row: at, isMarked: false })
            fresh.push(event)
            rows.push(at)
          }
        }
        if (fresh.length > 0)
          await feed.append(
            fresh,
            rows.map((at) => importHeaders(headers, at)),
          )
        appended += fresh.length
        onProgress({ appended, skipped })
        await pace()
        refuseStopped(signal)
      }
      for (const { topic, partition, row: last, isMarked } of done.values()) {
        if (!isMarked && compacted.has(topic)) await feed.markFile(topic, partition, headers, last)
      }
    }
    if (end && !(await hasEnded(project))) await feed.end()
    return { appended, skipped, refused: feed.counts.poison }
  } finally {
    await feed.close()
  }
}

/**
 * The same batches; a broken file says how much of it is in the log.
 * @param rows - how many rows of it are there
 * @throws what `batches` throws
 */
async function* told<T>(batches: AsyncIterable<T>, rows: () => number): AsyncGenerator<T> {
  try {
    yield* batches
  } catch (error) {
    if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_FILE_INVALID' || rows() === 0) throw error
    const text =
      `${error.message}. The ${rows()} rows read before are in the log; a mended file counts as another one, and all its rows ` +
      'are appended: interactions that come twice are counted once'
    throw new SidestreamError(error.code, text, { ...error.details, rowsInLog: rows(), cause: error })
  }
}

/** What a recipe describes, as one source. */
export function recipeSource(
  recipe: Recipe,
  directory: string,
  options: { onInvalid?: (error: SidestreamError, row: number) => void } = {},
): ImportSource {
  return {
    identity: async () => {
      const hash = createHash('sha256').update(JSON.stringify(recipe))
      for (const file of recipeFiles(recipe)) hash.update(await hashFile(join(directory, file)))
      return hash.digest('hex')
    },
    events: () => readRecipe(recipe, directory, options),
  }
}

/** Every file a recipe reads, once. */
function recipeFiles({ interactions, content, idEmbeddings }: Recipe): string[] {
  const files = [interactions.file]
  if ('file' in content) files.push(content.file)
  else {
    for (const { file, ids } of Object.values(content.modalities)) files.push(file, ...(ids === undefined ? [] : [ids]))
    if (content.table !== undefined) files.push(content.table.file)
  }
  if (idEmbeddings !== undefined) files.push(idEmbeddings.file)
  return [...new Set(files)]
}

/** SHA-256, hexadecimal. @throws SIDESTREAM_FILE_UNREADABLE */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(path), hash)
  } catch (error) {
    throw fileError(path, error)
  }
  return hash.digest('hex')
}

function refuseStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return
  throw new SidestreamError('SIDESTREAM_CLOSED', 'the import was stopped: give it again, and it goes on where it stopped')
}

/** The last row of a file in one partition. */
interface LastRow {
  readonly topic: InputTopic
  readonly partition: number
  readonly row: number
  /** A mark says so too: it stays when the row is compacted away. */
  readonly isMarked: boolean
}

const compacted: ReadonlySet<InputTopic> = new Set(
  inputTopics.filter((name) => topics.find((topic) => topic.name === name)?.cleanup === 'compact'),
)

/** Last imported row of a file in every partition of the input topics, by `topic/partition`. */
async function lastRows(project: ProjectPorts, file: string): Promise<Map<string, LastRow>> {
  const last = new Map<string, LastRow>()
  for (const topic of inputTopics) {
    await project.log.read(topic, ({ partition, records }) => {
      for (const record of records) {
        const origin = importedRow(record)
        if (origin?.file !== file) continue
        const known = last.get(`${topic}/${partition}`)
        if (origin.row < (known?.row ?? 0)) continue
        last.set(`${topic}/${partition}`, { topic, partition, row: origin.row, isMarked: isFileMark(record) })
      }
    })
  }
  return last
}

async function hasEnded(project: ProjectPorts): Promise<boolean> {
  let marks = 0
  for (const topic of inputTopics) {
    await project.log.read(topic, (batch) => {
      marks += batch.records.filter(isEndMark).length
    })
  }
  let partitions = 0
  const admin = await project.log.admin()
  for (const topic of inputTopics) partitions += (await admin.describe(topic)).partitions
  return marks >= partitions
}

/** How many partitions each input topic has: the producer's partitioner spreads keys over them. */
async function partitionCounts({ log }: ProjectPorts): Promise<Record<InputTopic, number>> {
  const admin = await log.admin()
  const counts = inputTopics.map(async (topic) => [topic, (await admin.describe(topic)).partitions] as const)
  return Object.fromEntries(await Promise.all(counts)) as Record<InputTopic, number>
}
