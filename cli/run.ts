/** `sidestream run`: the daemon. */

import { Option, type Command } from 'commander'
import { isSidestreamError, SidestreamError } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import { openProject, roles, startControlSocket, startDaemon, startMetrics } from '../pipeline/index.ts'
import type { DaemonStatus, Logger, OwnerEvents, Project, Role } from '../pipeline/index.ts'
import { stderrLogger } from './logger.ts'
import type { LogLevel } from './logger.ts'
import { projectCommand, readConfig } from './options.ts'
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
      const { result } = createOutput(options.json)
      // From the start on: a signal that comes while the project opens must not be lost.
      const stopping = new AbortController()
      const stopped = stopSignal().then(() => stopping.abort())
      const project = await openUnlessStopped(await readConfig(options.config), logger, stopping.signal)
      if (project === undefined) return result({ live: null }, 'stopped while it waited for its servers')
      try {
        const status = await runDaemon(project, options, logger, stopped)
        result(status, `stopped; live version: ${status.live ?? 'none yet'}`)
      } finally {
        await project.close()
      }
    })
}

/** Undefined when the signal came while servers were waited for. */
async function openUnlessStopped(config: Config, logger: Logger, signal: AbortSignal): Promise<Project | undefined> {
  try {
    return await openProject(config, { logger, signal })
  } catch (error) {
    if (signal.aborted && isSidestreamError(error) && error.code === 'SIDESTREAM_CLOSED') return undefined
    throw error
  }
}

/** Runs until it is stopped, fails, or has nothing left to do; what was opened is closed in the opposite order. */
async function runDaemon(project: Project, options: Options, logger: Logger, stopped: Promise<void>): Promise<DaemonStatus> {
  const opened: (() => Promise<void>)[] = []
  try {
    const daemon = await startDaemon(project, {
      ...(options.roles !== undefined && { roles: options.roles }),
      events: loggedEvents(project, logger),
    })
    opened.push(() => daemon.stop())
    const metrics = await startMetrics(project, daemon)
    if (metrics !== undefined) opened.push(() => metrics.close())
    const socket = await startControlSocket(project, daemon)
    if (socket !== undefined) opened.push(() => socket.close())
    const { project: name, dataDir } = project.config
    logger.info({ project: name, dataDir, socket: socket?.path, live: (await daemon.status()).live }, 'running')
    if (metrics !== undefined) logger.info({ url: metrics.url }, 'metrics and health are served')
    await Promise.race([stopped, daemon.failed(), ...(options.untilIdle ? [daemon.idle()] : [])])
    return await daemon.status()
  } finally {
    for (const close of opened.reverse()) await close()
  }
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
