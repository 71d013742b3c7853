/** `sidestream sid report`: how good IDs are, beside earlier ones, with thresholds. */

import { join } from 'node:path'
import type { Command } from 'commander'
import { SidestreamError } from '../../schemas/index.ts'
import { readSidGate, sidReportDefaults, sidReportFiles } from '../../pipeline/index.ts'
import type { SidAssignment, SidReported, SidReportFiles } from '../../pipeline/index.ts'
import { once, plainCommand, wholeNumber } from '../options.ts'
import { createOutput, exitCodes } from '../output.ts'
import { columnsOf, itemTable, share, tableOption, threadsOption, vectorFile, vectorOptions, wholeNumbers } from './shared.ts'
import type { VectorOptions } from './shared.ts'

type Gate = NonNullable<SidReportFiles['gate']>

interface Options extends VectorOptions {
  readonly json: boolean
  readonly codes: string
  readonly bundle?: string
  readonly previous?: string
  readonly previousIn?: string
  readonly previousBundle?: string
  readonly minShared: number
  readonly levels?: number[]
  readonly titles?: string
  readonly titlesColumns: [string, string]
  readonly labels?: string
  readonly labelsColumns: [string, string]
  readonly traffic?: string
  readonly trafficColumns: [string, string]
  readonly pairs?: string
  readonly pairsColumns: [string, string]
  readonly k: number
  readonly queries?: number
  readonly neighbors: boolean
  readonly gate?: string
  readonly min: Gate
  readonly max: Gate
  readonly maxLoss: Gate
  readonly threads: number
  readonly out: string
}

export function sidReportCommand(): Command {
  const codesText = '.parquet or .csv with columns item_id, sid; or the directory of a bundle'
  const base = plainCommand('report', 'Measure semantic IDs and write report.json, report.parquet and report.html.')
    .requiredOption('--codes <path>', codesText, once('--codes'))
    .requiredOption('--out <dir>', 'directory of the report', once('--out'))
    .option('--bundle <dir>', 'bundle that made the codes: for distortion (that of --codes)', once('--bundle'))
    .option('--previous <path>', `earlier codes, compared over the items that both hold: ${codesText}`, once('--previous'))
    .option('--previous-in <file>', 'vectors of then, where they have changed (those of --in)', once('--previous-in'))
    .option('--previous-bundle <dir>', 'bundle of then (that of --previous, else that of now)', once('--previous-bundle'))
    .option(
      '--min-shared <share>',
      'refuse earlier codes that share less than this of the items of either side; 1: the same items',
      share('--min-shared'),
      sidReportDefaults.minShared,
    )
    .option(
      '--levels <sizes>',
      'codes per level, where there is no bundle to tell (guessed from the largest codes)',
      wholeNumbers('--levels', 1, 65_536),
    )
  const tables = [
    ['titles', 'what people call an item: for the examples', 'item_id,title'],
    ['labels', 'a category per item: for purity', 'item_id,label'],
    ['traffic', 'traffic per item: for slices and weighted churn', 'item_id,traffic'],
    ['pairs', 'items that are consumed together', 'query_id,target_id'],
  ] as const
  const command = tables
    .reduce((own, [name, meaning, columns]) => tableOption(own, name, meaning, columns), vectorOptions(base, 'optional'))
    .option('--k <number>', 'nearest items that prefixes are held against', wholeNumber('--k', 1), 10)
    .option(
      '--queries <number>',
      'most items whose nearest are looked for, among all (20000; 2000 at least where there are millions)',
      wholeNumber('--queries', 1),
    )
    .option('--no-neighbors', 'look for no nearest items: the one part whose cost grows with items times queries')
    .option('--gate <file>', 'thresholds by figure, YAML or JSON: uniqueRate: { min: 0.7 }', once('--gate'))
    .option('--min <figure=value>', 'fail below it; may be given often', threshold('min'), {})
    .option('--max <figure=value>', 'fail above it; may be given often', threshold('max'), {})
    .option('--max-loss <figure=value>', 'fail when it is worse than before by more; may be given often', threshold('maxLoss'), {})
  return threadsOption(command).action(async (options: Options) => {
    const { json, out, k, queries, threads, levels } = options
    const titles = itemTable(options.titles, options.titlesColumns)
    const labels = itemTable(options.labels, options.labelsColumns)
    const traffic = itemTable(options.traffic, options.trafficColumns)
    const pairs = itemTable(options.pairs, options.pairsColumns)
    const output = createOutput(json)
    const reported = await sidReportFiles({
      ...assignment(options.codes, options.in === undefined ? undefined : vectorFile(options.in, options), options.bundle),
      ...previousOf(options),
      minShared: options.minShared,
      ...(levels && { sizes: levels }),
      ...(titles && { titles }),
      ...(labels && { labels }),
      ...(traffic && { traffic }),
      ...(pairs && { pairs }),
      neighbors: options.neighbors && { k, ...(queries !== undefined && { queries }), threads },
      gate: await gateOf(options),
      out,
      onStep: (what) => {
        if (!json) output.note(what)
      },
    })
    const { gate, report, sizesGuessed, notes } = reported
    const { cohort, compared } = report
    const failed = gate.filter(({ verdict }) => verdict === 'fail')
    const verdict = gate.length === 0 ? null : failed.length > 0 ? 'fail' : 'pass'
    const figures = Object.fromEntries(report.figures.map(({ figure, value }) => [figure, value]))
    output.result(
      { out, items: cohort.items, sizes: cohort.sizes, sizesGuessed, compared, notes, verdict, gate, figures },
      reportText(reported, out),
    )
    if (failed.length > 0) process.exitCode = exitCodes.refused
  })
}

function assignment(codes: string, vectors: SidAssignment['vectors'], bundle: string | undefined): SidAssignment {
  return { codes, ...(vectors && { vectors }), ...(bundle !== undefined && { bundle }) }
}

function previousOf({ previous, previousIn, previousBundle, ...own }: Options): { previous?: SidAssignment } {
  if (previous !== undefined) {
    return { previous: assignment(previous, previousIn === undefined ? undefined : vectorFile(previousIn, columnsOf(own)), previousBundle) }
  }
  const alone = previousIn !== undefined ? '--previous-in' : previousBundle !== undefined ? '--previous-bundle' : undefined
  if (alone !== undefined)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `${alone} says more of earlier codes: name them with --previous`)
  return {}
}

/** Thresholds of the file and of the flags, which win. */
async function gateOf({ gate, min, max, maxLoss }: Options): Promise<Gate> {
  const rules: Record<string, Gate[string]> = gate === undefined ? {} : { ...(await readSidGate(gate)) }
  for (const flags of [min, max, maxLoss]) for (const [figure, rule] of Object.entries(flags)) rules[figure] = { ...rules[figure], ...rule }
  return rules
}

/** @throws SIDESTREAM_USAGE_INVALID */
function threshold(rule: 'min' | 'max' | 'maxLoss'): (text: string, before: Gate) => Gate {
  return (text, before) => {
    const [, figure, bound] = /^([^=]+)=(.+)$/.exec(text) ?? []
    const value = Number(bound)
    if (figure === undefined || !Number.isFinite(value)) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `a threshold is a figure and a number, such as uniqueRate=0.7, not "${text}"`)
    }
    return { ...before, [figure]: { ...before[figure], [rule]: value } }
  }
}

function reportText({ report, gate, notes }: SidReported, out: string): string {
  const isPart = report.shared !== null
  const figure = (name: string): string => {
    const row = report.figures.find((own) => own.figure === name)
    return row === undefined || row.value === null
      ? '-'
      : `${round(row.value)}${row.before === null ? '' : ` (${isPart && row.shared !== null ? `shared items: ${round(row.shared)}, ` : ''}before: ${round(row.before)})`}`
  }
  const dead = report.after.all.usage.levels.map((level) => level.dead)
  const has = (name: string): boolean => report.figures.some((row) => row.figure === name && row.value !== null)
  return [
    `${report.cohort.items} items, codes of ${report.cohort.sizes.join(' x ')}`,
    ...notes.map((note) => `note: ${note}`),
    `unique IDs per item ${figure('uniqueRate')}, items alone in theirs ${figure('uniquelyIdentified')}, fullest ID ${figure('maxBucket')} items`,
    `codes without an item per level: ${dead.join(', ')}`,
    ...(has('fvu') ? [`variance unexplained (FVU) ${figure('fvu')}`] : []),
    ...(has('churn.full') ? [`items whose ID changed ${figure('churn.full')}, whose first code ${figure('churn.firstCode')}`] : []),
    ...gate
      .filter(({ verdict }) => verdict !== 'pass')
      .map(
        ({ figure: name, rule, bound, candidate, verdict }) =>
          `${verdict === 'fail' ? 'failed' : 'too little behind'}: ${name} ${candidate ?? '-'}, ${rule} ${bound}`,
      ),
    ...(gate.length > 0 ? [`thresholds: ${gate.filter(({ verdict }) => verdict === 'fail').length} of ${gate.length} failed`] : []),
    `written to ${out}, with ${join(out, 'report.html')}`,
  ].join('\n')
}

function round(value: number): string {
  return String(Number(value.toPrecision(5)))
}
