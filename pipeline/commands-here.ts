/**
 * Commands over ports that this process has opened: the reads and the import that every way but the socket shares, and the
 * way of a project that nobody else works on.
 */

import { semanticIdView, SidestreamError } from '../schemas/index.ts'
import { activateVersion, collectVersions, listVersions, readFeatures, rollbackVersion, showVersion } from './commands.ts'
import { startDaemon } from './daemon.ts'
import { listDeadLetters, retryDeadLetters } from './dead-letters.ts'
import type { ListedLetter } from './dead-letters.ts'
import { importFiles } from './import-files.ts'
import type { TaskResult } from './owner-commands.ts'
import { tellRefresh } from './project-commands.ts'
import type { LetterFilter, ProjectCommands, RefreshEvents } from './project-commands.ts'
import type { Project, ProjectPorts } from './project.ts'

type PortCommands = Pick<
  ProjectCommands,
  'importFiles' | 'listVersions' | 'showVersion' | 'readFeatures' | 'listDeadLetters' | 'retryDeadLetters'
>

/** What needs no owner: it reads the ports, or appends to the log as any producer. */
export function commandsOverPorts(ports: ProjectPorts): PortCommands {
  return {
    importFiles: (request, events, signal) => importFiles(ports, request, events, signal),
    listVersions: () => listVersions(ports),
    showVersion: (version) => showVersion(ports, version),
    readFeatures: ({ view, items, version }) => readFeatures(ports, view ?? semanticIdView(ports.config), items, version),
    listDeadLetters: (filter) => lettersOf(ports, filter),
    retryDeadLetters: async (filter) => {
      const letters = await lettersOf(ports, filter)
      return retryDeadLetters(
        ports,
        letters.filter(({ retriedAt }) => retriedAt === null),
      )
    },
  }
}

/** Commands over a project that this process has opened, and no daemon runs. */
export function commandsHere(project: Project): ProjectCommands {
  return {
    ...commandsOverPorts(project),
    refresh: (id, events = {}, signal) => refreshHere(project, id, events, signal),
    activateVersion: (version) => activateVersion(project, version),
    rollbackVersion: () => rollbackVersion(project),
    collectVersions: () => collectVersions(project),
    status: async () => undefined,
    close: () => project.close(),
  }
}

async function lettersOf(ports: ProjectPorts, { topic, code }: LetterFilter): Promise<ListedLetter[]> {
  const letters = await listDeadLetters(ports)
  return letters.filter((letter) => (topic === undefined || letter.topic === topic) && (code === undefined || letter.code === code))
}

/** Runs the daemon for as long as it has work, then the refresh. */
async function refreshHere(project: Project, id: string, events: RefreshEvents, signal: AbortSignal | undefined): Promise<TaskResult> {
  const daemon = await startDaemon(project)
  const unwatch = daemon.owner?.control.watch((entry) => tellRefresh(events, id, entry))
  const stop = (): void => void daemon.stop()
  signal?.addEventListener('abort', stop)
  try {
    if (signal?.aborted !== true) await daemon.idle()
    if (signal?.aborted === true)
      throw new SidestreamError('SIDESTREAM_CLOSED', 'the refresh was stopped before it began: what was trained is kept, give it again')
    return await daemon.refresh(id)
  } finally {
    signal?.removeEventListener('abort', stop)
    unwatch?.()
    await daemon.stop()
  }
}
