/** One run of a small world that may be ended on the way. Argument: JSON of directory, world and plan. Prints outcome or error. */
import { writeSync } from 'node:fs'

import { isSidestreamError } from '../../schemas/index.ts'
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
  /** Changes of the configuration, such as those of `onServers`. @default none: the embedded log and store */
  readonly changes?: object
}

const { directory, partitions, world, plan, changes = {} } = JSON.parse(process.argv[2]!) as KilledRun
try {
  const outcome = await runWorld({
    config: smallConfig({ dataDir: directory, partitions }, changes),
    name: 'killed',
    events: smallWorld(world),
    wrap: (project) => withKillPoints(project, { plan }),
  })
  writeSync(1, `${JSON.stringify(outcome)}\n`)
} catch (error) {
  if (!isSidestreamError(error)) throw error
  // Told and not exited: what is still open would keep the process alive, and the test would see it.
  writeSync(1, `${JSON.stringify({ error: { code: error.code, message: error.message } })}\n`)
  process.exitCode = 1
}
