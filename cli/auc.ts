/** `sidestream auc`: exact metrics of score columns. */

import type { Command } from 'commander'
import { readColumns, SidestreamError } from '../schemas/index.ts'
import { aucReport } from '../replay/index.ts'
import { plainCommand } from './options.ts'
import { createOutput, textTable } from './output.ts'

interface Options {
  readonly json: boolean
  readonly in: string
  readonly label: string
  readonly scores: string
  readonly group?: string
  readonly item?: string
}

export function aucCommand(): Command {
  return plainCommand('auc', 'Exact AUC (ties count half) and log loss of one or more score columns.')
    .requiredOption('--in <file>', 'Parquet, CSV or CSV.gz with one row per impression')
    .option('--label <column>', 'column of 0 and 1', 'label')
    .requiredOption('--scores <columns>', 'score columns, comma-separated')
    .option('--group <column>', 'column that groups rows, usually the user')
    .option('--item <column>', 'column of the item')
    .action(async (options: Options) => {
      const scores = options.scores
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '')
      if (scores.length === 0) throw new SidestreamError('SIDESTREAM_USAGE_INVALID', '--scores names no column')
      const columns = [options.label, ...scores, ...[options.group, options.item].filter((name) => name !== undefined)]
      const report = await aucReport(readColumns(options.in, { columns: [...new Set(columns)] }), {
        label: options.label,
        scores,
        ...(options.group !== undefined && { group: options.group }),
        ...(options.item !== undefined && { item: options.item }),
      })
      const rows = report.arms.map((arm) => [
        arm.score,
        figure(arm.auc),
        figure(arm.logLoss),
        String(arm.tiedPairs),
        [arm.aucReason, arm.logLossReason].filter((reason) => reason !== undefined).join('; '),
      ])
      const groups = report.groups === undefined ? '' : `, ${report.groups} groups`
      const items = report.items === undefined ? '' : `, ${report.items} items`
      const text = `${report.rows} rows, ${report.positives} positives${groups}${items}\n\n${textTable(['score', 'AUC', 'log loss', 'tied pairs', 'note'], rows)}`
      createOutput(options.json).result(report, text)
    })
}

function figure(value: number | null): string {
  return value === null ? '-' : value.toFixed(6)
}
