/** `sidestream run`: the daemon. */

import { Option, type Command } from 'commander'
import { SidestreamError } from '../schemas/index.ts'
import { roles, startDaemon, startMetrics } from '../pipeline/index.ts'
import type { Logger, OwnerEvents, Project, Role } from '../pipeline/index.ts'
import { stderrLogger } from './logger.ts'
import type { LogLevel } from './logger.ts'
import { projectCommand, withProject } from './options.ts'
import { createOutput } from './output.ts'
import { meanLoss, roundTime } from './round-text.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly roles?: readonly Role[]
  readonly untilIdle: boolean
  readonly logLevel: LogLevel
}

export function runCommand(): Command {
  return projectCommand('run', 'Run the daemon: ingest, training, version writers. Ctrl-C stops it cleanly.')
    .option('--roles <roles>', `comma-separated roles out of ${roles.join(', ')} (default: all)`, parseRoles)
    .option('--until-idle', 'stop when everything in the log is done', false)
    .addOption(new Option('--log-level <level>', 'lines on stderr').choices(['debug', 'info', 'warn', 'error']).default('info'))
    .action(async (options: Options) => {
      const logger = stderrLogger(options.logLevel)
      // From the start on: a signal that comes while the project opens must not be lost.
      const stopped = stopSignal()
      const status = await withProject(
        options.config,
        async (project) => {
          const daemon = await startDaemon(project, {
            ...(options.roles !== undefined && { roles: options.roles }),
            events: loggedEvents(project, logger),
          })
          try {
            const metrics = await startMetrics(project, daemon)
            try {
              logger.info(
                { project: project.config.project, dataDir: project.config.dataDir, live: (await daemon.status()).live },
                'running',
              )
              if (metrics !== undefined) logger.info({ url: metrics.url }, 'metrics and health are served')
              await Promise.race([stopped, daemon.failed(), ...(options.untilIdle ? [daemon.idle()] : [])])
            } finally {
              await metrics?.close()
            }
            return await daemon.status()
          } finally {
            await daemon.stop()
          }
        },
        logger,
      )
      createOutput(options.json).result(status, `stopped; live version: ${status.live ?? 'none yet'}`)
    })
}

/** What the owner did, as log lines. */
function loggedEvents({ config }: Project, logger: Logger): OwnerEvents {
  return {
    onRound: ({ round, counts, losses, diverged }) =>
      logger.info(
        { round: roundTime(round, config), rows: counts.rows, steps: losses.length, loss: meanLoss(losses), diverged },
        'round trained',
      ),
    onTask: (id, { outcome, version, message }) => logger[outcome === 'live' ? 'info' : 'warn']({ id, outcome, version }, message),
  }
}

function parseRoles(text: string): readonly Role[] {
  const names = text.split(',').map((name) => name.trim())
  for (const name of names) {
    if (!(roles as readonly string[]).includes(name)) {
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `there is no role "${name}"; roles are ${roles.join(', ')}`)
    }
  }
  return names as Role[]
}

/** Resolves at the first SIGINT or SIGTERM. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
}
