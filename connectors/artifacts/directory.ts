/**
 * Artifacts as folders of one directory: `<name>.artifact/`, one file per part and `manifest.json`.
 * Invariant: a folder gets its name in one rename, after all its files (the manifest last) are on disk, so a folder
 * with that ending is complete; anything else in the directory is a draft that nobody lists.
 */

import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { z } from 'zod'

import { SidestreamError, isSidestreamError } from '../../schemas/index.ts'
import type { Artifact, ArtifactManifest, ArtifactPart, Artifacts } from './artifacts.ts'

export interface ArtifactDirectoryOptions {
  /** Directory of artifacts alone; created when missing. */
  readonly directory: string
}

const artifactName = /^[a-z0-9._/-]{1,128}$/
const partName = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/
const manifestFile = 'manifest.json'
const ending = '.artifact'
const draftPrefix = 'draft~'

const manifestSchema = z.object({
  name: z.string().regex(artifactName),
  parts: z.array(z.object({ name: z.string().regex(partName), bytes: z.number().int().min(0), sha256: z.string().length(64) })),
  about: z.record(z.string(), z.unknown()),
})

/** Opens the directory and removes drafts that a crash left behind. One owner per directory. */
export async function openArtifactDirectory({ directory }: ArtifactDirectoryOptions): Promise<Artifacts> {
  await mkdir(directory, { recursive: true }).catch(failed(directory))
  for (const entry of await readdir(directory).catch(failed(directory))) {
    if (entry.startsWith(draftPrefix)) await rm(join(directory, entry), { recursive: true, force: true }).catch(failed(directory))
  }
  return new ArtifactDirectory(directory)
}

class ArtifactDirectory implements Artifacts {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** "Equal content" is equal parts: then the stored manifest stays as it is, with the `about` of the first writer. */
  async write(name: string, parts: ReadonlyMap<string, Uint8Array>, about: Readonly<Record<string, unknown>>): Promise<ArtifactManifest> {
    checkName(name)
    for (const part of parts.keys()) {
      if (!partName.test(part) || part === manifestFile) {
        throw usage(`part ${JSON.stringify(part)} must match [A-Za-z0-9._-]{1,128} and not be ${manifestFile}`)
      }
    }
    const manifest: ArtifactManifest = {
      name,
      parts: [...parts].map(([part, bytes]) => ({ name: part, bytes: bytes.length, sha256: sha256(bytes) })),
      about,
    }
    const stored = await this.#storedEqual(manifest)
    if (stored !== undefined) return stored
    const draft = join(this.#directory, `${draftPrefix}${randomUUID()}`)
    try {
      await mkdir(draft)
      for (const [part, bytes] of parts) await writeSynced(join(draft, part), bytes)
      await writeSynced(join(draft, manifestFile), Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`))
      await syncDirectory(draft)
      await rename(draft, this.#folder(name))
      await syncDirectory(this.#directory)
    } catch (error) {
      await rm(draft, { recursive: true, force: true })
      const { code } = error as NodeJS.ErrnoException
      const written = code === 'ENOTEMPTY' || code === 'EEXIST' ? await this.#storedEqual(manifest) : undefined
      if (written !== undefined) return written // a concurrent write of the same artifact came first
      return failed(this.#directory)(error)
    }
    return manifest
  }

  async read(name: string): Promise<Artifact> {
    checkName(name)
    const manifest = await this.#manifest(name)
    if (manifest === undefined) {
      throw new SidestreamError('SIDESTREAM_ARTIFACT_MISSING', `there is no artifact ${name} in ${this.#directory}`, { artifact: name })
    }
    const parts = new Map<string, Uint8Array>()
    for (const part of manifest.parts) parts.set(part.name, await this.#readPart(name, part))
    return { manifest, parts }
  }

  async list(prefix: string): Promise<string[]> {
    const names: string[] = []
    for (const folder of await readdir(this.#directory).catch(failed(this.#directory))) {
      const name = folder.slice(0, -ending.length).replaceAll('~', '/')
      if (!folder.endsWith(ending) || folder.startsWith(draftPrefix) || !name.startsWith(prefix)) continue
      names.push(name)
    }
    return names.sort()
  }

  async remove(name: string): Promise<void> {
    checkName(name)
    // Renamed to a draft first: a half-removed artifact is never listed.
    const draft = join(this.#directory, `${draftPrefix}${randomUUID()}`)
    try {
      await rename(this.#folder(name), draft)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      await failed(this.#directory)(error)
    }
    await syncDirectory(this.#directory)
    await rm(draft, { recursive: true, force: true })
  }

  #folder(name: string): string {
    return join(this.#directory, name.replaceAll('/', '~') + ending)
  }

  async #storedEqual(manifest: ArtifactManifest): Promise<ArtifactManifest | undefined> {
    const stored = await this.#manifest(manifest.name)
    if (stored === undefined) return undefined
    if (fingerprint(stored.parts) === fingerprint(manifest.parts)) return stored
    throw new SidestreamError(
      'SIDESTREAM_ARTIFACT_CORRUPT',
      `artifact ${manifest.name} exists with other content: artifacts never change, write it under another name`,
      { artifact: manifest.name },
    )
  }

  async #manifest(name: string): Promise<ArtifactManifest | undefined> {
    const file = join(this.#folder(name), manifestFile)
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      return failed(this.#directory)(error)
    })
    if (text === undefined) return undefined
    const parsed = manifestSchema.safeParse(parseJson(text))
    if (parsed.success && parsed.data.name === name) return parsed.data
    throw corrupt(name, manifestFile, 'is no manifest of this artifact')
  }

  async #readPart(name: string, { name: part, bytes, sha256: expected }: ArtifactPart): Promise<Uint8Array> {
    const content = await readFile(join(this.#folder(name), part)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') throw corrupt(name, part, 'is missing')
      return failed(this.#directory)(error)
    })
    if (content.length !== bytes) throw corrupt(name, part, `has ${content.length} bytes, the manifest says ${bytes}`)
    if (sha256(content) !== expected) throw corrupt(name, part, 'has changed: its SHA-256 differs from the manifest')
    return new Uint8Array(content.buffer, content.byteOffset, content.length)
  }
}

async function writeSynced(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'wx')
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes a rename durable. Windows cannot open a directory; its file system journals renames. */
async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function fingerprint(parts: readonly ArtifactPart[]): string {
  return parts
    .map(({ name, sha256: hash }) => `${name} ${hash}`)
    .sort()
    .join('\n')
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function checkName(name: string): void {
  if (!artifactName.test(name)) throw usage(`artifact name ${JSON.stringify(name)} must match [a-z0-9._/-]{1,128}`)
}

function corrupt(artifact: string, part: string, what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `part ${part} of artifact ${artifact} ${what}: restore it or build it again`, {
    artifact,
    part,
  })
}

function usage(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
}

function failed(directory: string): (error: unknown) => never {
  return (cause) => {
    if (isSidestreamError(cause)) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
      throw new SidestreamError('SIDESTREAM_DISK_FULL', `no room to write in ${directory} (${message}): free space, then try again`, {
        cause,
        directory,
      })
    }
    throw new SidestreamError('SIDESTREAM_FILE_UNREADABLE', `cannot use ${directory}: ${message}`, { cause, directory })
  }
}
