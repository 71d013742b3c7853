/**
 * Log records to store rows of one version: decoded here, computed in the embedder's thread, packed per view.
 * Invariant: a row is a pure function of (record, head, bundle), whatever it is sliced together with.
 */

import { encodeTombstone, encodeValues } from '../features/index.ts'
import { createItemContentBatch, rowStates } from '../schemas/index.ts'
import type { Codec, ItemContentBatch } from '../schemas/index.ts'
import type { LogRecord, StoreEntry } from '../connectors/index.ts'
import { modalitiesOf } from './catalogue.ts'
import { decodeContent } from './content-decode.ts'
import { asPoison } from './dead-letters.ts'
import type { ContentRows, Embedded, Embedder } from './embedder.ts'
import type { Project } from './project.ts'
import { tombstoneId } from './record-headers.ts'

/** Source stream of all records; it changes when a topic's partition count does. */
const stream = 1

/** Records that go through decoding, computing and storing together. */
export interface VersionSlice {
  /** Append times of the records with content, milliseconds. */
  readonly appendTs: Float64Array
  readonly tombstones: number
  readonly poison: number
  /** Resolves when the embedder is done with it. */
  readonly computed: Promise<unknown>
  /** Rows of a view, content first, then deletes. */
  entries(view: string): Promise<StoreEntry[]>
}

/** Makes slices, of any partition. */
export class VersionRows {
  readonly #project: Pick<Project, 'codec' | 'config'>
  readonly #embedder: Embedder
  readonly #batch: ItemContentBatch

  /** @param capacity - most records of one slice */
  constructor(project: Project, embedder: Embedder, capacity: number) {
    this.#project = project
    this.#embedder = embedder
    this.#batch = createItemContentBatch(capacity, modalitiesOf(project))
  }

  /** Decodes the records and hands them to the embedder. The next slice may begin at once. */
  begin(records: readonly LogRecord[]): VersionSlice {
    const content = this.#batch
    decodeContent(this.#project, records, content)
    const rows: number[] = []
    for (let row = 0; row < records.length; row++) if (content.states[row] === rowStates.content) rows.push(row)
    const source = sourceOf(records, content, rows)
    const deletes = tombstonesOf(records, content, this.#project.codec)
    const packed = compact(content, rows)
    const embedded = this.#embedder.embed(packed) // copies the vectors before it returns
    return {
      appendTs: source.appendTs,
      tombstones: deletes.entries.length,
      poison: content.errors.size + deletes.poison,
      computed: embedded,
      entries: async (view) => [...entriesOf(view, await embedded, packed.ids, source), ...deletes.entries],
    }
  }
}

/** Where rows come from, [rows] each. */
interface RowSource {
  readonly eventTs: Float64Array
  readonly offsets: BigUint64Array
  readonly appendTs: Float64Array
}

function sourceOf(records: readonly LogRecord[], content: ItemContentBatch, rows: readonly number[]): RowSource {
  const eventTs = new Float64Array(rows.length)
  const offsets = new BigUint64Array(rows.length)
  const appendTs = new Float64Array(rows.length)
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!
    eventTs[i] = content.eventTs[row]!
    offsets[i] = records[row]!.offset
    appendTs[i] = records[row]!.timestamp
  }
  return { eventTs, offsets, appendTs }
}

/** The rows of a batch that hold content, moved together; the batch itself when all do. */
function compact(content: ItemContentBatch, rows: readonly number[]): ContentRows {
  const ids = rows.map((row) => content.ids[row]!)
  if (rows.length === content.count) return { ids, vectors: content.vectors, present: content.present }
  const vectors = content.modalities.map(({ dim }, m) => {
    const packed = new Float32Array(rows.length * dim)
    for (const [i, row] of rows.entries()) packed.set(content.vectors[m]!.subarray(row * dim, (row + 1) * dim), i * dim)
    return packed
  })
  const present = content.modalities.map((_, m) => Uint8Array.from(rows, (row) => content.present[m]![row]!))
  return { ids, vectors, present }
}

function entriesOf(view: string, embedded: Embedded, ids: readonly string[], { eventTs, offsets }: RowSource): StoreEntry[] {
  const { dim, dtype, stored, scales } = embedded.views.get(view)!
  const values = encodeValues({
    rows: embedded.rows,
    dtype,
    dim,
    stored,
    scales,
    levels: embedded.rows === 0 ? 0 : embedded.codes.length / embedded.rows,
    codes: embedded.codes,
    origins: embedded.origins,
    eventTs,
    stream,
    offsets,
  })
  return values.map((value, row) => ({ id: ids[row]!, value }))
}

/** Rows for deletes; a delete without a usable id is poison (the owner's content lane sets it aside). */
function tombstonesOf(records: readonly LogRecord[], content: ItemContentBatch, codec: Codec): { entries: StoreEntry[]; poison: number } {
  const entries: StoreEntry[] = []
  let poison = 0
  for (let row = 0; row < records.length; row++) {
    if (content.states[row] !== rowStates.tombstone) continue
    const record = records[row]!
    try {
      entries.push({ id: tombstoneId(record, codec), value: encodeTombstone({ stream, offset: record.offset, eventTs: record.timestamp }) })
    } catch (error) {
      asPoison(error)
      poison++
    }
  }
  return { entries, poison }
}
