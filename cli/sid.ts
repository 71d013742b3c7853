/** `sidestream sid`: semantic IDs over files. */

import { Command } from 'commander'
import { sidEncodeCommand } from './sid/encode.ts'
import { sidFeaturesCommand } from './sid/features.ts'
import { sidFitCommand } from './sid/fit.ts'
import { sidRefreshCommand } from './sid/refresh.ts'
import { sidReportCommand } from './sid/report.ts'

export function sidCommand(): Command {
  const command = new Command('sid').description(
    'Semantic IDs over files: fit a bundle, encode, judge, refresh under a churn budget, features.',
  )
  for (const own of [sidFitCommand, sidEncodeCommand, sidReportCommand, sidRefreshCommand, sidFeaturesCommand]) command.addCommand(own())
  return command
}
