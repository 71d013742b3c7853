/** One run of a small world that may be killed on the way. Argument: JSON of directory, world and plan. Prints its outcome. */
import { writeSync } from 'node:fs'

import { withKillPoints } from './kill-points.ts'
import type { KillPlan } from './kill-points.ts'
import { smallConfig, smallWorld } from './small-world.ts'
import type { SmallWorld } from './small-world.ts'
import { runWorld } from './world-run.ts'

export interface KilledRun {
  readonly directory: string
  readonly partitions: number
  readonly world: SmallWorld
  readonly plan?: KillPlan
}

const { directory, partitions, world, plan } = JSON.parse(process.argv[2]!) as KilledRun
const outcome = await runWorld({
  config: smallConfig({ dataDir: directory, partitions }),
  name: 'killed',
  events: smallWorld(world),
  wrap: (project) => withKillPoints(project, { plan }),
})
writeSync(1, `${JSON.stringify(outcome)}\n`)
