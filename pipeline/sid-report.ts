/**
 * `sid report`: figures, table and page of the codes in a file, beside earlier ones, with thresholds.
 * Invariant: figures are of all items, what is compared with earlier codes of those that both hold; who stands on one side only is counted.
 */

import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { fileError, isSidestreamError, requireWritable, SidestreamError, writeParquet, writeWhole } from '../schemas/index.ts'
import { idSpace, qualityColumns, qualityGate, qualityReport, qualityTable } from '../semantic-ids/index.ts'
import type { CollisionReport, NeighborOptions, QualityGateRow, QualityGateRules, QualityReport } from '../semantic-ids/index.ts'
import { itemLabels, itemPairs, itemTraffic, itemTitles } from './sid-items.ts'
import type { ItemTable } from './sid-items.ts'
import { readSide, sizesOf } from './sid-sides.ts'
import type { Side, SidAssignment } from './sid-sides.ts'

export interface SidReportFiles extends SidAssignment {
  /** What it is compared with; vectors and bundle that are left out are those of now. */
  readonly previous?: SidAssignment
  /** Least share of the items now, and of those before, that stand on both sides; 1 refuses other items. @default 0.5 */
  readonly minShared?: number
  /** Codes per level. @default those of the bundles, else one more than the largest code, which is said */
  readonly sizes?: readonly number[]
  /** What people call an item, for the examples of the page. */
  readonly titles?: ItemTable
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
  /** Whether the sizes of the levels were guessed from the largest codes. */
  readonly sizesGuessed: boolean
  /** What has to be known to read the figures: guessed sizes, items on one side only. */
  readonly notes: readonly string[]
}

export const sidReportDefaults = { minShared: 0.5 } as const

/**
 * Measures codes and writes the report. A gate that fails is told, not thrown.
 * @throws SIDESTREAM_FILE_UNREADABLE, SIDESTREAM_FILE_INVALID, SIDESTREAM_ARTIFACT_MISSING, SIDESTREAM_ARTIFACT_CORRUPT,
 *   SIDESTREAM_SHAPE_MISMATCH for codes that cannot be compared, SIDESTREAM_ID_INVALID for an item that stands twice,
 *   SIDESTREAM_USAGE_INVALID for a threshold on a figure that was not measured
 */
export async function sidReportFiles(files: SidReportFiles): Promise<SidReported> {
  const { previous, out, onStep, minShared = sidReportDefaults.minShared } = files
  await requireWritable(out)
  onStep?.('reading')
  const now = await readSide(files)
  const before = previous && (await readSide(previous))
  const { sizes, guessed: sizesGuessed, notes: told } = sizesOf(files.sizes, before ? [now, before] : [now])
  const { titles, labels, traffic, pairs } = await aboutItems(files, now.input.ids)
  onStep?.('measuring')
  const about = { ...(labels && { labels }), ...(traffic && { traffic }) }
  const report = await qualityReport(
    { ...now.input, sizes, ...about, ...(pairs && { pairs }), ...(before && { before: before.input }) },
    { minShared, ...(files.neighbors !== undefined && { neighbors: files.neighbors }) },
  ).catch((error: unknown) => {
    throw isSidestreamError(error) && error.details['shared'] !== undefined ? tooFewShared(files, error) : error
  })
  const gate = qualityGate(files.gate ?? {}, report.figures)
  const notes = [...told, ...cohortNotes(report), ...latentNotes(before ? [now, before] : [now])]
  onStep?.('writing')
  const { ids, codes } = now.input
  const collisions = now.stored?.bundle.metrics['collisions'] as CollisionReport | null | undefined
  const { semanticIdPage } = await import('../replay/index.ts') // loaded by those who write a page
  const page = await semanticIdPage({
    report,
    title: `Semantic IDs of ${basename(files.codes)}`,
    notes,
    space: idSpace({ codes, sizes, ids, ...about, ...(titles && { titles }) }),
    ...(collisions && { collisions }),
    ...(gate.length > 0 && { gate }),
  })
  await writeWhole(join(out, 'report.json'), (handle) => handle.writeFile(`${JSON.stringify({ ...report, gate, sizesGuessed, notes })}\n`))
  await writeParquet(join(out, 'report.parquet'), qualityColumns, (rows) => rows.write(qualityTable(report.figures)))
  await writeWhole(join(out, 'report.html'), (handle) => handle.writeFile(page))
  return { report, gate, sizesGuessed, notes }
}

function tooFewShared({ codes, previous, minShared }: SidReportFiles, cause: SidestreamError): SidestreamError {
  const { after, before, shared } = cause.details
  return new SidestreamError(
    'SIDESTREAM_SHAPE_MISMATCH',
    `${codes} holds ${String(after)} items, ${previous!.codes} ${String(before)}, and ${String(shared)} are in both: ${
      shared === 0
        ? 'check the ids'
        : `less than ${minShared ?? sidReportDefaults.minShared} of either side; check the ids, or set --min-shared to what is enough`
    }`,
    { cause },
  )
}

/** What the tables say of the items, by row. */
async function aboutItems({ titles, labels, traffic, pairs }: SidReportFiles, ids: readonly string[]) {
  // Millions of items make a large map: only where something is looked up in it.
  if (!titles && !labels && !traffic && !pairs) return {}
  const rowOf = new Map<string, number>()
  for (let row = 0; row < ids.length; row++) rowOf.set(ids[row]!, row)
  return {
    titles: titles && (await itemTitles(titles, rowOf)),
    labels: labels && (await itemLabels(labels, rowOf)),
    traffic: traffic && (await itemTraffic(traffic, rowOf)),
    pairs: pairs && (await itemPairs(pairs, rowOf)),
  }
}

/** What is measured behind a network. */
function latentNotes(sides: readonly Side[]): string[] {
  return sides.flatMap(({ file, input: { vectors, network } }) =>
    vectors === undefined || network === undefined
      ? []
      : [
          `${file} has a network: FVU, distortion and cosine are of the latent vectors that it makes, not of those given; what its decoder does not give back is the FVU that the fit told`,
        ],
  )
}

/** Who is not compared. */
function cohortNotes({ compared }: QualityReport): string[] {
  if (compared === null || compared.onlyAfter + compared.onlyBefore === 0) return []
  const { items, onlyAfter, onlyBefore } = compared
  return [
    `figures are of all items; before, change and churn are of the ${items} that have codes on both sides: ${onlyAfter} have none before, ${onlyBefore} have none now`,
  ]
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
