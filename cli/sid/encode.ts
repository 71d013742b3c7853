/** `sidestream sid encode`: the IDs that a bundle gives to a file of vectors. */

import type { Command } from 'commander'
import { sidEncodeFiles } from '../../pipeline/index.ts'
import { interruptSignal, once, plainCommand } from '../options.ts'
import { createOutput } from '../output.ts'
import { interrupted, threadsOption, vectorFile, vectorOptions } from './shared.ts'
import type { VectorOptions } from './shared.ts'

interface Options extends VectorOptions {
  readonly json: boolean
  readonly bundle: string
  readonly in: string
  readonly out: string
  readonly threads: number
}

export function sidEncodeCommand(): Command {
  const command = vectorOptions(
    plainCommand('encode', 'Write the semantic IDs of all vectors of a file, in its order.').requiredOption(
      '--bundle <dir>',
      'bundle that sid fit or sid refresh wrote',
      once('--bundle'),
    ),
  ).requiredOption('--out <file>', 'codes: .parquet (item_id, sid as a list) or .csv (sid as 12|200|7)', once('--out'))
  return threadsOption(command).action(async (options: Options) => {
    const { json, bundle, out, threads } = options
    const output = createOutput(json)
    const bar = output.progress('encoding')
    const signal = interruptSignal()
    const { items, rechecked } = await sidEncodeFiles({
      ...vectorFile(options.in, options),
      ...{ bundle, out, threads, signal },
      onRows: (rows, share) => bar.update(share, `${rows} items`),
    })
      .catch(interrupted(signal, `${out} is as it was; give the same command again`))
      .finally(() => bar.end())
    output.result({ out, items, rechecked }, `${items} IDs written to ${out}`)
  })
}
