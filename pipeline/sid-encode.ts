/** `sid encode`: semantic IDs of a file's vectors, as a stream. */

import { resolve } from 'node:path'
import { fileFormat, partialOf, SidestreamError, writeCodes, writeWhole } from '../schemas/index.ts'
import type { CodeBatch } from '../schemas/index.ts'
import { SemanticIdEncoder, vectorDimOf } from '../semantic-ids/index.ts'
import { readBundleDirectory } from './bundle-directory.ts'
import { DoubledIds, idHash } from './doubled-ids.ts'
import { twiceIn } from './sid-items.ts'
import { vectorBatches } from './sid-vectors.ts'
import type { OnRows, VectorFile } from './sid-vectors.ts'

export interface SidEncodeFiles extends VectorFile {
  /** Directory of the bundle. */
  readonly bundle: string
  /** `.parquet`, or `.csv` with codes between `|`. */
  readonly out: string
  /** @default 1 */
  readonly threads?: number
  readonly onRows?: OnRows
  readonly signal?: AbortSignal
}

export interface SidEncoded {
  readonly items: number
  /** Rows that were decided again in float64. */
  readonly rechecked: number
}

/**
 * Writes the semantic IDs of all vectors of a file, in its order; whole or not at all. Memory is that of some batches and, with 8 bytes
 * per id on disk beside `out`, of one in 256 ids; ids of `.f32` and `.npy` are held.
 * @throws SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT for the bundle; SIDESTREAM_SHAPE_MISMATCH for vectors of another
 *   dimension; SIDESTREAM_ID_INVALID for an item that stands twice; SIDESTREAM_FILE_INVALID, SIDESTREAM_FILE_UNREADABLE,
 *   SIDESTREAM_DISK_FULL, SIDESTREAM_USAGE_INVALID
 */
export async function sidEncodeFiles(files: SidEncodeFiles): Promise<SidEncoded> {
  const { bundle: directory, out, threads = 1, onRows, signal } = files
  const write = codeWriter(out)
  if (resolve(out) === resolve(files.in))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${out} holds the vectors: write the codes to another file`)
  const { bundle } = await readBundleDirectory(directory)
  const { codebooks, network } = bundle
  const encoder = await SemanticIdEncoder.create(bundle, { threads })
  try {
    const counts = { items: 0, rechecked: 0 }
    const vectors = vectorBatches(files, vectorDimOf(codebooks, network), onRows, signal)
    const levels = codebooks.sizes.length
    await write(out, eachOnce(encoded(encoder, vectors, levels, counts, signal), files))
    return counts
  } finally {
    await encoder.close()
  }
}

async function* encoded(
  encoder: SemanticIdEncoder,
  vectors: ReturnType<typeof vectorBatches>,
  levels: number,
  counts: { items: number; rechecked: number },
  signal: AbortSignal | undefined,
): AsyncGenerator<CodeBatch> {
  for await (const { ids, codes, rechecked } of encoder.stream(vectors, signal)) {
    counts.items += ids.length
    counts.rechecked += rechecked
    yield { ids, sids: codeRows(codes, levels) }
  }
}

/** The batches as they are; at the end an item that stood twice is refused. Ids are not held, so the file is read again to name it. */
async function* eachOnce(batches: AsyncIterable<CodeBatch>, files: SidEncodeFiles): AsyncGenerator<CodeBatch> {
  const doubled = new DoubledIds(partialOf(files.out))
  try {
    for await (const batch of batches) {
      await doubled.note(batch.ids)
      yield batch
    }
    for await (const suspect of doubled.suspects()) await refuseTwice(files, suspect)
  } finally {
    await doubled.close()
  }
}

/** @throws SIDESTREAM_ID_INVALID when two of the ids with this hash are equal */
async function refuseTwice(files: SidEncodeFiles, hash: bigint): Promise<void> {
  const rowOf = new Map<string, number>()
  for await (const { start, ids } of vectorBatches(files, undefined, undefined, files.signal)) {
    for (const [row, id] of ids.entries()) {
      if (idHash(id) !== hash) continue
      const before = rowOf.get(id)
      if (before !== undefined) throw twiceIn(files.in, id, before, start + row)
      rowOf.set(id, start + row)
    }
  }
}

/** Row-major codes as a list per item. */
export function codeRows(codes: Uint16Array, levels: number): number[][] {
  return Array.from({ length: codes.length / levels }, (_, row) => Array.from(codes.subarray(row * levels, (row + 1) * levels)))
}

type CodeWriter = (file: string, batches: AsyncIterable<CodeBatch>) => Promise<unknown>

/** @throws SIDESTREAM_USAGE_INVALID for a kind of file that codes are not written to */
function codeWriter(out: string): CodeWriter {
  if (/\.parquet$/i.test(out)) return writeCodes
  if (/\.csv$/i.test(out)) return writeCodesCsv
  const known = /\.(f32|npy)$/i.test(out) ? fileFormat(out) : undefined
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `codes are written as .parquet or .csv, not to ${out}${known === undefined ? '' : `: .${known} holds vectors`}`,
  )
}

/** Columns `item_id, sid`, codes between `|`: what `readCodes` takes. */
function writeCodesCsv(file: string, batches: AsyncIterable<CodeBatch>): Promise<void> {
  return writeWhole(file, async (handle) => {
    await handle.writeFile('item_id,sid\n')
    for await (const { ids, sids } of batches)
      await handle.writeFile(ids.map((id, row) => `${csvCell(id)},${sids[row]!.join('|')}\n`).join(''))
  })
}

function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
