/**
 * Server processes: started detached, watched, ended with their owner.
 * Invariant: a server of this process never outlives it, however it ends: a shell holds the other end of a pipe, and when the pipe
 * closes it kills the servers and removes their directory. A shared server (`guarded: false`) lives until it is stopped.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { lockDirectory } from '../../connectors/index.ts'
import { cacheDirectory } from './cache.ts'

/** A process of this machine, told apart from a later one with the same id. */
export interface ProcessIdentity {
  readonly pid: number
  /** Boot and start tick on Linux; empty where the system does not say. */
  readonly started: string
}

/** Identity of a live process; undefined when there is none. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    process.kill(pid, 0)
  } catch {
    return undefined
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return undefined
    return { pid, started: `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${rest[18]}` }
  } catch {
    return { pid, started: '' }
  }
}

/** True while exactly this process lives. */
export function isAlive(wanted: ProcessIdentity): boolean {
  const now = identify(wanted.pid)
  return now !== undefined && now.started === wanted.started
}

/** Sends a signal to exactly this process; false when it has ended. */
export function signal(wanted: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(wanted)) return false
  try {
    return process.kill(wanted.pid, name)
  } catch {
    return false
  }
}

const ours = new Set<number>()
let guard: { directory: string; shell: ChildProcess } | undefined

const guardScript =
  'while read -r line; do pids=$line; done; for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done; ' +
  'rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }'

/** A directory for the servers of this process; it disappears with the process. */
export function runDirectory(): string {
  if (guard !== undefined) return guard.directory
  const directory = join(cacheDirectory(), 'run', `${process.pid}-${randomBytes(4).toString('hex')}`)
  mkdirSync(directory, { recursive: true })
  lockDirectory(directory)
  const shell = spawn('sh', ['-c', guardScript, 'guard', directory], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  shell.unref()
  shell.stdin!.on('error', () => {})
  ;(shell.stdin as unknown as { unref(): void }).unref()
  guard = { directory, shell }
  return directory
}

function tellGuard(): void {
  guard?.shell.stdin!.write(`${[...ours].join(' ')}\n`)
}

/** A running server process. */
export interface ServerProcess {
  readonly identity: ProcessIdentity
  /** Resolves when it has ended, however; does not keep this process alive. */
  readonly ended: Promise<void>
  /** The same, and keeps this process alive while it waits. */
  untilEnded(): Promise<void>
}

/** File beside a server's data that says which process serves it. */
const identityFile = 'process.json'

/** The process that was last started in a server's directory; undefined when there is none. */
export function recordedProcess(directory: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, identityFile), 'utf8')) as ProcessIdentity
  } catch {
    return undefined
  }
}

/** Starts a server, output to `log`. With `guarded` it ends when this process does. @throws Error when the program is not there */
export async function startProcess(
  command: readonly string[],
  { log, cwd, guarded }: { log: string; cwd: string; guarded: boolean },
): Promise<ServerProcess> {
  if (guarded) runDirectory()
  const output = openSync(log, 'a')
  const child = spawn(command[0]!, command.slice(1), { cwd, stdio: ['ignore', output, output], detached: true })
  closeSync(output)
  await once(child, 'spawn')
  child.unref()
  const pid = child.pid!
  if (guarded) {
    ours.add(pid)
    tellGuard()
  }
  const ended = once(child, 'exit').then(() => {
    ours.delete(pid)
    if (guarded) tellGuard()
  })
  const identity = identify(pid) ?? { pid, started: '' }
  writeFileSync(join(cwd, identityFile), JSON.stringify(identity))
  const untilEnded = async (): Promise<void> => {
    child.ref()
    await ended
  }
  return { identity, ended, untilEnded }
}

/** Last lines of a server's log, for messages. */
export async function tailOf(log: string): Promise<string> {
  const text = await readFile(log, 'utf8').catch(() => '')
  return text.trim().split('\n').slice(-12).join('\n')
}
