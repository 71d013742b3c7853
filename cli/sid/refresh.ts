/** `sidestream sid refresh`: a bundle renewed within a churn budget. */

import { Option } from 'commander'
import type { Command } from 'commander'
import { isSidestreamError, SidestreamError } from '../../schemas/index.ts'
import { sidCurve, sidDuplicates, sidRefreshDefaults, sidRefreshFiles } from '../../pipeline/index.ts'
import type { SidCurvePoint, SidDuplicates, SidRefreshed, SidRefreshPlan } from '../../pipeline/index.ts'
import { interruptSignal, once, plainCommand, wholeNumber } from '../options.ts'
import { createOutput, exitCodes, textTable } from '../output.ts'
import type { Output } from '../output.ts'
import {
  capacityText,
  columnsOf,
  interrupted,
  itemTable,
  PhaseBars,
  share,
  suffixLines,
  tableOption,
  threadsOption,
  vectorFile,
  vectorOptions,
  wholeNumbers,
} from './shared.ts'
import type { VectorOptions } from './shared.ts'

export type ChurnBudget = Extract<SidRefreshPlan, { kind: 'refresh' }>['budget']

interface Options extends VectorOptions {
  readonly json: boolean
  readonly bundle: string
  readonly codes?: string
  readonly in: string
  readonly churnBudget?: number
  readonly firstCodeBudget?: number
  readonly levelBudget?: (number | null)[]
  readonly prefixBudget?: (number | null)[]
  readonly trafficBudget?: number
  readonly traffic?: string
  readonly trafficColumns: [string, string]
  readonly ceiling?: number
  readonly rotateFrom?: string
  readonly capacity?: number | 'none'
  readonly duplicates?: SidDuplicates
  readonly suffix?: boolean
  readonly rotateBlocks?: number[]
  readonly rebase: boolean
  readonly relabel?: 'first' | 'all'
  readonly seed: number
  readonly threads: number
  readonly minShared: number
  readonly out: string
}

export function sidRefreshCommand(): Command {
  const base = plainCommand('refresh', 'Renew a bundle for moved vectors while at most a share of the items changes its ID.')
    .requiredOption('--bundle <dir>', 'bundle to renew', once('--bundle'))
    .option(
      '--codes <path>',
      'published codes: .parquet or .csv with columns item_id, sid (and suffix); or a bundle (that of --bundle)',
      once('--codes'),
    )
  const command = vectorOptions(base)
    .requiredOption('--out <dir>', 'directory of the new bundle; nothing may stand there', once('--out'))
    .option(
      '--churn-budget <share>',
      'most items that had an ID and change it, 0 to 1; with a finite-scalar level bound what stands before it: --prefix-budget',
      share('--churn-budget'),
    )
    .option('--first-code-budget <share>', 'most that change the first code', share('--first-code-budget'))
    .option('--level-budget <shares>', 'most that change code 1, 2, …, between commas; any: no bound', shares('--level-budget'))
    .option('--prefix-budget <shares>', 'most that change one of the first 1, 2, … codes; any: no bound', shares('--prefix-budget'))
    .option('--traffic-budget <share>', 'most of the traffic whose items change their ID; takes --traffic', share('--traffic-budget'))
    .option('--ceiling <factor>', `most distortion, relative to a free fit on the same vectors (${sidRefreshDefaults.ceiling})`, factor)
    .option(
      '--min-shared <share>',
      'refuse a file that holds less than this of the published items',
      share('--min-shared'),
      sidRefreshDefaults.minShared,
    )
    .option('--rotate-from <file>', 'vectors of then: codebooks are rotated to where the items are now, first', once('--rotate-from'))
    .option(
      '--rotate-blocks <ends>',
      'where the blocks end that are rotated apart, such as 64,128: those of Matryoshka prefixes (one block)',
      wholeNumbers('--rotate-blocks', 1, 65_536),
    )
    .option('--capacity <items>', 'most items of one ID, or none; who keeps an ID never moves (as the bundle has it)', capacity)
    .addOption(
      new Option('--duplicates <rule>', 'identical vectors take one place of the capacity, or a place each (as the bundle has it)').choices(
        sidDuplicates,
      ),
    )
    .option('--suffix', 'number the items of each ID; who keeps an ID keeps the number beside it in --codes (as the bundle has it)')
    .option('--rebase', 'declare a new ID space instead: everything may change', false)
    .addOption(
      new Option('--relabel [levels]', 'with --rebase: rename codes after the old ones, of the first level or of all')
        .choices(['first', 'all'])
        .preset('first'),
    )
    .option('--seed <number>', 'of the free fit, and of a re-base', wholeNumber('--seed'), sidRefreshDefaults.seed)
  tableOption(command, 'traffic', 'traffic per item, for --traffic-budget and weighted churn', 'item_id,traffic')
  return threadsOption(command).action(async (options: Options) => {
    const { json, bundle, codes, out, seed, threads, minShared, capacity, duplicates } = options
    const output = createOutput(json)
    const plan = planOf(options)
    const traffic = itemTable(options.traffic, options.trafficColumns)
    const signal = interruptSignal()
    const fit = plan.kind === 'refresh' ? 'fitting freely, to compare' : 'fitting anew'
    const bars = new PhaseBars(output, { read: 'reading', search: 'searching the switching cost', fit })
    try {
      const result = await sidRefreshFiles({
        ...vectorFile(options.in, options),
        ...{ bundle, out, plan, seed, threads, minShared, signal },
        ...(codes !== undefined && { codes }),
        ...(traffic && { traffic }),
        ...(capacity !== undefined && { capacity: capacity === 'none' ? null : capacity }),
        ...(duplicates && { duplicates }),
        ...(options.suffix && { suffix: true }),
        onProgress: bars.show,
      })
        .catch(interrupted(signal, `no bundle was written to ${out}; give the same command again`))
        .finally(() => bars.end())
      output.result({ out, ...result }, refreshText(result, out, plan))
    } catch (error) {
      if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_BUDGET_REFUSED') throw error
      refuse(output, error)
    }
  })
}

/** @throws SIDESTREAM_USAGE_INVALID */
function planOf(options: Options): SidRefreshPlan {
  const { churnBudget, firstCodeBudget, levelBudget, prefixBudget, trafficBudget, ceiling, rotateFrom, rotateBlocks } = options
  const { rebase, relabel, traffic } = options
  const refuseUsage = (what: string): never => {
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', what)
  }
  const bounds = { churnBudget, firstCodeBudget, levelBudget, prefixBudget, trafficBudget, ceiling, rotateFrom, rotateBlocks }
  const given = Object.values(bounds).some((value) => value !== undefined)
  if (rebase) {
    if (given) refuseUsage('a re-base keeps no budget, no ceiling and no rotation: leave those out, or leave --rebase out')
    return { kind: 're-base', relabel: relabel ?? 'none' }
  }
  if (relabel !== undefined) refuseUsage('--relabel renames the codes of a re-base: add --rebase, or leave it out')
  if (
    churnBudget === undefined &&
    firstCodeBudget === undefined &&
    levelBudget === undefined &&
    prefixBudget === undefined &&
    trafficBudget === undefined
  )
    refuseUsage('say how many IDs may change with --churn-budget, such as 0.1 (0: none, 1: all), or declare a new ID space with --rebase')
  if (trafficBudget !== undefined && traffic === undefined) refuseUsage('--traffic-budget needs traffic per item: add --traffic <file>')
  if (rotateBlocks !== undefined && rotateFrom === undefined)
    refuseUsage('--rotate-blocks says how to rotate: add --rotate-from <file>, the vectors of then')
  return {
    kind: 'refresh',
    budget: {
      full: churnBudget ?? 1,
      ...(firstCodeBudget !== undefined && { firstCode: firstCodeBudget }),
      ...(levelBudget !== undefined && { perLevel: levelBudget }),
      ...(prefixBudget !== undefined && { prefix: prefixBudget }),
      ...(trafficBudget !== undefined && { trafficWeighted: trafficBudget }),
    },
    ...(ceiling !== undefined && { ceiling }),
    ...(rotateFrom !== undefined && { rotateFrom: vectorFile(rotateFrom, columnsOf(options)) }),
    ...(rotateBlocks !== undefined && { rotateBlocks }),
  }
}

/** A refusal with its curve: one object for programs, a table and what to do for people. */
function refuse(output: Output, { code, message, details }: SidestreamError): void {
  const { curve: tried, ...figures } = details as { curve: Parameters<typeof sidCurve>[0]; budget: ChurnBudget } & Record<string, unknown>
  const curve = sidCurve(tried)
  // An infinite switching cost is null in JSON, as in the curve.
  if (output.json) output.result({ error: { code, message }, ...figures, curve }, '')
  output.note(`${curveText(curve, figures.budget)}\n${code}: ${message}. No bundle was written.`)
  process.exitCode = exitCodes.refused
}

function refreshText(result: SidRefreshed, out: string, plan: SidRefreshPlan): string {
  const {
    kind,
    items,
    churn,
    fvu,
    freeFvu,
    uniqueRate,
    maxBucket,
    newItems,
    curve,
    relabel,
    idSpace,
    collisions,
    capacityBefore,
    suffixes,
    keptSuffixes,
  } = result
  const against =
    freeFvu === null ? '' : freeFvu === 0 ? ', where a free fit leaves none' : `, ${(fvu / freeFvu).toFixed(3)} times that of a free fit`
  return [
    ...(plan.kind === 're-base' ? [] : [curveText(curve, plan.budget), '']),
    `${items.known} items had an ID${items.returned === 0 ? '' : ` (${items.returned} of them were away)`}, ${items.fresh} are new, ${items.vanished} have vanished`,
    ...(items.forgotten === 0
      ? []
      : [`${items.forgotten} that vanished before are forgotten: no more are remembered than there are items, and a million`]),
    ...(churn === null
      ? []
      : [
          `IDs changed: ${percent(churn.full)} (first code ${percent(churn.firstCode)}${churn.trafficWeighted === undefined ? '' : `, of the traffic ${percent(churn.trafficWeighted)}`})`,
        ]),
    ...(result.frozenByFsq && churn !== null ? [frozenText(churn.prefix.length)] : []),
    `variance unexplained (FVU) ${fvu.toFixed(4)}${against}; unique IDs per item ${percent(uniqueRate)}, fullest ID ${maxBucket} items`,
    ...(newItems === null || newItems.knownDistortion === null
      ? []
      : [`squared error of new items ${newItems.distortion.toPrecision(4)}, of the others ${newItems.knownDistortion.toPrecision(4)}`]),
    ...(collisions === null ? [] : [capacityText(collisions)]),
    ...(capacityBefore === null || collisions?.capacity === capacityBefore
      ? []
      : [`the capacity was ${capacityBefore}${collisions === null ? ' and is dropped: nothing bounds the items of an ID any more' : ''}`]),
    ...suffixLines(suffixes, kind === 're-base' ? null : keptSuffixes),
    ...(newItems?.recall ? [recallText(newItems.recall)] : []),
    ...(relabel === null
      ? []
      : [
          ...relabel.levels.flatMap((level, at) =>
            level === null ? [] : [`code ${at + 1} as before: ${percent(level.before)}, renamed ${percent(level.after)}`],
          ),
          relabel.limit,
        ]),
    kind === 're-base' ? `a new ID space, ${idSpace}: readers change over as to another feature` : `ID space ${idSpace}, as before`,
    `written to ${out}`,
  ].join('\n')
}

/** @param levels - codes of an ID, that of the finite-scalar level the last one */
function frozenText(levels: number): string {
  const bounds = [...Array.from({ length: levels - 2 }, () => 'any'), '0.1'].join(',')
  return `all IDs are frozen: nothing else keeps a bound that counts code ${levels}, which is of the finite-scalar level and follows from what the others leave. Bound the codes before it instead, with --prefix-budget ${bounds} alone, say`
}

function recallText({
  k,
  queries,
  knownQueries,
  recall,
  knownRecall,
}: NonNullable<NonNullable<SidRefreshed['newItems']>['recall']>): string {
  const others = knownRecall === null ? '' : `, of the others ${percent(knownRecall)} (${knownQueries} asked)`
  return `of the ${k} nearest of new items ${percent(recall)} are among the ${k} nearest by ID (${queries} asked)${others}`
}

interface CurveColumn {
  readonly name: string
  /** 1: none. */
  readonly bound: number
  readonly of: (point: SidCurvePoint) => number
}

/** A table of the switching costs that were tried: churn of IDs and first codes, and whatever else is bounded or weighted; bounds in brackets. */
export function curveText(curve: readonly SidCurvePoint[], budget: ChurnBudget): string {
  const { full, firstCode = 1, prefix = [], perLevel = [], trafficWeighted = 1 } = budget
  const later = (bounds: readonly (number | null)[], column: (level: number) => Omit<CurveColumn, 'bound'>): CurveColumn[] =>
    bounds.flatMap((bound, level) => (level === 0 || bound === null ? [] : [{ ...column(level), bound }]))
  const columns: CurveColumn[] = [
    { name: 'IDs changed', bound: full, of: ({ churn }) => churn },
    { name: 'first codes', bound: Math.min(firstCode, prefix[0] ?? 1, perLevel[0] ?? 1), of: (point) => point.firstCode },
    ...later(prefix, (level) => ({ name: `first ${level + 1} codes`, of: (point) => point.prefix[level]! })),
    ...later(perLevel, (level) => ({ name: `code ${level + 1}`, of: (point) => point.perLevel[level]! })),
    ...(curve[0]?.trafficWeighted === undefined
      ? []
      : [{ name: 'of traffic', bound: trafficWeighted, of: (point: SidCurvePoint) => point.trafficWeighted! }]),
  ]
  return textTable(
    [
      'switching cost',
      ...columns.map(({ name, bound }) => (bound < 1 ? `${name} (${Number((100 * bound).toPrecision(4))} %)` : name)),
      'FVU',
      'within budget',
    ],
    curve.map((point) => [
      point.delta === null ? 'infinite' : String(Number(point.delta.toPrecision(4))),
      ...columns.map(({ of }) => percent(of(point))),
      point.fvu.toFixed(5),
      point.within ? 'yes' : 'no',
    ]),
  )
}

function percent(value: number): string {
  return `${(100 * value).toFixed(2)} %`
}

/** @throws SIDESTREAM_USAGE_INVALID */
function capacity(text: string): number | 'none' {
  return text === 'none' ? text : wholeNumber('--capacity', 1)(text)
}

function shares(what: string): (text: string) => (number | null)[] {
  return (text) => text.split(',').map((part) => (part.trim() === 'any' ? null : share(what)(part)))
}

function factor(text: string): number {
  const value = Number(text)
  if (!(value >= 1 && value < Infinity))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `--ceiling must be a number of at least 1, such as 1.25, not "${text}"`)
  return value
}
