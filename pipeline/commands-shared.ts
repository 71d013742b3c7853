/**
 * Commands over shared servers (Kafka and Redis): reads and import go to them directly, decisions are asked of the owner by the
 * control log, wherever it runs.
 */

import { randomUUID } from 'node:crypto'
import { SidestreamError } from '../schemas/index.ts'
import type { ErrorCode } from '../schemas/index.ts'
import type { PointerChange } from '../connectors/index.ts'
import { commandsOverPorts } from './commands-here.ts'
import { askDefaults, askOwner } from './control-client.ts'
import type { AskOptions } from './control-client.ts'
import type { ControlCommand } from './control-records.ts'
import type { TaskResult } from './owner-commands.ts'
import { tellRefresh } from './project-commands.ts'
import type { ProjectCommands } from './project-commands.ts'
import type { ProjectPorts } from './project.ts'

export interface SharedCommandsOptions {
  /** How long to wait for a daemon: for an owner to take a command, or for the one that listens to answer; milliseconds. @default 60000 */
  readonly deadlineMs?: number
  /** Told what a command waits for. */
  readonly onNote?: (text: string) => void
}

export function commandsShared(
  ports: ProjectPorts,
  { deadlineMs = askDefaults.deadlineMs, onNote }: SharedCommandsOptions = {},
): ProjectCommands {
  const ask = (command: ControlCommand, options: AskOptions, note = onNote): Promise<TaskResult> =>
    askOwner(ports, command, {
      deadlineMs,
      onWaiting: (waitedMs) =>
        note?.(`waiting for an owner to ${command.action}, ${Math.round(waitedMs / 1000)} of ${deadlineMs / 1000} s`),
      ...options,
    })
  const decide = (command: ControlCommand): Promise<TaskResult> => ask(command, { id: `${command.action}-${randomUUID()}` })
  return {
    ...commandsOverPorts(ports),
    refresh: (id, events = {}, signal) =>
      ask(
        { action: 'refresh' },
        { id, onEntry: (entry) => tellRefresh(events, id, entry), ...(signal !== undefined && { signal }) },
        (text) => events.onNote?.(text),
      ),
    activateVersion: async (version) => changeOf(await decide({ action: 'activate', version })),
    rollbackVersion: async () => changeOf(await decide({ action: 'rollback' })),
    collectVersions: async () => collectedOf(await decide({ action: 'gc' })),
    status: async () => undefined,
    close: () => ports.close(),
  }
}

/** The pointer's move. @throws what the owner refused it with */
export function changeOf(result: TaskResult): PointerChange {
  if (result.change === undefined) throw refusalOf(result)
  return result.change
}

/** Versions that are gone. @throws what the owner refused it with */
export function collectedOf(result: TaskResult): number[] {
  if (result.collected === undefined) throw refusalOf(result)
  return result.collected
}

function refusalOf({ code, message }: TaskResult): SidestreamError {
  return new SidestreamError((code ?? 'SIDESTREAM_BUILD_REFUSED') as ErrorCode, message)
}
