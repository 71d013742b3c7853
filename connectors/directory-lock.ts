/**
 * One owner per data directory: a lock file with the owner's process id and start time.
 * Invariant: at most one live process of this machine (and pid namespace) holds a directory; a lock whose process
 * is dead, or whose pid now belongs to a process with another start time, is taken over, by one taker only.
 */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'

import { SidestreamError } from '../schemas/index.ts'

export interface DirectoryLock {
  /** The locked directory, with links resolved. */
  readonly path: string
  /** Gives the directory free; harmless when called twice. */
  release(): void
}

interface Owner {
  readonly pid: number
  /** What tells this process from a later one with the same pid; null where the system does not say. */
  readonly startTime: string | null
}

const lockName = 'LOCK'
const takeoverName = 'LOCK.takeover'
const held = new Set<string>()
let serial = 0

/**
 * Takes the directory for this process; creates it when missing.
 * @throws SIDESTREAM_DIRECTORY_IN_USE when a live process, also this one, holds it
 */
export function lockDirectory(path: string): DirectoryLock {
  fs.mkdirSync(path, { recursive: true })
  const directory = fs.realpathSync(path)
  if (held.has(directory)) throw inUse(directory, process.pid)
  const file = join(directory, lockName)
  const owner = JSON.stringify({ pid: process.pid, startTime: startTimeOf(process.pid) } satisfies Owner)
  if (!createWhole(file, owner)) takeOver(directory, file, owner)
  held.add(directory)
  let released = false
  return {
    path: directory,
    release: () => {
      if (released) return
      released = true
      held.delete(directory)
      if (readText(file) === owner) fs.rmSync(file, { force: true })
    },
  }
}

/** Replaces a stale lock. A second file makes sure that of two takers only one removes what it judged stale. */
function takeOver(directory: string, file: string, owner: string): void {
  const takeover = join(directory, takeoverName)
  if (!createWhole(takeover, owner)) {
    refuseIfAlive(directory, takeover)
    fs.rmSync(takeover, { force: true })
    if (!createWhole(takeover, owner)) throw inUse(directory, ownerOf(takeover)?.pid)
  }
  try {
    refuseIfAlive(directory, file)
    fs.rmSync(file, { force: true })
    if (!createWhole(file, owner)) throw inUse(directory, ownerOf(file)?.pid)
  } finally {
    fs.rmSync(takeover, { force: true })
  }
}

function refuseIfAlive(directory: string, file: string): void {
  const owner = ownerOf(file)
  if (owner !== undefined && isAlive(owner)) throw inUse(directory, owner.pid)
}

function inUse(directory: string, pid: number | undefined): SidestreamError {
  const who = pid === process.pid ? `this process (pid ${pid})` : pid === undefined ? 'another process' : `process ${pid}`
  return new SidestreamError(
    'SIDESTREAM_DIRECTORY_IN_USE',
    `${directory} is in use by ${who}: stop it, or use another data directory`,
    pid === undefined ? { directory } : { directory, pid },
  )
}

/** Creates `file` with its content in one step, so that nobody reads half a lock. False: it exists. */
function createWhole(file: string, content: string): boolean {
  const draft = `${file}.${process.pid}-${serial++}`
  fs.writeFileSync(draft, content)
  try {
    fs.linkSync(draft, file)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error
    return createPlain(file, content) // file systems without hard links
  } finally {
    fs.rmSync(draft, { force: true })
  }
}

function createPlain(file: string, content: string): boolean {
  try {
    fs.writeFileSync(file, content, { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Undefined when the file is gone or unreadable as a lock (a power cut can leave it empty): then nobody holds it. */
function ownerOf(file: string): Owner | undefined {
  try {
    const owner = JSON.parse(readText(file) ?? '') as Partial<Owner>
    return typeof owner.pid === 'number' ? { pid: owner.pid, startTime: owner.startTime ?? null } : undefined
  } catch {
    return undefined
  }
}

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function isAlive({ pid, startTime }: Owner): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false // EPERM: alive, another user's
  }
  if (isZombie(pid)) return false
  const now = startTimeOf(pid)
  return startTime === null || now === null || now === startTime
}

/** True for a process that has ended and whose parent has not asked yet; one whose threads still write has not ended. */
function isZombie(pid: number): boolean {
  const state = statFields(pid)?.[0]
  if (state !== 'Z' && state !== 'X') return false
  try {
    return fs.readdirSync(`/proc/${pid}/task`).length <= 1
  } catch {
    return true
  }
}

/** `/proc/<pid>/stat` from its third field on; the name before them may hold spaces and parentheses. */
function statFields(pid: number): string[] | undefined {
  const stat = readText(`/proc/${pid}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** Boot id and start tick on Linux; `ps` elsewhere; null when neither is there. */
function startTimeOf(pid: number): string | null {
  const started = statFields(pid)?.[19]
  if (started !== undefined) return `${readText('/proc/sys/kernel/random/boot_id')?.trim() ?? ''}/${started}`
  if (process.platform === 'win32' || process.platform === 'linux') return null
  try {
    return (
      execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim() || null
    )
  } catch {
    return null
  }
}
