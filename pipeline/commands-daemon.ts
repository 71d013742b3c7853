/**
 * Commands of a running daemon, as its control socket offers them: reads and import over the daemon's own ports, decisions by
 * its owner, or by the owner elsewhere.
 * Invariant: imports run one after the other, so that no file is read twice at once.
 */

import { randomUUID } from 'node:crypto'
import { commandsOverPorts } from './commands-here.ts'
import { changeOf, collectedOf, commandsShared } from './commands-shared.ts'
import type { ControlCommand } from './control-records.ts'
import type { Daemon } from './daemon.ts'
import type { TaskResult } from './owner-commands.ts'
import { tellRefresh } from './project-commands.ts'
import type { ProjectCommands } from './project-commands.ts'
import type { Project } from './project.ts'

export function commandsOfDaemon(project: Project, daemon: Daemon): ProjectCommands {
  const reads = commandsOverPorts(project)
  const elsewhere = commandsShared(project)
  const nobody = (): boolean => daemon.owner === undefined && project.log.caps.groups === 'process'
  const isElsewhere = (): boolean => daemon.owner === undefined && project.log.caps.groups === 'cluster'
  const decide = (command: ControlCommand): Promise<TaskResult> => daemon.ask(`${command.action}-${randomUUID()}`, command)
  let importing: Promise<unknown> = Promise.resolve()
  let waiting = 0
  return {
    ...reads,
    importFiles: (request, events, signal) => {
      if (waiting++ > 0) events?.onNote?.('another import is running: this one waits for its end')
      const run = importing.then(() => reads.importFiles(request, events, signal))
      importing = run.catch(() => {}).finally(() => waiting--)
      return run
    },
    refresh: async (id, events = {}, signal) => {
      if (isElsewhere()) return elsewhere.refresh(id, events, signal)
      const unwatch = daemon.owner?.control.watch((entry) => tellRefresh(events, id, entry))
      try {
        return await daemon.refresh(id)
      } finally {
        unwatch?.()
      }
    },
    activateVersion: async (version) => {
      if (isElsewhere()) return elsewhere.activateVersion(version)
      if (nobody()) return (await daemon.versions.activate(version, `activate-${randomUUID()}`)).change
      return changeOf(await decide({ action: 'activate', version }))
    },
    rollbackVersion: async () => {
      if (isElsewhere()) return elsewhere.rollbackVersion()
      if (nobody()) return (await daemon.versions.rollback(`rollback-${randomUUID()}`)).change
      return changeOf(await decide({ action: 'rollback' }))
    },
    collectVersions: async () => {
      if (isElsewhere()) return elsewhere.collectVersions()
      return nobody() ? daemon.versions.maintain() : collectedOf(await decide({ action: 'gc' }))
    },
    status: () => daemon.status(),
    close: async () => {},
  }
}
