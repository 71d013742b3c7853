/** `sidestream sid features`: codes as text, tokens and prefix n-grams. */

import type { Command } from 'commander'
import { sidFeatureFiles } from '../../pipeline/index.ts'
import { once, plainCommand, wholeNumber } from '../options.ts'
import { createOutput } from '../output.ts'
import { wholeNumbers } from './shared.ts'

interface Options {
  readonly json: boolean
  readonly codes: string
  readonly bundle?: string
  readonly levels?: number[]
  readonly tableSize?: number
  readonly perLength: boolean
  readonly out: string
}

export function sidFeaturesCommand(): Command {
  return plainCommand('features', 'Write codes as text, tokens and prefix n-grams.')
    .requiredOption('--codes <path>', '.parquet or .csv with columns item_id, sid; or the directory of a bundle', once('--codes'))
    .requiredOption('--out <file>', '.parquet: item_id, sid_text, tokens, prefix_ngrams', once('--out'))
    .option('--bundle <dir>', 'bundle that made the codes (that of --codes)', once('--bundle'))
    .option('--levels <sizes>', 'codes per level, where there is no bundle to tell', wholeNumbers('--levels', 1, 65_536))
    .option('--table-size <rows>', 'n-grams are taken modulo this (no hashing)', wholeNumber('--table-size', 1))
    .option('--per-length', 'a table of n-grams for each length, instead of one for all', false)
    .action(async ({ json, levels, tableSize, bundle, perLength, codes, out }: Options) => {
      const made = await sidFeatureFiles({
        ...{ codes, out },
        ...(bundle !== undefined && { bundle }),
        ...(levels && { sizes: levels }),
        ...(tableSize !== undefined && { tableSize }),
        ...(perLength && { tables: 'per-length' as const }),
      })
      const { items, offsets, tableSizes } = made
      createOutput(json).result(
        { out, ...made },
        [
          `${items} items written to ${out}`,
          `tokens of the levels begin at ${offsets.slice(0, -1).join(', ')}; ${offsets.at(-1)} is a missing ID`,
          perLength ? `rows of the tables of n-grams: ${tableSizes.join(', ')}` : `rows of the table of n-grams: ${tableSizes.at(-1)}`,
        ].join('\n'),
      )
    })
}
