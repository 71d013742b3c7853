/**
 * Vectors by item: `.f32` with its JSON, `.npy`, or a table with an id and a list column; as a stream or row by row.
 * Invariant: the size of a binary file agrees with its declared rows and dimension before a vector is read.
 *
 * `.f32` is row-major float32, little-endian. `<file>.json` says `{"rows", "dim", "dtype": "float32le", "ids": "<file>"}`.
 * Ids stand one a line in that file, or in `<name>.ids.txt` beside the vectors (also for `.npy`).
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { endianness, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { SidestreamError } from '../errors.ts'
import { limits } from '../limits.ts'
import { cellError, idCell, vectorCell } from './cells.ts'
import { readColumns } from './columns.ts'
import { rowOf, type EvenLists } from './even-lists.ts'
import { float16ToFloat32, readNpyHeader, type NpyDtype } from './npy.ts'
import { fileError, fileExists, fileFormat, invalidFile, openRandomAccess, writeWhole, type RandomAccessFile } from './source.ts'

/** Some vectors of a file: `vectors` is row-major, shape [ids.length, dim]. */
export interface VectorBatch {
  /** Index of the first row, from 0. */
  readonly start: number
  readonly ids: readonly string[]
  readonly dim: number
  readonly vectors: Float32Array
}

export interface ReadVectorsOptions {
  /** File of ids, one a line, for `.f32` and `.npy`. @default the one named in the JSON, else `<name>.ids.txt` */
  readonly ids?: string
  /** Id column of a table. @default 'item_id' */
  readonly idColumn?: string
  /** Vector column of a table. @default 'vector' */
  readonly vectorColumn?: string
  /** Vectors of one batch. Higher: more memory. @default 1024 */
  readonly batchRows?: number
  /** Called before each batch is given. @param share - of the file that has been read, up to 1 */
  readonly onRead?: (share: number) => void
  readonly signal?: AbortSignal
}

export const readVectorsDefaults = { idColumn: 'item_id', vectorColumn: 'vector', batchRows: 1024 } as const

/**
 * Streams the vectors of a `.f32`, `.npy`, `.parquet`, `.csv` or `.csv.gz` file.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID (cut, wrong sizes, missing ids, numbers that are not finite)
 */
export async function* readVectors(file: string, options: ReadVectorsOptions = {}): AsyncGenerator<VectorBatch, void, undefined> {
  const { idColumn, vectorColumn, batchRows, onRead, signal } = { ...readVectorsDefaults, ...options }
  const format = fileFormat(file)
  if (format !== 'f32' && format !== 'npy') {
    yield* readTableVectors(file, { idColumn, vectorColumn, batchRows, onRead, signal })
    return
  }
  const source = await openVectors(file, options)
  try {
    for (let start = 0; start < source.rows; start += batchRows) {
      signal?.throwIfAborted()
      const rows = Math.min(batchRows, source.rows - start)
      const vectors = new Float32Array(rows * source.dim)
      await source.read(start, rows, vectors)
      onRead?.((start + rows) / source.rows)
      yield { start, ids: source.ids.slice(start, start + rows), dim: source.dim, vectors }
    }
  } finally {
    await source.close()
  }
}

interface TableOptions extends Required<Pick<ReadVectorsOptions, 'idColumn' | 'vectorColumn' | 'batchRows'>> {
  readonly onRead: ReadVectorsOptions['onRead']
  readonly signal: AbortSignal | undefined
}

async function* readTableVectors(
  file: string,
  { idColumn, vectorColumn, batchRows, onRead, signal }: TableOptions,
): AsyncGenerator<VectorBatch, void, undefined> {
  let dim: number | undefined
  const columns = [idColumn, vectorColumn]
  for await (const batch of readColumns(file, { columns, evenLists: [vectorColumn], batchRows, ...(signal && { signal }) })) {
    const lists = batch.lists?.[vectorColumn]
    const cells = batch.columns[vectorColumn]
    const flat = lists && flatVectors(lists, dim)
    dim ??= flat && lists.width
    const ids: string[] = []
    let vectors = flat
    const place = { file, row: 0, column: '' }
    for (let i = 0; i < batch.rows; i++) {
      place.row = batch.start + i + 1
      place.column = idColumn
      ids.push(idCell(batch.columns[idColumn]![i], place))
      if (flat !== undefined) continue
      place.column = vectorColumn
      const vector = vectorCell(lists === undefined ? cells![i] : rowOf(lists, i), place, dim)
      if (vector === undefined) throw cellError(undefined, place, 'a vector is required')
      dim ??= vector.length
      vectors ??= new Float32Array(batch.rows * dim)
      vectors.set(vector, i * dim)
    }
    onRead?.(batch.share)
    if (vectors !== undefined) yield { start: batch.start, ids, dim: dim!, vectors }
  }
}

/** Lists as vectors; undefined where there is something to refuse. */
function flatVectors({ width, values }: EvenLists, dim: number | undefined): Float32Array | undefined {
  if (width > limits.dim || (dim !== undefined && width !== dim)) return undefined
  const vectors = new Float32Array(values)
  return areFinite(vectors) ? vectors : undefined
}

/** A number less itself is zero unless it is not finite: a pass without a branch. */
function areFinite(values: Float32Array): boolean {
  let zero = 0
  for (let i = 0; i < values.length; i++) zero += values[i]! - values[i]!
  return zero === 0
}

/** A file of vectors that is read at any row. */
export interface VectorSource {
  readonly file: string
  readonly rows: number
  readonly dim: number
  readonly ids: readonly string[]
  /**
   * Reads `rows` vectors from row `start`.
   * @param out - written in place, shape [rows, dim]
   */
  read(start: number, rows: number, out: Float32Array): Promise<void>
  /** Closes the file; removes the working copy that a table needs. */
  close(): Promise<void>
}

/**
 * Opens vectors for reading at any row. A table is streamed into a working copy in the temporary directory first.
 * @throws as `readVectors`
 */
export async function openVectors(file: string, options: ReadVectorsOptions = {}): Promise<VectorSource> {
  const format = fileFormat(file)
  if (format === 'f32') return openF32(file, options.ids)
  if (format === 'npy') return openNpy(file, options.ids)
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-vectors-'))
  try {
    const copy = join(directory, 'vectors.f32')
    await writeVectorsF32(copy, readVectors(file, options))
    const source = await openF32(copy, undefined)
    return {
      ...source,
      file,
      close: async () => {
        await source.close()
        await rm(directory, { recursive: true, force: true })
      },
    }
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
}

const manifestSchema = z.looseObject({
  rows: z.int().min(0),
  dim: z.int().min(1).max(limits.dim),
  dtype: z.enum(['float32le', 'float32', 'f32', '<f4']).default('float32le'),
  ids: z.string().optional(),
})

const manifestText = '{"rows": 1000, "dim": 128, "dtype": "float32le", "ids": "name.ids.txt"}'

async function openF32(file: string, idsFile: string | undefined): Promise<VectorSource> {
  const source = await openRandomAccess(file)
  try {
    const manifestFile = `${file}.json`
    if (!(await fileExists(manifestFile)))
      throw invalidFile(
        file,
        `needs ${manifestFile} beside it, which says what the bytes are: ${manifestText}; or give a .npy, which says it itself`,
      )
    const text = await readFile(manifestFile, 'utf8').catch((error: unknown) => {
      throw fileError(manifestFile, error)
    })
    const manifest = manifestSchema.safeParse(parseJson(manifestFile, text))
    if (!manifest.success) throw invalidFile(manifestFile, `must be like ${manifestText}; ${z.prettifyError(manifest.error)}`)
    const { rows, dim, ids } = manifest.data
    return await binarySource(
      source,
      { rows, dim, dataAt: 0, dtype: 'f4' },
      idsFile ?? (ids === undefined ? undefined : join(dirname(file), ids)),
    )
  } catch (error) {
    await source.close()
    throw error
  }
}

async function openNpy(file: string, idsFile: string | undefined): Promise<VectorSource> {
  const source = await openRandomAccess(file)
  try {
    return await binarySource(source, await readNpyHeader(source), idsFile)
  } catch (error) {
    await source.close()
    throw error
  }
}

interface BinaryLayout {
  readonly rows: number
  readonly dim: number
  readonly dataAt: number
  readonly dtype: NpyDtype
}

/** Whether numbers stand in memory as they do in the files. */
const isLittleEndian = endianness() === 'LE'

const elementBytes: Readonly<Record<NpyDtype, number>> = { f2: 2, f4: 4, f8: 8 }

async function binarySource(source: RandomAccessFile, layout: BinaryLayout, idsFile: string | undefined): Promise<VectorSource> {
  const { rows, dim, dataAt, dtype } = layout
  const file = source.path
  const rowBytes = dim * elementBytes[dtype]
  if (source.bytes !== dataAt + rows * rowBytes) {
    const has = ((source.bytes - dataAt) / rowBytes).toFixed(2).replace(/\.00$/, '')
    throw invalidFile(file, `${rows} rows of ${dim} dimensions are declared, ${has} are there; fetch or write it again`, {
      rows,
      dim,
      bytes: source.bytes,
    })
  }
  const ids = await readIds(file, idsFile ?? file.replace(/\.[^./\\]+$/, '.ids.txt'), rows)
  return {
    file,
    rows,
    dim,
    ids,
    close: () => source.close(),
    async read(start, count, out) {
      if (start < 0 || count < 0 || start + count > rows || out.length < count * dim) {
        throw new SidestreamError(
          'SIDESTREAM_SHAPE_MISMATCH',
          `${file}: rows ${start} to ${start + count} of ${rows} into ${out.length} elements`,
          { start, count, rows },
        )
      }
      if (dtype === 'f4' && isLittleEndian) {
        await source.read(dataAt + start * rowBytes, new Uint8Array(out.buffer, out.byteOffset, count * rowBytes))
      } else {
        const bytes = new Uint8Array(count * rowBytes)
        await source.read(dataAt + start * rowBytes, bytes)
        decode(bytes, dtype, out)
      }
      const read = out.subarray(0, count * dim)
      if (areFinite(read)) return
      for (let i = 0; i < read.length; i++) {
        if (!Number.isFinite(read[i]!)) {
          const row = start + Math.floor(i / dim)
          throw invalidFile(file, `row ${row + 1} (id ${ids[row]}), dimension ${(i % dim) + 1}: is not a finite float32 number`, {
            row: row + 1,
          })
        }
      }
    },
  }
}

function decode(bytes: Uint8Array, dtype: NpyDtype, out: Float32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const n = bytes.byteLength / elementBytes[dtype]
  if (dtype === 'f4') for (let i = 0; i < n; i++) out[i] = view.getFloat32(i * 4, true)
  else if (dtype === 'f8') for (let i = 0; i < n; i++) out[i] = view.getFloat64(i * 8, true)
  else for (let i = 0; i < n; i++) out[i] = float16ToFloat32(view.getUint16(i * 2, true))
}

async function readIds(file: string, idsFile: string, rows: number): Promise<readonly string[]> {
  if (!(await fileExists(idsFile))) throw invalidFile(file, `needs its ids, one a line, in ${idsFile}`, { ids: idsFile })
  const text = await readFile(idsFile, 'utf8').catch((error: unknown) => {
    throw fileError(idsFile, error)
  })
  const ids = text.split(/\r?\n/)
  if (ids.at(-1) === '') ids.pop()
  if (ids.length !== rows) throw invalidFile(idsFile, `has ${ids.length} ids for ${rows} vectors of ${file}`, { ids: ids.length, rows })
  return ids.map((id, i) => idCell(id, { file: idsFile, row: i + 1, column: 'id' }))
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    throw fileError(file, error)
  }
}

/** Where vectors come from when they are written: batches of one dimension. */
export type VectorBatches = Iterable<Omit<VectorBatch, 'start'>> | AsyncIterable<Omit<VectorBatch, 'start'>>

/**
 * Writes `.f32`, its `.ids.txt` and, last, its JSON. Returns the number of rows.
 * @throws SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID when dimensions differ
 */
export async function writeVectorsF32(file: string, batches: VectorBatches): Promise<number> {
  const idsFile = file.replace(/\.[^./\\]+$/, '.ids.txt')
  let rows = 0
  let dim: number | undefined
  await writeWhole(idsFile, async (idsHandle) => {
    await writeWhole(file, async (handle) => {
      for await (const batch of batches) {
        dim ??= batch.dim
        checkBatch(file, batch, dim)
        await handle.writeFile(littleEndian(batch.vectors))
        await idsHandle.writeFile(batch.ids.map((id) => `${id}\n`).join(''))
        rows += batch.ids.length
      }
      await rm(`${file}.json`, { force: true }) // an old manifest must not describe new bytes
    })
  })
  const manifest = { rows, dim: dim ?? 1, dtype: 'float32le', ids: basename(idsFile) }
  await writeWhole(`${file}.json`, (handle) => handle.writeFile(`${JSON.stringify(manifest)}\n`))
  return rows
}

/** Refuses a batch whose parts do not fit together. */
export function checkBatch(file: string, { ids, vectors, dim }: Omit<VectorBatch, 'start'>, expected: number): void {
  if (dim !== expected || vectors.length !== ids.length * dim) {
    throw invalidFile(file, `a batch of ${ids.length} ids has ${vectors.length} numbers, ${expected} each are wanted`, {
      ids: ids.length,
      dim: expected,
    })
  }
}

function littleEndian(vectors: Float32Array): Uint8Array {
  const bytes = new Uint8Array(vectors.length * 4)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < vectors.length; i++) view.setFloat32(i * 4, vectors[i]!, true)
  return bytes
}
