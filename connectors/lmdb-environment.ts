/**
 * What the LMDB drivers share: how an environment is opened, text keys, failures in our words, and a gate.
 * Invariants: a write's promise resolves only when its transaction is on disk; every write is an asynchronous
 * transaction, so the event loop never waits for the writer; an environment has one writing process.
 */

import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Database, RootDatabase } from 'lmdb'

import { SidestreamError, isSidestreamError } from '../schemas/index.ts'

export type Environment = RootDatabase<Uint8Array, string>
export type Table = Database<Uint8Array, string>

/** Text keys as their UTF-8 bytes, so that key order is byte order. The driver passes an empty buffer for "no key". */
const keyEncoder = {
  writeKey: (key: unknown, target: Buffer, start: number): number => {
    if (typeof key !== 'string') return start
    // Short ASCII keys, nearly all of them, cost less here than a call into the runtime.
    const { length } = key
    if (length > 96) return start + target.write(key, start, 'utf8')
    for (let i = 0; i < length; i++) {
      const unit = key.charCodeAt(i)
      if (unit > 127) return start + target.write(key, start, 'utf8')
      target[start + i] = unit
    }
    return start + length
  },
  readKey: (source: Buffer, start: number, end: number): string => source.toString('utf8', start, end),
}

/**
 * Opens or creates an environment. `overlappingSync` is off: a commit then includes its fsync, so the promise of a
 * write means durable. With it on, `flushed` must be awaited too, which measured no faster for one writer with
 * batches of 500 to 2,000. Event-turn batching is off since its own promise, which nobody can catch, rejects on a full disk.
 * @throws SIDESTREAM_FILE_UNREADABLE when the directory cannot be opened; SIDESTREAM_DISK_FULL when a new one has no room
 */
export async function openEnvironment(directory: string, tables: number): Promise<Environment> {
  const { open } = await import('lmdb') // loaded by those who use it
  try {
    requireRoom(directory)
    return open<Uint8Array, string>({
      path: directory,
      noSubdir: false,
      maxDbs: tables,
      encoding: 'binary',
      overlappingSync: false,
      eventTurnBatching: false,
      cache: false,
    })
  } catch (cause) {
    if (diskFullCodes.has((cause as { code?: unknown }).code)) throw diskFull(cause, directory)
    throw new SidestreamError(
      'SIDESTREAM_FILE_UNREADABLE',
      `cannot open the database in ${directory}: ${(cause as Error).message}; check that the directory is writable and holds no other file`,
      { cause, directory },
    )
  }
}

/** Room that a new environment must find. It takes about 36 KiB at once; the rest is for whoever writes at the same time. */
const firstBytes = 131_072

/** The driver maps the files of a new environment into memory, and without room the process would end with SIGBUS. */
function requireRoom(directory: string): void {
  const { size } = statSync(join(directory, 'data.mdb'), { throwIfNoEntry: false }) ?? { size: 0 }
  if (size > 16_384) return
  mkdirSync(directory, { recursive: true })
  const probe = join(directory, 'room')
  try {
    writeFileSync(probe, Buffer.alloc(firstBytes))
  } finally {
    rmSync(probe, { force: true })
  }
}

/** Opens a table by name, creating it when missing. Must not run while a write is under way (see `Gate`). */
export function openTable(environment: Environment, name: string): Table {
  const options = { name, encoding: 'binary', keyEncoder } as const
  return environment.openDB<Uint8Array, string>(options)
}

/** Error numbers with which a full disk, quota or file size limit shows; LMDB reports a short write as EIO. */
const diskFullCodes: ReadonlySet<unknown> = new Set([28, 122, 27, 5, 12, -30792, 'ENOSPC', 'EDQUOT', 'EFBIG'])
const corruptCodes: ReadonlySet<unknown> = new Set([-30797, -30796, -30795, -30794, -30793])

/** Turns the driver's failure into ours. A failed transaction changed nothing; the environment stays usable. */
export async function environmentFailure(error: unknown, directory: string): Promise<SidestreamError> {
  if (isSidestreamError(error)) return error
  const cause = await commitCause(error)
  const { code, message } = cause as { code?: unknown; message?: string }
  if (diskFullCodes.has(code)) return diskFull(cause, directory)
  if (corruptCodes.has(code)) {
    return new SidestreamError(
      'SIDESTREAM_STORE_CORRUPT',
      `the database in ${directory} is damaged (${message}): restore it, or delete it and rebuild from the log`,
      { cause, directory },
    )
  }
  return new SidestreamError('SIDESTREAM_STORE_UNREACHABLE', `writing to ${directory} failed: ${message}`, { cause, directory })
}

function diskFull(cause: unknown, directory: string): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_DISK_FULL',
    `no room to write in ${directory} (${(cause as Error).message}): nothing of this call was stored; free space or collect versions, then try again`,
    { cause, directory },
  )
}

/** The driver hides the reason of a failed commit in a promise that only ever rejects. */
async function commitCause(error: unknown): Promise<unknown> {
  const commitError = (error as { commitError?: Promise<unknown> } | undefined)?.commitError
  if (commitError === undefined) return error
  return commitError.then(
    () => error,
    (reason: unknown) => reason,
  )
}

/** Lets many writes in at once, or one change of the tables alone: opening or clearing a table must not meet a write. */
export class Gate {
  #inside = 0
  #exclusive: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  async shared<T>(run: () => Promise<T>): Promise<T> {
    while (this.#exclusive !== undefined) await this.#exclusive
    this.#inside++
    try {
      return await run()
    } finally {
      if (--this.#inside === 0) this.#onEmpty?.()
    }
  }

  async exclusive<T>(run: () => Promise<T>): Promise<T> {
    while (this.#exclusive !== undefined) await this.#exclusive
    let open!: () => void
    this.#exclusive = new Promise((resolve) => (open = resolve))
    try {
      if (this.#inside > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve))
      this.#onEmpty = undefined
      return await run()
    } finally {
      this.#exclusive = undefined
      open()
    }
  }
}
