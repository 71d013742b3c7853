/** `sidestream sid`: semantic IDs over files. */

import { Command } from 'commander'
import { sidEncodeCommand } from './sid/encode.ts'
import { sidFitCommand } from './sid/fit.ts'
import { sidRefreshCommand } from './sid/refresh.ts'
import { sidReportCommand } from './sid/report.ts'

export function sidCommand(): Command {
  const command = new Command('sid').description('Semantic IDs over files: fit a bundle, encode, judge, refresh under a churn budget.')
  for (const own of [sidFitCommand, sidEncodeCommand, sidReportCommand, sidRefreshCommand]) command.addCommand(own())
  return command
}
