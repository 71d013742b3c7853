/**
 * A semantic-ID bundle on disk: a directory with what encodes, who has which ID, what was measured, and the manifest.
 * Invariant: the directory gets its name in one rename, after all its files (the manifest last) are on disk; a reader checks the
 * length and SHA-256 of every file before it uses one, the manifest's own too.
 */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import {
  fileError,
  partialOf,
  removeAbandoned,
  requireWritable,
  SidestreamError,
  syncDirectory,
  writeCodes,
  writeParquet,
  writeWhole,
} from '../schemas/index.ts'
import type { CodeBatch } from '../schemas/index.ts'
import { bundleFromParts, bundleToParts, prefixOrder } from '../semantic-ids/index.ts'
import type { Bundle } from '../semantic-ids/index.ts'

/** Items and their codes, a batch. */
export interface BundleItems {
  readonly ids: readonly string[]
  /** Row-major, shape [ids.length, levels]. */
  readonly codes: Uint16Array
  /** Shape [ids.length]; given if, and only if, the bundle has a suffix. */
  readonly suffixes?: Uint16Array
}

export interface BundleContents {
  readonly bundle: Bundle
  /** Every item with its ID, in any number of batches. Ids and codes are held in memory, for the table by ID. */
  readonly items: Iterable<BundleItems> | AsyncIterable<BundleItems>
  /** Whether items have a number beside their ID that makes it 1-1, see `withSuffix`. @default false */
  readonly suffix?: boolean
  /** What was measured, plain JSON. */
  readonly metrics: Readonly<Record<string, unknown>>
  /** More of the manifest's `about`, plain JSON: when it was made, by which release, how collisions were resolved. */
  readonly about?: Readonly<Record<string, unknown>>
}

const manifestFile = 'manifest.json'
export const itemsFile = 'item_to_sid.parquet'
const sidsFile = 'sid_to_items.parquet'
const metricsFile = 'metrics.json'
/** IDs of one row group of the table by ID. */
const groupSids = 65_536

const manifestSchema = z.object({
  name: z.string(),
  parts: z.array(
    z.object({
      name: z.string().regex(/^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/),
      bytes: z.int().min(0),
      sha256: z.string().length(64),
      /** Of a table. */
      rows: z.int().min(0).optional(),
    }),
  ),
  about: z.record(z.string(), z.unknown()),
  /** Of the file's bytes without these 64 digits. An artifact of a daemon has none. */
  sha256: z.string().length(64).optional(),
})

export type BundleManifest = z.infer<typeof manifestSchema>

/**
 * Writes a bundle directory, whole or not at all.
 * @returns its manifest
 * @throws SIDESTREAM_USAGE_INVALID when something stands at `directory`; SIDESTREAM_DISK_FULL, SIDESTREAM_FILE_UNREADABLE
 */
export async function writeBundleDirectory(directory: string, contents: BundleContents): Promise<BundleManifest> {
  const target = resolve(directory)
  await requireFree(target)
  const draft = partialOf(target)
  const began = Date.now()
  try {
    await mkdir(draft)
    const manifest = await writeFiles(draft, basename(target), contents)
    await syncDirectory(draft)
    await rename(draft, target)
    await syncDirectory(dirname(target))
    await removeAbandoned(target, began)
    return manifest
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    throw typeof (error as NodeJS.ErrnoException).code === 'string' ? fileError(target, error) : error
  }
}

async function writeFiles(
  draft: string,
  name: string,
  { bundle, items, suffix = false, metrics, about: more }: BundleContents,
): Promise<BundleManifest> {
  const { parts, about } = bundleToParts(bundle)
  for (const [part, bytes] of parts) await writeWhole(join(draft, part), (handle) => handle.writeFile(bytes))
  const width = bundle.codebooks.sizes.length
  const held: BundleItems[] = []
  const rows = await writeCodes(join(draft, itemsFile), codeBatches(items, width, held), { suffix })
  const sids = await writeBySid(join(draft, sidsFile), held, width)
  await writeJson(join(draft, metricsFile), metrics)
  const rowsOf: Record<string, number> = { [itemsFile]: rows, [sidsFile]: sids }
  const listed: BundleManifest['parts'] = []
  for (const part of [...parts.keys(), itemsFile, sidsFile, metricsFile]) {
    listed.push({ name: part, ...(await digestOf(join(draft, part))), ...(rowsOf[part] !== undefined && { rows: rowsOf[part] }) })
  }
  const manifest = { name, parts: listed, about: { ...more, suffix, ...about } }
  const sealed = {
    ...manifest,
    sha256: createHash('sha256')
      .update(jsonText({ ...manifest, sha256: '' }))
      .digest('hex'),
  }
  await writeJson(join(draft, manifestFile), sealed)
  return sealed
}

/** Batches as the `codes` contract has them; what passes is kept in `held`. */
async function* codeBatches(items: BundleContents['items'], levels: number, held: BundleItems[]): AsyncGenerator<CodeBatch> {
  for await (const batch of items) {
    const { ids, codes, suffixes } = batch
    if (codes.length !== ids.length * levels)
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${ids.length} items of ${levels} levels came with ${codes.length} codes`)
    if (ids.length === 0) continue
    held.push(batch)
    const sids = ids.map((_, row) => Array.from(codes.subarray(row * levels, (row + 1) * levels)))
    yield { ids, sids, ...(suffixes && { suffixes: Array.from(suffixes) }) }
  }
}

/** IDs in ascending order with their items, those in the order in which they came. @returns number of distinct IDs */
async function writeBySid(file: string, held: readonly BundleItems[], levels: number): Promise<number> {
  const ids = held.flatMap((batch) => batch.ids)
  const codes = new Uint16Array(ids.length * levels)
  let at = 0
  for (const batch of held) {
    codes.set(batch.codes, at)
    at += batch.codes.length
  }
  const sizes = new Array<number>(levels).fill(1)
  for (let i = 0; i < codes.length; i++) sizes[i % levels] = Math.max(sizes[i % levels]!, codes[i]! + 1)
  const { order, starts } = prefixOrder(codes, sizes)
  const bounds = starts[levels - 1]!
  const count = bounds.length - 1
  const columns = [
    { name: 'sid', type: 'list<int32>' },
    { name: 'item_ids', type: 'list<string>' },
  ] as const
  await writeParquet(file, columns, async (rows) => {
    for (let from = 0; from < count; from += groupSids) {
      const sid: number[][] = []
      const itemIds: string[][] = []
      for (let group = from; group < Math.min(count, from + groupSids); group++) {
        const members = order.subarray(bounds[group]!, bounds[group + 1]!)
        sid.push(Array.from(codes.subarray(members[0]! * levels, (members[0]! + 1) * levels)))
        itemIds.push(Array.from(members, (row) => ids[row]!))
      }
      await rows.write({ sid, item_ids: itemIds })
    }
  })
  return count
}

/** What a bundle directory holds. Its tables are read from their files, with `readCodes` say. */
export interface StoredBundle {
  readonly bundle: Bundle
  readonly manifest: BundleManifest
  readonly metrics: Readonly<Record<string, unknown>>
}

/**
 * Reads a bundle directory, or an artifact `codebooks~v<version>.artifact` of a data directory (which holds no tables and no metrics).
 * @throws SIDESTREAM_ARTIFACT_MISSING without a manifest; SIDESTREAM_ARTIFACT_CORRUPT naming the file that is missing or has changed,
 *   or the format that is not known
 */
export async function readBundleDirectory(directory: string): Promise<StoredBundle> {
  const manifest = await readManifest(directory)
  const parts = new Map<string, Uint8Array>()
  for (const part of manifest.parts) {
    await checkPart(directory, part, async (file) => {
      if (part.name.endsWith('.parquet')) return digestOf(file)
      const content = await readFile(file)
      parts.set(part.name, new Uint8Array(content.buffer, content.byteOffset, content.length))
      return { bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') }
    })
  }
  const metrics = parts.get(metricsFile)
  parts.delete(metricsFile)
  return {
    bundle: bundleFromParts({ parts, about: manifest.about }),
    manifest,
    metrics: metrics === undefined ? {} : (JSON.parse(Buffer.from(metrics).toString('utf8')) as Record<string, unknown>),
  }
}

/**
 * The table of items of a bundle directory, checked against the manifest; nothing else of the directory is read.
 * @returns its path
 * @throws SIDESTREAM_ARTIFACT_MISSING without a manifest or a table; SIDESTREAM_ARTIFACT_CORRUPT when either has changed
 */
export async function checkedItemsFile(directory: string): Promise<string> {
  const manifest = await readManifest(directory)
  const part = manifest.parts.find(({ name }) => name === itemsFile)
  if (part === undefined) {
    throw new SidestreamError(
      'SIDESTREAM_ARTIFACT_MISSING',
      `${directory} has no ${itemsFile} (that of a daemon has none): give a bundle of sid fit or sid refresh, or a file of codes`,
      { directory },
    )
  }
  await checkPart(directory, part, digestOf)
  return join(directory, itemsFile)
}

/** @param read - what the file holds @throws SIDESTREAM_ARTIFACT_CORRUPT when that is not what the manifest says */
async function checkPart(
  directory: string,
  { name, bytes, sha256 }: BundleManifest['parts'][number],
  read: (file: string) => Promise<Digest>,
): Promise<void> {
  const file = join(directory, name)
  const found = await read(file).catch((error: unknown) => {
    if (isMissing(error)) throw corrupt(file, 'is missing')
    throw fileError(file, error)
  })
  if (found.bytes !== bytes) throw corrupt(file, `has ${found.bytes} bytes, the manifest says ${bytes}`)
  if (found.sha256 !== sha256) throw corrupt(file, 'has changed: its SHA-256 differs from the manifest')
}

async function readManifest(directory: string): Promise<BundleManifest> {
  const text = await readFile(join(directory, manifestFile), 'utf8').catch((error: unknown) => {
    if (isMissing(error)) {
      throw new SidestreamError(
        'SIDESTREAM_ARTIFACT_MISSING',
        `${directory} holds no ${manifestFile}: it is no semantic-ID bundle, or its writing was interrupted`,
        { directory },
      )
    }
    throw fileError(directory, error)
  })
  const manifest = parseManifest(directory, text)
  const { sha256, parts, about } = manifest
  // Those before format 3 had no seal.
  const unsealed = sha256 === undefined && (!parts.some(({ name }) => name === itemsFile) || Number(about['format']) < 3)
  const found = createHash('sha256')
    .update(text.replace(sha256 ?? '', ''))
    .digest('hex')
  if (!unsealed && found !== sha256) throw corrupt(join(directory, manifestFile), 'has changed: its SHA-256 is not the one at its end')
  return manifest
}

function parseManifest(directory: string, text: string): BundleManifest {
  try {
    return manifestSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `${join(directory, manifestFile)} is no manifest of a bundle`, {
      cause,
      directory,
    })
  }
}

interface Digest {
  readonly bytes: number
  /** Hexadecimal. */
  readonly sha256: string
}

async function digestOf(file: string): Promise<Digest> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { bytes, sha256: hash.digest('hex') }
}

/** Refuses a place that holds something or cannot be written to, before work is done for it. @throws SIDESTREAM_USAGE_INVALID, SIDESTREAM_FILE_UNREADABLE */
export async function requireFree(target: string): Promise<void> {
  const entries = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw fileError(target, error)
  })
  if (entries.length === 0) return requireWritable(dirname(target))
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `${target} is not empty: write the bundle to another directory, or remove that one first`,
  )
}

function writeJson(file: string, value: unknown): Promise<unknown> {
  return writeWhole(file, (handle) => handle.writeFile(jsonText(value)))
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}

function corrupt(file: string, what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `${file} ${what}: restore it or build the bundle again`, {
    file,
    part: basename(file),
  })
}
