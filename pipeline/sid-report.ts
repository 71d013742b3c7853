/**
 * `sid report`: figures, table and page of the codes in a file, beside earlier ones, with thresholds.
 * Invariant: with earlier codes everything is measured over the items that both hold; who stands on one side only is counted.
 */

import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { semanticIdPage } from '../replay/index.ts'
import { fileError, requireWritable, SidestreamError, writeParquet, writeWhole } from '../schemas/index.ts'
import { idSpace, qualityColumns, qualityGate, qualityReport, qualityTable, vectorDimOf } from '../semantic-ids/index.ts'
import type {
  AssignmentInput,
  CollisionReport,
  NeighborOptions,
  QualityGateRow,
  QualityGateRules,
  QualityReport,
} from '../semantic-ids/index.ts'
import { readBundleDirectory } from './bundle-directory.ts'
import type { StoredBundle } from './bundle-directory.ts'
import { isDirectory, itemLabels, itemPairs, itemTraffic, readItemCodes } from './sid-items.ts'
import type { ItemCodes, ItemTable } from './sid-items.ts'
import { allVectors } from './sid-vectors.ts'
import type { VectorFile } from './sid-vectors.ts'

/** Codes, with what they were made of where that is known. */
export interface SidAssignment {
  /** A `codes` file, or the directory of a bundle, which then is the bundle too. */
  readonly codes: string
  readonly vectors?: VectorFile
  /** Directory of the bundle that made them. */
  readonly bundle?: string
}

export interface SidReportFiles extends SidAssignment {
  /** What it is compared with; vectors and bundle that are left out are those of now. */
  readonly previous?: SidAssignment
  /** Codes per level. @default those of the bundle, else one more than the largest code */
  readonly sizes?: readonly number[]
  readonly labels?: ItemTable
  readonly traffic?: ItemTable
  readonly pairs?: ItemTable
  readonly neighbors?: Partial<NeighborOptions> | false
  readonly gate?: QualityGateRules
  /** Directory of `report.json`, `report.parquet` and `report.html`; made where it is missing. */
  readonly out: string
  /** @param what - is being done now */
  readonly onStep?: (what: string) => void
}

export interface SidReported {
  readonly report: QualityReport
  readonly gate: readonly QualityGateRow[]
  /** Items that stand on one side only, and so are not measured. */
  readonly leftOut: { readonly onlyNow: number; readonly onlyBefore: number }
}

/** One side, its rows in the order of `ids`. */
interface Side {
  readonly read: ItemCodes
  readonly stored: StoredBundle | undefined
  readonly vectors: { readonly rows: Float32Array; readonly rowOf: ReadonlyMap<string, number>; readonly dim: number } | undefined
}

/**
 * Measures codes and writes the report. A gate that fails is told, not thrown.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID, SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT,
 *   SIDESTREAM_SHAPE_MISMATCH for codes that cannot be compared, SIDESTREAM_ID_INVALID for an item that stands twice,
 *   SIDESTREAM_USAGE_INVALID for a threshold on a figure that was not measured
 */
export async function sidReportFiles(files: SidReportFiles): Promise<SidReported> {
  const { previous, out, onStep } = files
  await requireWritable(out)
  onStep?.('reading')
  const now = await readSide(files)
  const before = previous && (await readSide(previous))
  const shared = before && new Set(before.read.ids)
  const ids = shared ? now.read.ids.filter((id) => shared.has(id)) : now.read.ids
  if (ids.length === 0) {
    throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `${files.codes} and ${previous?.codes} have no item in common: check the ids`)
  }
  const sizes = files.sizes ?? sizesOf(now, before)
  const rowOf = new Map(ids.map((id, row) => [id, row]))
  const labels = files.labels && (await itemLabels(files.labels, rowOf))
  const traffic = files.traffic && (await itemTraffic(files.traffic, rowOf))
  const pairs = files.pairs && (await itemPairs(files.pairs, rowOf))
  onStep?.('measuring')
  const own = sideInput(now, ids, files.codes)
  const report = await qualityReport(
    {
      ...own,
      sizes,
      ...(labels && { labels }),
      ...(traffic && { traffic }),
      ...(pairs && { pairs }),
      ...(before && { before: { ...sideInput(before, ids, previous!.codes), sizes } }),
    },
    files.neighbors === undefined ? {} : { neighbors: files.neighbors },
  )
  const gate = qualityGate(files.gate ?? {}, report.figures)
  const leftOut = { onlyNow: now.read.ids.length - ids.length, onlyBefore: before ? before.read.ids.length - ids.length : 0 }
  onStep?.('writing')
  const space = idSpace({ codes: own.codes, sizes, ids, ...(labels && { labels }), ...(traffic && { traffic }) })
  const collisions = now.stored?.metrics['collisions'] as CollisionReport | null | undefined
  const page = await semanticIdPage({
    report,
    title: `Semantic IDs of ${basename(files.codes)}`,
    space,
    ...(collisions && { collisions }),
    ...(gate.length > 0 && { gate }),
  })
  await writeWhole(join(out, 'report.json'), (handle) => handle.writeFile(`${JSON.stringify({ ...report, gate, leftOut })}\n`))
  await writeParquet(join(out, 'report.parquet'), qualityColumns, (rows) => rows.write(qualityTable(report.figures)))
  await writeWhole(join(out, 'report.html'), (handle) => handle.writeFile(page))
  return { report, gate, leftOut }
}

async function readSide({ codes, bundle, vectors }: SidAssignment): Promise<Side> {
  const directory = bundle ?? ((await isDirectory(codes)) ? codes : undefined)
  const stored = directory === undefined ? undefined : await readBundleDirectory(directory)
  const read = await readItemCodes(codes)
  if (vectors === undefined) return { read, stored, vectors: undefined }
  const dim = stored && vectorDimOf(stored.bundle.codebooks, stored.bundle.network)
  const held = await allVectors(vectors, dim)
  const rowOf = new Map(held.ids.map((id, row) => [id, row]))
  if (rowOf.size < held.ids.length) {
    const twice = held.ids.find((id, row) => rowOf.get(id) !== row)
    throw new SidestreamError('SIDESTREAM_ID_INVALID', `${vectors.in}: the item ${JSON.stringify(twice)} stands twice: give each item once`)
  }
  const without = read.ids.find((id) => !rowOf.has(id))
  if (without !== undefined) {
    throw new SidestreamError(
      'SIDESTREAM_FILE_INVALID',
      `${vectors.in}: lacks the vector of ${JSON.stringify(without)}, which has codes in ${codes}: give the vectors of all items`,
    )
  }
  return { read, stored, vectors: { rows: held.vectors, rowOf, dim: held.dim } }
}

/** @throws SIDESTREAM_SHAPE_MISMATCH */
function sizesOf(now: Side, before: Side | undefined): number[] {
  const stored = now.stored?.bundle.codebooks.sizes
  const { levels } = now.read
  if (before !== undefined && before.read.levels !== levels) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `IDs have ${levels} codes now and had ${before.read.levels} before: codes of two shapes cannot be compared`,
    )
  }
  if (stored !== undefined) return [...stored]
  const sizes = before?.stored ? [...before.stored.bundle.codebooks.sizes] : Array.from({ length: levels }, () => 1)
  for (const { read } of [now, ...(before ? [before] : [])])
    for (let at = 0; at < read.codes.length; at++) sizes[at % levels] = Math.max(sizes[at % levels]!, read.codes[at]! + 1)
  return sizes
}

/** One side over `ids`, as the report takes it. */
function sideInput({ read, stored, vectors }: Side, ids: readonly string[], file: string): Omit<AssignmentInput, 'sizes'> {
  const { levels } = read
  const rowOf = new Map(read.ids.map((id, row) => [id, row]))
  const codes = new Uint16Array(ids.length * levels)
  for (const [to, id] of ids.entries()) {
    const from = rowOf.get(id)! * levels
    codes.set(read.codes.subarray(from, from + levels), to * levels)
  }
  const { codebooks, settings, network } = stored?.bundle ?? {}
  if (codebooks !== undefined && codebooks.sizes.length !== levels) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${file}: IDs have ${levels} codes, those of the bundle ${codebooks.sizes.length}: name the bundle that made them`,
    )
  }
  const rows = vectors && alignedRows(vectors, ids)
  return {
    ids,
    codes,
    ...(vectors && rows && { vectors: rows, dim: vectors.dim }),
    ...(codebooks && settings && { codebooks, settings }),
    ...(network && { network }),
  }
}

function alignedRows({ rows, rowOf, dim }: NonNullable<Side['vectors']>, ids: readonly string[]): Float32Array {
  const out = new Float32Array(ids.length * dim)
  for (const [to, id] of ids.entries()) {
    const from = rowOf.get(id)! * dim
    out.set(rows.subarray(from, from + dim), to * dim)
  }
  return out
}

const rule = z.strictObject({
  min: z.number().nullable().optional(),
  max: z.number().nullable().optional(),
  maxLoss: z.number().nullable().optional(),
})

/**
 * Thresholds of a YAML or JSON file: by figure, `min`, `max` and `maxLoss`.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID
 */
export async function readSidGate(file: string): Promise<QualityGateRules> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw fileError(file, error)
  })
  let value: unknown
  try {
    value = parse(text)
  } catch (error) {
    throw fileError(file, error)
  }
  const rules = z.record(z.string(), rule).safeParse(value)
  if (rules.success) return rules.data as QualityGateRules
  throw new SidestreamError(
    'SIDESTREAM_FILE_INVALID',
    `${file}: must hold thresholds by figure, such as {"uniqueRate": {"min": 0.7}}; ${z.prettifyError(rules.error)}`,
    { file, cause: rules.error },
  )
}
