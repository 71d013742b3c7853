/**
 * The file contracts: which columns a file of interactions, content, ID embeddings, pairs, embeddings or codes has.
 * Invariant: what a reader gives has passed the limits of `limits.ts`; a refused row names file, row and column.
 *
 * | file | columns |
 * |---|---|
 * | interactions | `user_id, item_id, ts` (ms), `behaviors` (list or `|`-separated), optional `surface, dwell_ms, request_id` |
 * | content | `item_id, ts`, one vector column per modality, optional `labels, author_id, deleted` |
 * | id_embeddings | `entity, entity_id, ts, vector, exposures` |
 * | pairs | `source, query_id, target_id`, optional `score, ts` |
 * | embeddings | `item_id, vector` |
 * | codes | `item_id, sid` |
 */
import { isSidestreamError, SidestreamError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { IdEmbedding, Interaction, ItemContent, ItemPair } from '../records.ts'
import {
  cellError,
  codesCell,
  countCell,
  flagCell,
  idCell,
  isAbsent,
  listCell,
  numberCell,
  textCell,
  timeCell,
  vectorCell,
  type CellPlace,
  type TimeUnit,
} from './cells.ts'
import { readColumns, type ColumnBatch } from './columns.ts'
import { writeParquet } from './parquet-rows.ts'
import type { ParquetColumn } from './parquet-rows.ts'
import { checkBatch, type VectorBatches } from './vectors.ts'

/** Options of every reader of records. */
export interface ReadRecordsOptions {
  /** Rows of one batch. Higher: more memory. @default 2048 */
  readonly batchRows?: number
  /** Called for a row that is refused, which is then left out. @default the refusal is thrown */
  readonly onInvalid?: (error: SidestreamError, row: number) => void
  /** Called before each batch is given. @param share - of the file that has been read, up to 1 */
  readonly onRead?: (share: number) => void
  readonly signal?: AbortSignal
}

const defaultBatchRows = 2048

/** Where the columns of interactions are, and how to read them. Every entry has its contract's name as default. */
export interface InteractionMapping {
  readonly userId?: string
  readonly itemId?: string
  readonly ts?: string
  /** Unit of `ts`. @default 'ms' */
  readonly tsUnit?: TimeUnit
  /** A column of behaviors, or the behaviors that every row has. @default { column: 'behaviors' } */
  readonly behaviors?: { readonly column: string; readonly separator?: string } | { readonly always: readonly string[] }
  readonly surface?: string
  readonly dwellMs?: string
  readonly requestId?: string
}

/**
 * Streams interactions in the order of the file.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function* readInteractions(
  file: string,
  mapping: InteractionMapping = {},
  options: ReadRecordsOptions = {},
): AsyncGenerator<Interaction[], void, undefined> {
  const { userId = 'user_id', itemId = 'item_id', ts = 'ts', tsUnit = 'ms', behaviors = { column: 'behaviors' } } = mapping
  const { surface = 'surface', dwellMs = 'dwell_ms', requestId = 'request_id' } = mapping
  const always = 'always' in behaviors ? behaviors.always : undefined
  const behaviorsColumn = 'column' in behaviors ? behaviors.column : undefined
  const separator = 'column' in behaviors ? behaviors.separator : undefined
  const columns = [userId, itemId, ts, ...(behaviorsColumn === undefined ? [] : [behaviorsColumn])]
  yield* readRecords(file, { columns, optional: [surface, dwellMs, requestId] }, options, (cell): Interaction => {
    const kinds = always ?? listCell(...cell(behaviorsColumn!), limits.behaviors, separator)
    if (kinds.length === 0) throw cellError(undefined, cell(behaviorsColumn!)[1], 'at least one behavior is required')
    const surfaceText = textCell(...cell(surface))
    const [dwell, dwellPlace] = cell(dwellMs)
    const request = textCell(...cell(requestId), limits.idBytes)
    return {
      userId: idCell(...cell(userId)),
      itemId: idCell(...cell(itemId)),
      eventTs: timeCell(...cell(ts), tsUnit),
      behaviors: kinds,
      ...(surfaceText !== undefined && { surface: surfaceText }),
      ...(!isAbsent(dwell) && { dwellMs: countCell(dwell, dwellPlace) }),
      ...(request !== undefined && { requestId: request }),
    }
  })
}

/** One row of a content file: the content of an item, or `null` when the row deletes it. */
export interface ContentRow {
  readonly itemId: string
  readonly eventTs: number
  readonly content: ItemContent | null
}

/** The modalities to read: name to dimension. Each stands in the column of its name. */
export type ModalityDims = Readonly<Record<string, { readonly dim: number }>>

export interface ReadContentOptions extends ReadRecordsOptions {
  /** Called for a row whose only fault is that no modality has a vector; it is left out. @default it is refused like any other fault */
  readonly onBare?: (error: SidestreamError) => void
}

/**
 * Streams content in the order of the file. A modality may be absent in a row, and its column in the file, but not all of them.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function* readContent(
  file: string,
  modalities: ModalityDims,
  options: ReadContentOptions = {},
): AsyncGenerator<ContentRow[], void, undefined> {
  const names = Object.keys(modalities)
  yield* readRecords(
    file,
    { columns: ['item_id', 'ts'], optional: [...names, 'labels', 'author_id', 'deleted'], anyOf: names },
    options,
    (cell): ContentRow | undefined => {
      const itemId = idCell(...cell('item_id'))
      const eventTs = timeCell(...cell('ts'))
      if (flagCell(...cell('deleted'))) return { itemId, eventTs, content: null }
      const vectors: Record<string, Float32Array> = {}
      for (const name of names) {
        const vector = vectorCell(...cell(name), modalities[name]!.dim, limits.vectorNumber)
        if (vector !== undefined) vectors[name] = vector
      }
      const bare =
        Object.keys(vectors).length === 0
          ? cellError(undefined, cell(names.join(', '))[1], 'at least one modality must have a vector')
          : undefined
      if (bare !== undefined && options.onBare === undefined) throw bare
      const labels = listCell(...cell('labels'), limits.labels)
      const [author, authorPlace] = cell('author_id')
      const content: ItemContent = {
        itemId,
        eventTs,
        vectors,
        ...(labels.length > 0 && { labels }),
        ...(!isAbsent(author) && { authorId: idCell(author, authorPlace) }),
      }
      if (bare === undefined) return { itemId, eventTs, content }
      options.onBare?.(bare)
      return undefined
    },
  )
}

/**
 * Streams ID embeddings in the order of the file.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function* readIdEmbeddings(file: string, options: ReadRecordsOptions = {}): AsyncGenerator<IdEmbedding[], void, undefined> {
  yield* readRecords(file, { columns: ['entity', 'entity_id', 'ts', 'vector', 'exposures'] }, options, (cell): IdEmbedding => {
    const entity = textCell(...cell('entity'))
    if (entity === undefined) throw cellError(undefined, cell('entity')[1], 'an entity kind such as `item` is required')
    const vector = vectorCell(...cell('vector'), undefined, limits.vectorNumber)
    if (vector === undefined) throw cellError(undefined, cell('vector')[1], 'a vector is required')
    return {
      entity,
      entityId: idCell(...cell('entity_id')),
      eventTs: timeCell(...cell('ts')),
      vector,
      exposures: countCell(...cell('exposures')),
    }
  })
}

/**
 * Streams labelled pairs of items in the order of the file.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function* readItemPairs(file: string, options: ReadRecordsOptions = {}): AsyncGenerator<ItemPair[], void, undefined> {
  const columns = ['source', 'query_id', 'target_id']
  yield* readRecords(file, { columns, optional: ['score', 'ts'] }, options, (cell): ItemPair => {
    const source = textCell(...cell('source'))
    if (source === undefined) throw cellError(undefined, cell('source')[1], 'the name of a source is required')
    const [score, scorePlace] = cell('score')
    const [ts, tsPlace] = cell('ts')
    return {
      source,
      queryId: idCell(...cell('query_id')),
      targetId: idCell(...cell('target_id')),
      eventTs: isAbsent(ts) ? 0 : timeCell(ts, tsPlace),
      ...(!isAbsent(score) && { score: numberCell(score, scorePlace) }),
    }
  })
}

/** Semantic IDs of some items, aligned. */
export interface CodeBatch {
  readonly ids: readonly string[]
  readonly sids: readonly (readonly number[])[]
  /** Numbers that tell the items of one ID apart; written where asked for. */
  readonly suffixes?: readonly number[]
}

/**
 * Streams a `codes` file. All rows have as many levels as the first.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function* readCodes(file: string, options: ReadRecordsOptions = {}): AsyncGenerator<CodeBatch, void, undefined> {
  const { batchRows = defaultBatchRows, onInvalid, onRead, signal } = options
  let levels: number | undefined
  // Millions of short rows: no object for each of them.
  const place = { file, row: 0, column: '' }
  for await (const { columns, rows, start, share } of readColumns(file, {
    columns: ['item_id', 'sid'],
    batchRows,
    ...(signal && { signal }),
  })) {
    const ids: string[] = []
    const sids: number[][] = []
    for (let i = 0; i < rows; i++) {
      place.row = start + i + 1
      try {
        place.column = 'sid'
        const sid = codesCell(columns['sid']![i], place)
        if (sid.length !== (levels ??= sid.length)) throw cellError(sid, place, `must have ${levels} levels as the rows before`)
        place.column = 'item_id'
        ids.push(idCell(columns['item_id']![i], place))
        sids.push(sid)
      } catch (error) {
        if (onInvalid === undefined || !isSidestreamError(error)) throw error
        onInvalid(error, place.row)
      }
    }
    onRead?.(share)
    if (ids.length > 0) yield { ids, sids }
  }
}

/**
 * Writes an `embeddings` file (Parquet: `item_id, vector`). Returns the number of rows.
 * @throws SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function writeEmbeddings(file: string, batches: VectorBatches): Promise<number> {
  const columns = [
    { name: 'item_id', type: 'string' },
    { name: 'vector', type: 'list<float>' },
  ] as const
  return writeParquet(file, columns, async (rows) => {
    let count = 0
    let dim: number | undefined
    for await (const batch of batches) {
      dim ??= batch.dim
      checkBatch(file, batch, dim)
      const width = batch.dim
      await rows.write({ item_id: batch.ids, vector: batch.ids.map((_, i) => batch.vectors.subarray(i * width, (i + 1) * width)) })
      count += batch.ids.length
    }
    return count
  })
}

/**
 * Writes a `codes` file (Parquet: `item_id, sid`). Returns the number of rows.
 * @throws SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function writeCodes(
  file: string,
  batches: Iterable<CodeBatch> | AsyncIterable<CodeBatch>,
  { suffix = false }: { readonly suffix?: boolean } = {},
): Promise<number> {
  const columns: ParquetColumn[] = [
    { name: 'item_id', type: 'string' },
    { name: 'sid', type: 'list<int32>' },
    ...(suffix ? [{ name: 'suffix', type: 'int32' } as const] : []),
  ]
  return writeParquet(file, columns, async (rows) => {
    let count = 0
    for await (const { ids, sids, suffixes } of batches) {
      await rows.write({ item_id: ids, sid: sids, ...(suffixes && { suffix: suffixes }) })
      count += ids.length
    }
    return count
  })
}

interface WantedColumns {
  readonly columns: readonly string[]
  readonly optional?: readonly string[]
  /** At least one of these must be in the file. */
  readonly anyOf?: readonly string[]
}

/** A cell and its place, as the cell functions take them. */
type Cells = (column: string) => [value: unknown, place: CellPlace]

/** @param toRecord - undefined: the row is left out */
async function* readRecords<T>(
  file: string,
  wanted: WantedColumns,
  options: ReadRecordsOptions,
  toRecord: (cell: Cells) => T | undefined,
): AsyncGenerator<T[], void, undefined> {
  const { batchRows = defaultBatchRows, onInvalid, onRead, signal } = options
  const { columns, optional = [], anyOf } = wanted
  let first = true
  for await (const batch of readColumns(file, { columns, optional, batchRows, ...(signal && { signal }) })) {
    if (first && anyOf !== undefined) await requireAny(file, batch, anyOf)
    first = false
    const records: T[] = []
    for (let i = 0; i < batch.rows; i++) {
      const row = batch.start + i + 1
      try {
        const record = toRecord((column) => [batch.columns[column]?.[i], { file, row, column }])
        if (record !== undefined) records.push(record)
      } catch (error) {
        if (onInvalid === undefined || !isSidestreamError(error)) throw error
        onInvalid(error, row)
      }
    }
    onRead?.(batch.share)
    if (records.length > 0) yield records
  }
}

async function requireAny(file: string, batch: ColumnBatch, names: readonly string[]): Promise<void> {
  if (names.some((name) => batch.columns[name] !== undefined)) return
  const found: string[] = []
  for await (const all of readColumns(file, { batchRows: 1 })) {
    found.push(...Object.keys(all.columns))
    break
  }
  throw new SidestreamError(
    'SIDESTREAM_FILE_INVALID',
    `${file}: lacks a column for each modality of the configuration (${names.join(', ')}); it has ${found.join(', ')}: rename a column, or the modality`,
    { file, found },
  )
}
