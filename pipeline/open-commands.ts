/**
 * The way to a project: over shared servers, through the socket of the daemon that owns its directory, or by opening it here.
 * Invariant: a directory is opened only when no daemon answers for it.
 */

import { isSidestreamError } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import { commandsHere } from './commands-here.ts'
import { commandsShared } from './commands-shared.ts'
import type { SharedCommandsOptions } from './commands-shared.ts'
import { askDefaults } from './control-client.ts'
import { openPorts, openProject } from './compose.ts'
import type { ComposeOptions } from './compose.ts'
import type { Daemon } from './daemon.ts'
import type { ControlSocket } from './control-socket.ts'
import type { Project } from './project.ts'
import type { ProjectCommands } from './project-commands.ts'
import { findSocket, isListening } from './socket-path.ts'

export type CommandOptions = ComposeOptions & SharedCommandsOptions

/** True when everything of a project is on servers: any process may use them beside its daemons. */
export function isShared({ log, store }: Pick<Config, 'log' | 'store'>): boolean {
  return log.driver === 'kafka' && store.driver === 'redis'
}

/**
 * @throws SIDESTREAM_DIRECTORY_IN_USE when a process that does not listen has the directory; SIDESTREAM_OWNER_UNAVAILABLE when a
 * daemon listens and does not answer; whatever opening the ports throws
 */
export async function openCommands(config: Config, options: CommandOptions = {}): Promise<ProjectCommands> {
  if (isShared(config)) return commandsShared(openPorts(config, options), options)
  const running = await runningDaemon(config, options)
  if (running !== undefined) return running
  try {
    return commandsHere(await openProject(config, options))
  } catch (error) {
    if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_DIRECTORY_IN_USE') throw error
    // A daemon that was just starting listens by now.
    const started = await runningDaemon(config, options)
    if (started === undefined) throw error
    return started
  }
}

/**
 * Listens for the commands of other processes of this machine. Undefined where nobody would ask: a project on shared servers is
 * asked by its control log, and Windows has no such sockets.
 * @throws SIDESTREAM_ADDRESS_IN_USE
 */
export async function startControlSocket(project: Project, daemon: Daemon): Promise<ControlSocket | undefined> {
  if (isShared(project.config) || process.platform === 'win32') return undefined
  const [{ listenForCommands }, { commandsOfDaemon }] = await Promise.all([import('./control-socket.ts'), import('./commands-daemon.ts')])
  return listenForCommands(project.config.dataDir, commandsOfDaemon(project, daemon))
}

/** Commands of the daemon that listens for the directory; undefined when none does. @throws SIDESTREAM_OWNER_UNAVAILABLE */
export async function runningDaemon(
  { dataDir }: Config,
  { deadlineMs = askDefaults.deadlineMs }: SharedCommandsOptions = {},
): Promise<ProjectCommands | undefined> {
  const path = await findSocket(dataDir)
  if (!(await isListening(path))) return undefined
  // Loaded only when there is somebody to talk to.
  const { commandsOverSocket } = await import('./commands-socket.ts')
  return commandsOverSocket(path, deadlineMs)
}
