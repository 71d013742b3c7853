/**
 * What every reader and writer of files shares: formats by name, errors by cause, and writing that is never seen half done.
 * Invariant: a failure names the file; a missing or locked file is UNREADABLE, a cut or malformed one is INVALID.
 */
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isSidestreamError, SidestreamError } from '../errors.ts'
import { partialOf, removeAbandoned } from './partial.ts'

/** File formats, by the end of the file's name. */
export type FileFormat = 'parquet' | 'csv' | 'csv.gz' | 'f32' | 'npy'

const endings: readonly (readonly [string, FileFormat])[] = [
  ['.parquet', 'parquet'],
  ['.csv', 'csv'],
  ['.tsv', 'csv'],
  ['.csv.gz', 'csv.gz'],
  ['.tsv.gz', 'csv.gz'],
  ['.f32', 'f32'],
  ['.npy', 'npy'],
]

/**
 * Format of a file by its name.
 * @throws SIDESTREAM_FILE_INVALID when the ending is none of the known ones
 */
export function fileFormat(file: string): FileFormat {
  const name = file.toLowerCase()
  const found = endings.find(([ending]) => name.endsWith(ending))
  if (found !== undefined) return found[1]
  const known = endings.map(([ending]) => ending).join(', ')
  throw invalidFile(file, `its name must end with one of ${known}`)
}

/** Delimiter of a CSV-like file by its name. */
export function delimiterOf(file: string): string {
  return /\.tsv(\.gz)?$/i.test(file) ? '\t' : ','
}

/** SIDESTREAM_FILE_INVALID for this file. */
export function invalidFile(file: string, problem: string, details: Readonly<Record<string, unknown>> = {}): SidestreamError {
  return new SidestreamError('SIDESTREAM_FILE_INVALID', `${file}: ${problem}`, { file, ...details })
}

/** The error to throw for `error`, met while reading or writing `file`: system failures and format failures apart. */
export function fileError(file: string, error: unknown): SidestreamError {
  if (isSidestreamError(error)) return error
  const { code, message } = error as { code?: unknown; message?: unknown }
  if (code === 'ENOENT') return unreadable(file, 'there is no such file; check the path', error)
  if (code === 'EACCES' || code === 'EPERM') return unreadable(file, 'it may not be opened; check its permissions', error)
  if (code === 'EROFS') return unreadable(file, 'it stands on a file system that is read-only; write to another place', error)
  if (code === 'EISDIR') return unreadable(file, 'is a directory, not a file', error)
  if (code === 'ENOTDIR' || code === 'EEXIST') return unreadable(file, 'is a file, or stands below one, where a directory is wanted', error)
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
    return new SidestreamError('SIDESTREAM_DISK_FULL', `${file}: the disk is full (${String(message)}); free some space and run again`, {
      file,
      cause: error,
    })
  }
  if (isSystemError(error)) return unreadable(file, String(message), error)
  return invalidFile(file, `cut short or damaged (${String(message)}); fetch or write it again`, { cause: error })
}

function isSystemError(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^E[A-Z]+$/.test(code)
}

function unreadable(file: string, problem: string, cause: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `${file}: ${problem}`, { file, cause })
}

/** An open file that is read at positions, with exact lengths. */
export interface RandomAccessFile {
  readonly path: string
  readonly bytes: number
  /** Fills `out` from `position`. @throws SIDESTREAM_FILE_INVALID when the file ends before */
  read(position: number, out: Uint8Array): Promise<void>
  close(): Promise<void>
}

/**
 * Opens a file for reading at positions.
 * @throws SIDESTREAM_FILE_UNREADABLE when it cannot be opened
 */
export async function openRandomAccess(path: string): Promise<RandomAccessFile> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, 'r')
    const info = await handle.stat()
    if (info.isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' })
    return randomAccess(path, handle, info.size)
  } catch (error) {
    await handle?.close()
    throw fileError(path, error)
  }
}

function randomAccess(path: string, handle: FileHandle, bytes: number): RandomAccessFile {
  return {
    path,
    bytes,
    async read(position, out) {
      let done = 0
      while (done < out.byteLength) {
        const { bytesRead } = await handle.read(out, done, out.byteLength - done, position + done).catch((error: unknown) => {
          throw fileError(path, error)
        })
        if (bytesRead === 0)
          throw invalidFile(path, `ends at byte ${position + done}, ${out.byteLength - done} bytes too early; fetch or write it again`)
        done += bytesRead
      }
    },
    close: () => handle.close(),
  }
}

/** Whether something readable stands at `path`. */
export async function fileExists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/**
 * Runs `body` on a temporary neighbor of `path`, then syncs and renames it, so that `path` is whole or as it was. Neighbors that killed
 * writers of `path` left go then.
 * @throws SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE, or what `body` throws; the temporary file is removed
 */
export async function writeWhole<T>(path: string, body: (handle: FileHandle) => Promise<T>): Promise<T> {
  const temporary = partialOf(path)
  const began = Date.now()
  let handle: FileHandle | undefined
  try {
    handle = await open(temporary, 'wx')
    const result = await body(handle)
    await handle.sync()
    await handle.close()
    await rename(temporary, path)
    await removeAbandoned(path, began)
    return result
  } catch (error) {
    await handle?.close().catch(() => undefined)
    await rm(temporary, { force: true })
    if (handle === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT')
      throw unreadable(path, `there is no directory ${dirname(path)} to write to; make it first`, error)
    throw isSystemError(error) ? fileError(path, error) : error
  }
}

/** Makes created, renamed and removed names of a directory durable. Windows cannot open one; its file system journals renames. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
