/** `sidestream distill` and `embed`: training and vectors over files. */

import type { Command } from 'commander'
import { distillFiles, embedFiles, headModelFile } from '../pipeline/index.ts'
import { plainCommand, projectCommand, readConfig, wholeNumber } from './options.ts'
import { createOutput } from './output.ts'
import type { Progress } from './output.ts'

interface DistillOptions {
  readonly config: string
  readonly json: boolean
  readonly interactions: string
  readonly content: string
  readonly out: string
}

export function distillCommand(): Command {
  return projectCommand('distill', 'Train a head on files and write it, also as plain ONNX.')
    .requiredOption('--interactions <file>', 'columns user_id, item_id, ts (ms), behaviors')
    .requiredOption('--content <file>', 'columns item_id, ts (ms), one vector column per modality')
    .requiredOption('--out <dir>', 'directory of the result')
    .action(async (options: DistillOptions) => {
      const output = createOutput(options.json)
      let bar: Progress | undefined
      const report = await distillFiles(await readConfig(options.config), {
        interactions: options.interactions,
        content: options.content,
        out: options.out,
        onProgress: ({ phase, done, total, loss }) => {
          if (phase !== 'train') return
          bar ??= output.progress('training', total ?? 0)
          bar.update(done, loss === undefined ? '' : `loss ${loss.toFixed(4)}`)
        },
      }).finally(() => bar?.end())
      const { stepLosses: _, ...summary } = report
      const onnxFile = headModelFile(options.out)
      const losses = report.passLosses.map((loss) => loss.toFixed(4)).join(', ')
      output.result(
        { out: options.out, onnx: onnxFile, ...summary },
        `${report.samples} samples of ${report.interactions} interactions, ${report.warmItems} of ${report.items} items seen\nloss per pass: ${losses}\nwritten to ${options.out}; as plain ONNX: ${onnxFile}`,
      )
    })
}

interface EmbedOptions {
  readonly json: boolean
  readonly head: string
  readonly content: string
  readonly out: string
  readonly prefix?: number
}

export function embedCommand(): Command {
  return plainCommand('embed', 'Write the published vectors of all items of a content file.')
    .requiredOption('--head <dir>', 'directory that distill wrote')
    .requiredOption('--content <file>', 'columns item_id, ts (ms), one vector column per modality')
    .requiredOption('--out <file>', '.parquet, or .f32 with its JSON and ids beside it')
    .option('--prefix <dims>', 'distilled dims of a short view, one of those trained', wholeNumber('--prefix', 1))
    .action(async (options: EmbedOptions) => {
      const output = createOutput(options.json)
      const items = await embedFiles({
        head: options.head,
        content: options.content,
        out: options.out,
        ...(options.prefix !== undefined && { prefix: options.prefix }),
      })
      output.result({ out: options.out, items }, `${items} vectors written to ${options.out}`)
    })
}
