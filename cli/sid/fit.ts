/** `sidestream sid fit`: a bundle from a file of vectors. */

import { Option } from 'commander'
import type { Command } from 'commander'
import { sidDuplicates, sidFitDefaults, sidFitFiles, sidFitMethods } from '../../pipeline/index.ts'
import type { SidDuplicates, SidFitMethod, SidFitMetrics, SidFitProgress } from '../../pipeline/index.ts'
import { interruptSignal, once, plainCommand, wholeNumber } from '../options.ts'
import { createOutput } from '../output.ts'
import type { Output, Progress } from '../output.ts'
import { capacityText, interrupted, threadsOption, vectorFile, vectorOptions, wholeNumbers } from './shared.ts'
import type { VectorOptions } from './shared.ts'

interface Options extends VectorOptions {
  readonly json: boolean
  readonly in: string
  readonly levels: number[]
  readonly method: SidFitMethod
  readonly seed: number
  readonly iterations?: number
  readonly passes?: number
  readonly epochs?: number
  readonly raw: boolean
  readonly balanced: boolean
  readonly normalizeResiduals: boolean
  readonly beam?: number
  readonly fsq?: number[]
  readonly capacity?: number
  readonly duplicates?: SidDuplicates
  readonly threads: number
  readonly resume: boolean
  readonly out: string
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
    .option('--iterations <number>', 'rq-kmeans: most rounds per level (25)', wholeNumber('--iterations', 1))
    .option('--passes <number>', 'rq-kmeans: rounds per level over all rows behind those over the sample (0)', wholeNumber('--passes'))
    .option('--raw', 'rq-kmeans: vectors as they are, not at unit length', false)
    .option('--balanced', 'rq-kmeans: codes have prices, so that items spread over them', false)
    .option('--normalize-residuals', 'rq-kmeans: unit length before every level; excludes --beam', false)
    .option('--beam <width>', 'rq-kmeans: partial IDs that are followed at encode (1)', wholeNumber('--beam', 1))
    .option('--fsq <digits>', 'rq-kmeans: a finite-scalar last level, values per digit, such as 5,5,5', wholeNumbers('--fsq', 2, 65_536))
    .option('--epochs <number>', 'rq-vae: passes over the items (100)', wholeNumber('--epochs', 1))
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
    .option('--resume', 'go on with an interrupted fit of the same file and options', false)
  return threadsOption(command).action(async (options: Options) => {
    const { json, levels, raw, balanced, normalizeResiduals, fsq, method, seed, threads, resume, out } = options
    const output = createOutput(json)
    const watch = new FitProgress(output)
    const signal = interruptSignal()
    const metrics = await sidFitFiles({
      ...vectorFile(options.in, options),
      ...{ out, sizes: levels, method, seed, threads, resume, signal },
      ...(raw && { normalize: false }),
      ...(balanced && { balanced }),
      ...(normalizeResiduals && { normalizeResiduals }),
      ...(fsq !== undefined && { fsqDigits: fsq }),
      ...pickGiven(options, ['iterations', 'passes', 'epochs', 'beam', 'capacity', 'duplicates']),
      onProgress: watch.show,
    })
      .catch(interrupted(signal, `no bundle was written to ${out}; the same command with --resume goes on`))
      .finally(() => watch.end())
    output.result({ out, method, ...metrics }, fitText(metrics, out))
  })
}

function pickGiven<K extends keyof Options>(options: Options, names: readonly K[]): { [N in K]?: NonNullable<Options[N]> } {
  return Object.fromEntries(names.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]]))) as {
    [N in K]?: NonNullable<Options[N]>
  }
}

const phaseLabels: Readonly<Record<SidFitProgress['phase'], string>> = { read: 'reading', fit: 'fitting', encode: 'encoding' }

/** A bar for each phase. */
class FitProgress {
  readonly #output: Output
  #bar: Progress | undefined
  #phase: SidFitProgress['phase'] | undefined

  constructor(output: Output) {
    this.#output = output
  }

  readonly show = ({ phase, share, note }: SidFitProgress): void => {
    if (phase !== this.#phase) this.end()
    this.#phase = phase
    this.#bar ??= this.#output.progress(phaseLabels[phase])
    this.#bar.update(share, note)
  }

  end(): void {
    this.#bar?.end()
    this.#bar = undefined
  }
}

function fitText({ items, sizes, fvu, distinct, uniqueRate, maxBucket, levels, collisions }: SidFitMetrics, out: string): string {
  const dead = levels.map((level) => level.dead)
  const tooFew = sizes.flatMap((size, level) => (size > items ? [`level ${level + 1}: ${items} items for ${size} codes`] : []))
  return [
    `${items} items, codes of ${sizes.join(' x ')}: ${distinct} distinct IDs (${(100 * uniqueRate).toFixed(1)}% of items), ${maxBucket} items in the fullest`,
    `variance unexplained (FVU) ${fvu.toFixed(4)}; codes without an item per level: ${dead.join(', ')}`,
    ...(tooFew.length > 0 ? [`fewer items than codes, the spare codes stay empty (${tooFew.join('; ')})`] : []),
    ...(collisions === null ? [] : [capacityText(collisions)]),
    `written to ${out}`,
  ].join('\n')
}
