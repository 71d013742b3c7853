/** `sidestream sid fit`: a bundle from a file of vectors. */

import { Option } from 'commander'
import type { Command } from 'commander'
import { sidCodebookUpdates, sidDuplicates, sidEstimators, sidFitDefaults, sidFitFiles, sidFitMethods } from '../../pipeline/index.ts'
import type { SidDuplicates, SidFitMethod, SidFitMetrics, SidRqVaeOptions } from '../../pipeline/index.ts'
import { interruptSignal, numberFrom, once, plainCommand, wholeNumber } from '../options.ts'
import { createOutput } from '../output.ts'
import {
  capacityText,
  interrupted,
  itemTable,
  PhaseBars,
  suffixLines,
  tableOption,
  threadsOption,
  vectorFile,
  vectorOptions,
  wholeNumbers,
} from './shared.ts'
import type { VectorOptions } from './shared.ts'

interface Options extends VectorOptions, NetworkOptions {
  readonly json: boolean
  readonly in: string
  readonly levels: number[]
  readonly method: SidFitMethod
  readonly seed: number
  readonly iterations?: number
  readonly jointRounds?: number
  readonly sampleRowsPerCode?: number
  readonly passes?: number
  readonly raw: boolean
  readonly balanced: boolean
  readonly epsilonShare?: number
  readonly normalizeResiduals: boolean
  readonly beam?: number
  readonly fsq?: number[]
  readonly attract?: string
  readonly attractColumns: [string, string]
  readonly attractWeight?: number
  readonly capacity?: number
  readonly duplicates?: SidDuplicates
  readonly suffix: boolean
  readonly threads: number
  readonly resume: boolean
  readonly out: string
}

/** Of an RQ-VAE, by the names that they have here. */
interface NetworkOptions {
  readonly epochs?: number
  readonly hidden?: number[]
  readonly latentDim?: number
  readonly batch?: number
  readonly learningRate?: number
  readonly commitment?: number
  readonly estimator?: NonNullable<SidRqVaeOptions['estimator']>
  readonly codebookUpdates?: NonNullable<SidRqVaeOptions['codebooks']>
}

export function sidFitCommand(): Command {
  const command = vectorOptions(plainCommand('fit', 'Fit codebooks on a file of vectors and write a bundle with the IDs of all its items.'))
    .requiredOption('--levels <sizes>', 'codes per level between commas, such as 256,256,256', wholeNumbers('--levels', 1, 65_536))
    .requiredOption('--out <dir>', 'directory of the bundle; nothing may stand there', once('--out'))
    .addOption(
      new Option('--method <name>', 'residual k-means, or a network trained together with its codebooks')
        .choices(sidFitMethods)
        .default(sidFitDefaults.method),
    )
    .option('--seed <number>', 'of all that is drawn', wholeNumber('--seed'), sidFitDefaults.seed)
  networkOptions(levelOptions(command))
    .option(
      '--capacity <items>',
      'most items of one ID; those beyond it take the nearest last code with room',
      wholeNumber('--capacity', 1),
    )
    .addOption(
      new Option(
        '--duplicates <rule>',
        'with --capacity: identical vectors take one place and keep one ID, or a place each (together)',
      ).choices(sidDuplicates),
    )
    .option('--suffix', 'number the items of each ID, so that ID and number are 1-1; the number has no meaning', false)
    .option('--resume', 'go on with an interrupted fit of the same file and options (begin anew where there is none, and say so)', false)
  return threadsOption(command).action(async (options: Options) => {
    const { json, levels, raw, balanced, normalizeResiduals, fsq, method, seed, threads, resume, out } = options
    const output = createOutput(json)
    const watch = new PhaseBars(output, { read: 'reading', fit: 'fitting', pass: 'passing over all rows', encode: 'encoding' })
    const signal = interruptSignal()
    const attract = itemTable(options.attract, options.attractColumns)
    const rqVae: SidRqVaeOptions = {
      ...pickGiven(options, ['epochs', 'hidden', 'latentDim', 'batch', 'learningRate', 'commitment', 'estimator']),
      ...(options.codebookUpdates && { codebooks: options.codebookUpdates }),
    }
    const metrics = await sidFitFiles({
      ...vectorFile(options.in, options),
      ...{ out, sizes: levels, method, seed, threads, resume, signal, rqVae },
      ...(raw && { normalize: false }),
      ...(balanced && { balanced }),
      ...(options.suffix && { suffix: true }),
      ...(normalizeResiduals && { normalizeResiduals }),
      ...(fsq !== undefined && { fsqDigits: fsq }),
      ...(attract && { attract }),
      ...pickGiven(options, ['iterations', 'jointRounds', 'sampleRowsPerCode', 'passes', 'epsilonShare', 'beam', 'attractWeight']),
      ...pickGiven(options, ['capacity', 'duplicates']),
      onProgress: watch.show,
      onNote: (note) => output.note(`note: ${note}`),
    })
      .catch(interrupted(signal, `no bundle was written to ${out}; the same command with --resume goes on`))
      .finally(() => watch.end())
    output.result({ out, method, ...metrics }, fitText(metrics, out))
  })
}

/** Options of residual k-means. */
function levelOptions(command: Command): Command {
  command
    .option('--iterations <number>', 'rq-kmeans: most rounds (25)', wholeNumber('--iterations', 1))
    .option('--joint-rounds <number>', 'rq-kmeans: how many of them are over all levels at once (3 of 10)', wholeNumber('--joint-rounds'))
    .option(
      '--sample-rows-per-code <number>',
      'rq-kmeans: rows fitted on, per code of the largest level (256)',
      wholeNumber('--sample-rows-per-code', 1),
    )
    .option(
      '--passes <number>',
      'rq-kmeans: rounds over all rows behind those over the sample; one that does not lower distortion is dropped (0)',
      wholeNumber('--passes'),
    )
    .option('--raw', 'rq-kmeans: vectors as they are, not at unit length', false)
    .option('--balanced', 'rq-kmeans: codes have prices, so that items spread over them', false)
    .option(
      '--epsilon-share <share>',
      'with --balanced: lower is nearer to equal shares, and more distortion (0.05)',
      numberFrom('--epsilon-share', 0.001, 10),
    )
    .option('--normalize-residuals', 'rq-kmeans: unit length before every level; excludes --beam', false)
    .option('--beam <width>', 'rq-kmeans: partial IDs that are followed at encode (1)', wholeNumber('--beam', 1))
    .option(
      '--fsq <digits>',
      'rq-kmeans: one more level behind those of --levels, finite-scalar, values per digit, such as 5,5,5',
      wholeNumbers('--fsq', 2, 65_536),
    )
  return tableOption(
    command,
    'attract',
    'rq-kmeans: items consumed together, drawn to one another in the fit',
    'query_id,target_id',
  ).option(
    '--attract-weight <share>',
    `how far an item moves toward the mean of its partners (${sidFitDefaults.attractWeight})`,
    numberFrom('--attract-weight', 0, 1),
  )
}

/** Options of an RQ-VAE. */
function networkOptions(command: Command): Command {
  return command
    .option('--epochs <number>', 'rq-vae: passes over the items; some thousand items need more (100)', wholeNumber('--epochs', 1))
    .option('--hidden <widths>', 'rq-vae: widths between vector and latent vector (512,256)', wholeNumbers('--hidden', 1, 8192))
    .option('--latent-dim <number>', 'rq-vae: dims that are quantized (64)', wholeNumber('--latent-dim', 1))
    .option('--batch <rows>', 'rq-vae: rows of a step (1024)', wholeNumber('--batch', 1))
    .option('--learning-rate <rate>', 'rq-vae: peak rate of AdamW (0.001)', numberFrom('--learning-rate', 1e-9, 1))
    .option(
      '--commitment <weight>',
      'rq-vae: of the term that holds latent vectors near their codewords (0.25)',
      numberFrom('--commitment', 0, 1000),
    )
    .addOption(new Option('--estimator <name>', 'rq-vae: how gradients pass the codebooks (straight-through)').choices(sidEstimators))
    .addOption(
      new Option('--codebook-updates <name>', 'rq-vae: codewords by gradient, or as running means (gradient)').choices(sidCodebookUpdates),
    )
}

function pickGiven<K extends keyof Options>(options: Options, names: readonly K[]): { [N in K]?: NonNullable<Options[N]> } {
  return Object.fromEntries(names.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]]))) as {
    [N in K]?: NonNullable<Options[N]>
  }
}

function fitText(
  { items, sizes, fvu, sample, distinct, uniqueRate, maxBucket, levels, collisions, suffixes, notes }: SidFitMetrics,
  out: string,
): string {
  const dead = levels.map((level) => level.dead)
  const sampleText =
    sample === null || sample.rows === items ? '' : ` over all items (${sample.fvu.toFixed(4)} over the ${sample.rows} fitted on)`
  return [
    `${items} items, codes of ${sizes.join(' x ')}: ${distinct} distinct IDs (${(100 * uniqueRate).toFixed(1)}% of items), ${maxBucket} items in the fullest`,
    `variance unexplained (FVU) ${fvu.toFixed(4)}${sampleText}; codes without an item per level: ${dead.join(', ')}`,
    ...notes.map((note) => `note: ${note}`),
    ...(collisions === null ? [] : [capacityText(collisions)]),
    ...suffixLines(suffixes),
    `written to ${out}`,
  ].join('\n')
}
