/**
 * Reads the files of a recipe as one stream of input records in event-time order.
 * Invariant: event times never fall; a vector is read when its turn comes, so only ids and times of items are held.
 */
import { join } from 'node:path'
import { isSidestreamError, SidestreamError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Interaction, ItemContent } from '../records.ts'
import type { Recipe } from '../recipe.ts'
import type { SourceEvent } from '../source-event.ts'
import { idCell, isAbsent, textCell, timeCell } from './cells.ts'
import { readColumns } from './columns.ts'
import { readContent, readIdEmbeddings, readInteractions, type ReadRecordsOptions } from './contracts.ts'
import { fileExists, invalidFile } from './source.ts'
import { openVectors, type VectorSource } from './vectors.ts'

/** Whether all files that a recipe looks for are in `directory`. */
export async function recipeFits(recipe: Recipe, directory: string): Promise<boolean> {
  for (const file of recipe.detect) if (!(await fileExists(join(directory, file)))) return false
  return true
}

/**
 * Streams what a recipe describes: content, ID embeddings and interactions, merged by event time.
 * @param directory - where the recipe's files are
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID (also when a file is not in time order)
 */
export async function* readRecipe(
  recipe: Recipe,
  directory: string,
  options: ReadRecordsOptions = {},
): AsyncGenerator<SourceEvent[], void, undefined> {
  const { from = 0, until = Infinity } = recipe.window ?? {}
  const streams = [
    contentEvents(recipe, directory, options),
    idEmbeddingEvents(recipe, directory, options),
    interactionEvents(recipe, directory, options),
  ]
  for await (const batch of mergeByTime(streams)) {
    const inside = batch.filter((event) => event.eventTs < until && (event.topic !== 'interactions' || event.eventTs >= from))
    if (inside.length > 0) yield inside
    if (batch.at(-1)!.eventTs >= until) return
  }
}

type Events = AsyncGenerator<SourceEvent[], void, undefined>

async function* interactionEvents(recipe: Recipe, directory: string, options: ReadRecordsOptions): Events {
  const file = join(directory, recipe.interactions.file)
  const toEvent = (record: Interaction): SourceEvent => ({ topic: 'interactions', eventTs: record.eventTs, record })
  yield* ordered(file, recipe.interactions.order, mapBatches(recipeInteractions(recipe, directory, options), toEvent))
}

/** Interactions of a recipe, in the order of the file. */
function recipeInteractions(
  recipe: Recipe,
  directory: string,
  options: ReadRecordsOptions,
): AsyncGenerator<Interaction[], void, undefined> {
  const { file, columns, tsUnit, behaviors } = recipe.interactions
  const { userId, itemId, ts, surface, dwellMs, requestId } = columns
  const mapping = {
    userId,
    itemId,
    ts,
    tsUnit,
    behaviors,
    ...(surface !== undefined && { surface }),
    ...(dwellMs !== undefined && { dwellMs }),
    ...(requestId !== undefined && { requestId }),
  }
  return readInteractions(join(directory, file), mapping, options)
}

async function* idEmbeddingEvents(recipe: Recipe, directory: string, options: ReadRecordsOptions): Events {
  if (recipe.idEmbeddings === undefined) return
  const file = join(directory, recipe.idEmbeddings.file)
  const events = mapBatches(readIdEmbeddings(file, options), (record): SourceEvent => ({
    topic: 'id-embeddings',
    eventTs: record.eventTs,
    record,
  }))
  yield* ordered(file, recipe.idEmbeddings.order, events)
}

async function* contentEvents(recipe: Recipe, directory: string, options: ReadRecordsOptions): Events {
  const content = recipe.content
  if ('file' in content) {
    const file = join(directory, content.file)
    const rows = readContent(file, recipe.config.content.modalities, options)
    yield* ordered(
      file,
      'time',
      mapBatches(rows, ({ itemId, eventTs, content: record }): SourceEvent => ({ topic: 'item-content', eventTs, itemId, record })),
    )
    return
  }
  const sources = new Map<string, VectorSource>()
  try {
    for (const [name, { file, ...rest }] of Object.entries(content.modalities)) {
      const { ids, idColumn, vectorColumn } = rest
      const source = await openVectors(join(directory, file), {
        ...(ids !== undefined && { ids: join(directory, ids) }),
        ...(idColumn !== undefined && { idColumn }),
        ...(vectorColumn !== undefined && { vectorColumn }),
      })
      sources.set(name, source)
      const { dim } = recipe.config.content.modalities[name]!
      if (source.dim !== dim)
        throw invalidFile(source.file, `has vectors of ${source.dim} dimensions; config.content.modalities.${name}.dim says ${dim}`)
    }
    const items = await itemIndex(recipe, directory, sources, options)
    const batchRows = options.batchRows ?? 512
    for (let start = 0; start < items.length; start += batchRows) {
      options.signal?.throwIfAborted()
      const events: SourceEvent[] = []
      for (const item of items.slice(start, start + batchRows)) {
        const record = await readItem(item, sources, options)
        if (record !== undefined) events.push({ topic: 'item-content', eventTs: item.eventTs, itemId: item.itemId, record })
      }
      if (events.length > 0) yield events
    }
  } finally {
    for (const source of sources.values()) await source.close()
  }
}

interface IndexedItem {
  readonly itemId: string
  readonly eventTs: number
  /** Row per modality. */
  readonly rows: ReadonlyMap<string, number>
  readonly labels: readonly string[]
  readonly authorId: string | undefined
}

async function readItem(
  item: IndexedItem,
  sources: ReadonlyMap<string, VectorSource>,
  { onInvalid }: ReadRecordsOptions,
): Promise<ItemContent | undefined> {
  const vectors: Record<string, Float32Array> = {}
  for (const [name, row] of item.rows) {
    const source = sources.get(name)!
    const vector = new Float32Array(source.dim)
    try {
      await source.read(row, 1, vector)
    } catch (error) {
      if (onInvalid === undefined || !isSidestreamError(error)) throw error
      onInvalid(error, row + 1)
      continue
    }
    vectors[name] = vector
  }
  if (Object.keys(vectors).length === 0) return undefined
  const { itemId, eventTs, labels, authorId } = item
  return { itemId, eventTs, vectors, ...(labels.length > 0 && { labels }), ...(authorId !== undefined && { authorId }) }
}

interface TableRow {
  readonly earliest: number
  readonly labels: readonly string[]
  readonly authorId: string | undefined
}

/** Items that have a vector, with their times, in time order (ties: order of first appearance in the vector files). */
async function itemIndex(
  recipe: Recipe,
  directory: string,
  sources: ReadonlyMap<string, VectorSource>,
  options: ReadRecordsOptions,
): Promise<IndexedItem[]> {
  const content = recipe.content as Extract<Recipe['content'], { modalities: unknown }>
  const rowsOf = new Map<string, Map<string, number>>()
  for (const [name, source] of sources) {
    source.ids.forEach((id, row) => {
      const rows = rowsOf.get(id) ?? new Map<string, number>()
      if (rows.has(name)) throw invalidFile(source.file, `has the id ${id} in rows ${rows.get(name)! + 1} and ${row + 1}; keep one of them`)
      rowsOf.set(id, rows.set(name, row))
    })
  }
  const table = await readTable(recipe, directory, rowsOf)
  const first = content.time.earliestOf.includes('first-interaction')
    ? await firstInteractions(recipe, directory, options)
    : new Map<string, number>()
  const items: IndexedItem[] = []
  for (const [itemId, rows] of rowsOf) {
    const row = table.get(itemId)
    const earliest = Math.min(row?.earliest ?? Infinity, first.get(itemId) ?? Infinity)
    if (earliest === Infinity) {
      if (content.time.unknown === 'skip') continue
      throw new SidestreamError(
        'SIDESTREAM_FILE_INVALID',
        `no time is known for item ${itemId}; add a bound under content.time.earliestOf, or set content.time.unknown: skip`,
        { itemId },
      )
    }
    items.push({ itemId, eventTs: Math.max(0, earliest + content.time.offsetMs), rows, labels: row?.labels ?? [], authorId: row?.authorId })
  }
  return items.sort((a, b) => a.eventTs - b.eventTs)
}

async function readTable(recipe: Recipe, directory: string, wanted: ReadonlyMap<string, unknown>): Promise<Map<string, TableRow>> {
  const content = recipe.content as Extract<Recipe['content'], { modalities: unknown }>
  const rows = new Map<string, TableRow>()
  if (content.table === undefined) return rows
  const { itemId, labels, authorId } = content.table
  const file = join(directory, content.table.file)
  const bounds = content.time.earliestOf.flatMap((bound) => (bound === 'first-interaction' ? [] : [bound]))
  const columns = [itemId, ...bounds.map((bound) => bound.column), ...labels, ...(authorId === undefined ? [] : [authorId])]
  for await (const batch of readColumns(file, { columns })) {
    for (let i = 0; i < batch.rows; i++) {
      const place = (column: string) => ({ file, row: batch.start + i + 1, column })
      const cell = (column: string): unknown => batch.columns[column]![i]
      const id = idCell(cell(itemId), place(itemId))
      if (!wanted.has(id)) continue
      const times = bounds.flatMap(({ column, unit }) => (isAbsent(cell(column)) ? [] : [timeCell(cell(column), place(column), unit)]))
      const author = authorId === undefined ? undefined : cell(authorId)
      rows.set(id, {
        earliest: Math.min(...times),
        labels: labels.flatMap((column) => {
          const text = textCell(cell(column), place(column), limits.textBytes - column.length - 1)
          return text === undefined ? [] : [`${column}:${text}`]
        }),
        authorId: isAbsent(author) ? undefined : idCell(author, place(authorId!)),
      })
    }
  }
  return rows
}

async function firstInteractions(recipe: Recipe, directory: string, options: ReadRecordsOptions): Promise<Map<string, number>> {
  const first = new Map<string, number>()
  // refused rows are reported when the stream itself is read
  for await (const batch of recipeInteractions(recipe, directory, { ...options, onInvalid: () => undefined })) {
    for (const { itemId, eventTs } of batch) if (eventTs < (first.get(itemId) ?? Infinity)) first.set(itemId, eventTs)
  }
  return first
}

async function* mapBatches<T>(batches: AsyncIterable<T[]>, toEvent: (record: T) => SourceEvent): Events {
  for await (const batch of batches) yield batch.map(toEvent)
}

/** The same events in time order: checked when the file is said to be in order, sorted in memory (stable) otherwise. */
async function* ordered(file: string, order: 'time' | 'any', events: Events): Events {
  if (order === 'any') {
    const all: SourceEvent[] = []
    for await (const batch of events) for (const event of batch) all.push(event)
    all.sort((a, b) => a.eventTs - b.eventTs)
    for (let start = 0; start < all.length; start += 2048) yield all.slice(start, start + 2048)
    return
  }
  let last = -Infinity
  let row = 0
  for await (const batch of events) {
    for (const { eventTs } of batch) {
      row++
      if (eventTs < last)
        throw invalidFile(
          file,
          `is not in time order: record ${row} is earlier than the one before; sort the file by time, or set \`order: any\` in the recipe`,
          { row },
        )
      last = eventTs
    }
    yield batch
  }
}

/** Merges streams that are each in time order; at equal times the earlier stream goes first. */
async function* mergeByTime(streams: readonly Events[]): Events {
  const heads: { readonly stream: Events; batch: SourceEvent[]; at: number }[] = []
  try {
    for (const stream of streams) {
      const next = await stream.next()
      heads.push({ stream, batch: next.done === true ? [] : next.value, at: 0 })
    }
    let out: SourceEvent[] = []
    for (;;) {
      let best: (typeof heads)[number] | undefined
      for (const head of heads) {
        if (head.at < head.batch.length && (best === undefined || head.batch[head.at]!.eventTs < best.batch[best.at]!.eventTs)) best = head
      }
      if (best === undefined) break
      out.push(best.batch[best.at++]!)
      if (best.at === best.batch.length) {
        const next = await best.stream.next()
        best.batch = next.done === true ? [] : next.value
        best.at = 0
      }
      if (out.length === 2048) {
        yield out
        out = []
      }
    }
    if (out.length > 0) yield out
  } finally {
    for (const stream of streams) await stream.return()
  }
}
