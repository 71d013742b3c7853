/**
 * The few file operations of the log, as promises over plain descriptors.
 * Invariant: `writeAll` has written everything or throws; `readAt` returns fewer bytes only at the end of the file.
 */
import fs from 'node:fs'
import { rename } from 'node:fs/promises'
import { dirname } from 'node:path'

import { SidestreamError } from '../../schemas/index.ts'

/** Opens a file; flags as for `open(2)`: `r`, `r+`, `wx+`. */
export function openFile(path: string, flags: string): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, (error, fd) => (error ? reject(error) : resolve(fd)))
  })
}

export function closeFile(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.close(fd, (error) => (error ? reject(error) : resolve()))
  })
}

/** Writes all of `bytes` at `position`, also when the system takes them in pieces. */
export function writeAll(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (done: number): void => {
      fs.write(fd, bytes, done, bytes.length - done, position + done, (error, written) => {
        if (error) reject(error)
        else if (done + written < bytes.length) step(done + written)
        else resolve()
      })
    }
    step(0)
  })
}

/** Fills `bytes` from `position`; returns how many there were. */
export function readAt(fd: number, bytes: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const step = (done: number): void => {
      fs.read(fd, bytes, done, bytes.length - done, position + done, (error, read) => {
        if (error) reject(error)
        else if (read > 0 && done + read < bytes.length) step(done + read)
        else resolve(done + read)
      })
    }
    step(0)
  })
}

/** Makes the file's data and length durable. */
export function syncData(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()))
  })
}

export function truncateFile(fd: number, length: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.ftruncate(fd, length, (error) => (error ? reject(error) : resolve()))
  })
}

/** Makes created, renamed and removed names of the directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return // directories cannot be opened there
  const fd = await openFile(path, 'r')
  try {
    await new Promise<void>((resolve, reject) => {
      fs.fsync(fd, (error) => (error ? reject(error) : resolve()))
    })
  } finally {
    await closeFile(fd)
  }
}

/** Ending of a file that is being written and will take another's place. */
export const draftEnding = '.new'

/** Puts a file in the place of another, or of none: whole or not at all, and durable when it resolves. */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const fd = await openFile(path + draftEnding, 'w')
  try {
    await writeAll(fd, bytes, 0)
    await syncData(fd)
  } finally {
    await closeFile(fd)
  }
  await rename(path + draftEnding, path)
  await syncDirectory(dirname(path))
}

/** Bytes of an open file. */
export function fileLength(fd: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.fstat(fd, (error, stats) => (error ? reject(error) : resolve(stats.size)))
  })
}

/** True when the disk, or the user's share of it, is full: the write may work again later. */
export function isDiskFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/** The error of a file that maintenance could not write: whatever it was to take the place of is still there. */
export function cannotWrite(path: string, cause: unknown): never {
  const [code, what] = isDiskFull(cause)
    ? (['SIDESTREAM_DISK_FULL', 'no space left for it: free space'] as const)
    : (['SIDESTREAM_LOG_WRITE_FAILED', 'check the disk'] as const)
  throw new SidestreamError(code, `cannot write ${path}, ${what}; nothing was lost`, { cause, file: path })
}
