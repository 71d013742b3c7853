/** `sidestream distill` and `embed`: training and vectors over files. */

import { join } from 'node:path'
import type { Command } from 'commander'
import { distillDefaults, distillFiles, embedFiles, headModelFile } from '../pipeline/index.ts'
import type { DistillReport } from '../pipeline/index.ts'
import { idEmbeddingsText, idleStageText, leftOutText, oddText, silentKindsText, unjudgedText } from './distill/left-out.ts'
import { duration, interruptSignal, once, plainCommand, projectCommand, readConfig, shareOf, wholeNumber } from './options.ts'
import { createOutput } from './output.ts'
import type { Output, Progress } from './output.ts'

interface DistillOptions {
  readonly config: string
  readonly json: boolean
  readonly interactions: string
  readonly content: string
  readonly idEmbeddings?: string
  readonly pairs?: string
  readonly out: string
  readonly start?: string
  readonly holdOut: number
  readonly steps?: number
  readonly timeBudget?: number
  readonly resume: boolean
  readonly keepEvery: number
}

export function distillCommand(): Command {
  return projectCommand('distill', 'Train a head on files and write it, also as plain ONNX, with a report.')
    .requiredOption('--interactions <file>', 'columns user_id, item_id, ts (ms), behaviors', once('--interactions'))
    .requiredOption('--content <file>', 'columns item_id, ts (ms), one vector column per modality', once('--content'))
    .option('--id-embeddings <file>', 'columns entity, entity_id, ts (ms), vector, exposures', once('--id-embeddings'))
    .option('--pairs <file>', 'columns source, query_id, target_id; score and ts when there are', once('--pairs'))
    .requiredOption('--out <dir>', 'directory of the result', once('--out'))
    .option('--start <dir>', 'begin from the head in this directory, or from one artifact in it, instead of PCA', once('--start'))
    .option(
      '--hold-out <share>',
      'newest interactions that are judged by and not trained on; 0: nothing is judged',
      shareOf('--hold-out'),
      distillDefaults.holdOut,
    )
    .option('--steps <number>', 'no more steps than this in a stage', wholeNumber('--steps', 1))
    .option(
      '--time-budget <time>',
      'stop training after this long, such as 90s, 10m or 2h; the head of that moment is judged and kept',
      duration('--time-budget'),
    )
    .option('--resume', 'go on with the run in --out', false)
    .option('--keep-every <steps>', 'steps between two checkpoints', wholeNumber('--keep-every', 1), distillDefaults.keepEvery)
    .addHelpText(
      'after',
      '\nExit codes: 0 done, also when stopped in order; 1 failed; 2 wrong options or configuration; 3 refused by the guard.\nGuide: docs/how-to/train-in-stages.md; files: docs/reference/formats.md',
    )
    .action(async (options: DistillOptions) => {
      const { config, json, timeBudget, idEmbeddings, pairs, start, steps, ...files } = options
      const output = createOutput(json)
      const deadline = timeBudget === undefined ? Infinity : Date.now() + timeBudget
      const interrupted = interruptSignal()
      const watch = new TrainingProgress(output)
      const { report, head } = await distillFiles(await readConfig(config), {
        ...files,
        ...(idEmbeddings !== undefined && { idEmbeddings }),
        ...(pairs !== undefined && { pairs }),
        ...(start !== undefined && { start }),
        ...(steps !== undefined && { steps }),
        shouldStop: () => interrupted.aborted || Date.now() >= deadline,
        judgeStopped: () => !interrupted.aborted,
        page: async (whole) => (await import('./distill/page.ts')).distillPage(whole),
        onRead: (file, share) => watch.read(file, share),
        onProgress: (progress) => watch.show(progress),
      }).finally(() => watch.end())
      const { trace: _, map: __, stopped, ...summary } = report
      const { out } = options
      const onnx = head === null ? null : headModelFile(head)
      const why = head === null ? 'interrupted' : 'the time budget is used up'
      output.result(
        { out, onnx, stopped: stopped && { ...stopped, why }, ...summary },
        [
          ...(stopped === null ? [] : [`stopped after ${stopped.done} of ${stopped.of} steps, in stage ${stopped.stage}: ${why}`]),
          ...(onnx === null ? [] : reportLines(report, out, onnx)),
          ...(stopped === null ? [] : [`all of it is kept in ${out}; give the same command with --resume to go on`]),
        ].join('\n'),
      )
    })
}

type OnProgress = NonNullable<Parameters<typeof distillFiles>[1]['onProgress']>

/** A bar for each file that is read, and one over all stages. */
class TrainingProgress {
  readonly #output: Output
  #bar: Progress | undefined
  #reads = ''

  constructor(output: Output) {
    this.#output = output
  }

  readonly read = (file: string, share: number): void => {
    if (file !== this.#reads) this.end()
    this.#reads = file
    this.#bar ??= this.#output.progress(`reading ${file}`)
    this.#bar.update(share, '')
  }

  readonly show: OnProgress = (progress) => {
    if (progress.phase === 'providers') {
      this.end()
      this.#output.note(progress.passedOver)
    }
    if (progress.phase === 'judge') {
      this.end()
      this.#output.note('judging what was trained')
    }
    if (progress.phase !== 'train') return
    if (this.#reads !== '') this.end()
    this.#reads = ''
    const { done, total, stage, source, loss, lambda } = progress
    this.#bar ??= this.#output.progress('training')
    const mined = lambda === null ? '' : `, lambda* ${lambda.toFixed(3)}`
    this.#bar.update(done / total, `${done}/${total}, ${stage}, ${source}: loss ${loss.toFixed(4)}${mined}`)
  }

  end(): void {
    this.#bar?.end()
    this.#bar = undefined
  }
}

function reportLines(report: DistillReport, out: string, onnx: string): string[] {
  const { sources, stages, judged, verdict, leftOut, heldOut, unusedPairs, idEmbeddings } = report
  const lines = [
    `${report.samples} samples of ${report.interactions} interactions, ${report.warmItems} of ${report.items} items seen`,
    ...oddText(report),
    ...Object.entries(sources).map(
      ([name, { kind, rows, unknown }]) =>
        `source ${name}: ${rows === 0 ? `no rows, passed over${kind === 'ids' ? ' (no ID embedding of its kinds teaches an item)' : ''}` : `${rows} rows`}${unknown > 0 ? `, ${unknown} without what they need` : ''}`,
    ),
    ...Object.entries(unusedPairs).map(
      ([name, pairs]) => `${pairs} pairs of ${name}: training.sources has no source of pairs with that name`,
    ),
    ...silentKindsText(report),
    ...idEmbeddingsText(idEmbeddings),
    ...leftOutText(leftOut),
    ...stages.map(
      ({ name, steps, losses, farthest, sources: own }, at) =>
        `stage ${name}: ${idleStageText(report, at) ?? `${steps} steps, loss per pass ${losses.map((loss) => loss.toFixed(4)).join(', ')}`}${farthest === 0 ? '' : `; ${farthest} rows left out as farthest apart`}${aloneText(own)}`,
    ),
  ]
  if (judged !== null && heldOut !== null) {
    const { judgement } = judged
    const outcome = verdict === 'pass' ? 'passed' : 'failed, and the guard only reports'
    lines.push(unjudgedText(report) ?? `judged on ${judgement.events} later events: ${outcome}`)
    lines.push(...judgement.reasons.map((reason) => `  failed: ${reason}`), ...judgement.warnings.map((warning) => `  note: ${warning}`))
  }
  return [
    ...lines,
    `${report.stopped === null ? 'written to' : 'the head of that moment is in'} ${out}, with ${join(out, 'report.html')}; as plain ONNX: ${onnx}`,
  ]
}

/** Rows that taught nothing, where there were some. */
function aloneText(sources: DistillReport['stages'][number]['sources']): string {
  return Object.entries(sources)
    .filter(([, { withoutNegatives }]) => withoutNegatives > 0)
    .map(([name, { withoutNegatives }]) => `; ${withoutNegatives} times a row of ${name} had no negatives in its batch`)
    .join('')
}

interface EmbedOptions {
  readonly json: boolean
  readonly head: string
  readonly content: string
  readonly out: string
  readonly prefix?: number
  readonly refused: boolean
}

export function embedCommand(): Command {
  return plainCommand('embed', 'Write the published vectors of all items of a content file.')
    .requiredOption('--head <dir>', 'directory that distill wrote, or one artifact in it', once('--head'))
    .requiredOption('--content <file>', 'columns item_id, ts (ms), one vector column per modality', once('--content'))
    .requiredOption('--out <file>', '.parquet, or .f32 with its JSON and ids beside it', once('--out'))
    .option('--prefix <dims>', 'distilled dims of a short view, one of those trained', wholeNumber('--prefix', 1))
    .option('--refused', 'take a head that the guard refused as well', false)
    .addHelpText(
      'after',
      '\nExit codes: 0 done; 1 failed; 2 wrong options or configuration.\nGuide: docs/how-to/train-in-stages.md; files: docs/reference/formats.md',
    )
    .action(async (options: EmbedOptions) => {
      const output = createOutput(options.json)
      const bar = output.progress('embedding')
      const bare: string[] = []
      const items = await embedFiles({
        head: options.head,
        content: options.content,
        out: options.out,
        refused: options.refused,
        onBare: ({ message }) => void bare.push(message),
        ...(options.prefix !== undefined && { prefix: options.prefix }),
        onProgress: (done, share) => bar.update(share, `${done} items`),
      }).finally(() => bar.end())
      const leftOut: DistillReport['leftOut'] = bare.length === 0 ? {} : { content: { rows: bare.length, first: bare[0]! } }
      output.result(
        { out: options.out, items, leftOut },
        [...leftOutText(leftOut), `${items} vectors written to ${options.out}`].join('\n'),
      )
    })
}
