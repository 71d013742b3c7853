/**
 * The sides that `sid report` compares: codes with their vectors and bundle, and the sizes of their levels.
 * Invariant: sizes that are known agree, no code is above them, and what was guessed is said.
 */

import { SidestreamError } from '../schemas/index.ts'
import { rowsAmong, vectorDimOf } from '../semantic-ids/index.ts'
import type { AssignmentInput } from '../semantic-ids/index.ts'
import { readBundleDirectory } from './bundle-directory.ts'
import type { StoredBundle } from './bundle-directory.ts'
import { isDirectory, readItemCodes } from './sid-items.ts'
import type { ItemCodes } from './sid-items.ts'
import { allVectors } from './sid-vectors.ts'
import type { VectorFile } from './sid-vectors.ts'

/** Codes, with what they were made of where that is known. */
export interface SidAssignment {
  /** A `codes` file, or the directory of a bundle, which then is the bundle too. */
  readonly codes: string
  readonly vectors?: VectorFile
  /** Directory of the bundle that made them. */
  readonly bundle?: string
}

/** One side, as the report takes it. */
export interface Side {
  readonly file: string
  readonly input: Omit<AssignmentInput, 'sizes'> & { readonly ids: readonly string[] }
  readonly levels: number
  readonly stored: { readonly directory: string; readonly bundle: StoredBundle } | undefined
}

/** @throws as `sidReportFiles` */
export async function readSide({ codes: file, bundle: named, vectors }: SidAssignment): Promise<Side> {
  const directory = named ?? ((await isDirectory(file)) ? file : undefined)
  const stored = directory === undefined ? undefined : { directory, bundle: await readBundleDirectory(directory) }
  const read = await readItemCodes(file)
  const { codebooks, settings, network } = stored?.bundle.bundle ?? {}
  if (codebooks !== undefined && codebooks.sizes.length !== read.levels) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${file}: IDs have ${read.levels} codes, those of the bundle ${codebooks.sizes.length}: name the bundle that made them`,
    )
  }
  const dim = codebooks && vectorDimOf(codebooks, network)
  const input = {
    ...(vectors === undefined ? { ids: read.ids, idOrder: read.idOrder, codes: read.codes } : await withVectors(file, read, vectors, dim)),
    ...(codebooks && settings && { codebooks, settings }),
    ...(network && { network }),
  }
  return { file, input, levels: read.levels, stored }
}

/** Codes in the order of the vectors, which are many times their size; vectors without codes are left out. */
async function withVectors(
  file: string,
  { ids, idOrder, codes, levels }: ItemCodes,
  vectors: VectorFile,
  dim: number | undefined,
): Promise<Pick<AssignmentInput, 'codes' | 'vectors' | 'dim' | 'idOrder'> & { readonly ids: readonly string[] }> {
  const held = await allVectors(vectors, dim)
  const rows = rowsAmong({ ids: held.ids, order: held.idOrder }, { ids, order: idOrder })
  const own = { ids: [] as string[], codes: new Uint16Array(codes.length) }
  // Where each row of the vectors went.
  const places = new Int32Array(rows.length).fill(-1)
  for (let from = 0; from < rows.length; from++) {
    const row = rows[from]!
    if (row < 0) continue
    const to = own.ids.length
    for (let level = 0; level < levels; level++) own.codes[to * levels + level] = codes[row * levels + level]!
    if (to < from) held.vectors.copyWithin(to * held.dim, from * held.dim, (from + 1) * held.dim)
    places[from] = to
    own.ids.push(held.ids[from]!)
  }
  if (own.ids.length < ids.length) {
    const has = new Set(own.ids)
    throw new SidestreamError(
      'SIDESTREAM_FILE_INVALID',
      `${vectors.in}: lacks the vector of ${JSON.stringify(ids.find((id) => !has.has(id)))}, which has codes in ${file}: give the vectors of all items`,
    )
  }
  const order = new Uint32Array(own.ids.length)
  let at = 0
  for (const row of held.idOrder) if (places[row]! >= 0) order[at++] = places[row]!
  return { ...own, idOrder: order, vectors: held.vectors.subarray(0, own.ids.length * held.dim), dim: held.dim }
}

/** Codes per level, and what has to be said of them. */
export interface SidSizes {
  readonly sizes: readonly number[]
  /** Whether nothing told them, so that they are one more than the largest code. */
  readonly guessed: boolean
  readonly notes: readonly string[]
}

/**
 * Sizes that hold for all sides: of `--levels` and the bundles, else guessed.
 * @throws SIDESTREAM_SHAPE_MISMATCH when known sizes differ or a code is above them
 */
export function sizesOf(given: readonly number[] | undefined, sides: readonly Side[]): SidSizes {
  const [now, before] = sides
  if (before !== undefined && before.levels !== now!.levels) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `IDs have ${now!.levels} codes now and had ${before.levels} before: codes of two shapes cannot be compared`,
    )
  }
  const known = [
    ...(given === undefined ? [] : [{ who: '--levels', sizes: given }]),
    ...sides.flatMap(({ stored }) =>
      stored === undefined ? [] : [{ who: stored.directory, sizes: stored.bundle.bundle.codebooks.sizes }],
    ),
  ]
  const guesses = sides.map(({ input, levels }) => largestCodes(input.codes, levels).map((code) => code + 1))
  const told = known[0]
  if (told === undefined) {
    const sizes = guesses[0]!.map((size, level) => Math.max(size, guesses[1]?.[level] ?? 0))
    const files = sides.map(({ file }) => file).join(' and ')
    return {
      sizes,
      guessed: true,
      notes: [
        `${files} ${sides.length > 1 ? 'do' : 'does'} not say how many codes a level has: guessed from the largest ones as ${sizes.join(' x ')}, so dead codes above them are not counted; --levels or --bundle tells`,
      ],
    }
  }
  for (const other of known) {
    if (other.sizes.join() === told.sizes.join()) continue
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `levels of ${told.sizes.join(' x ')} (${told.who}) and of ${other.sizes.join(' x ')} (${other.who}): codes of two shapes cannot be compared`,
    )
  }
  for (const [i, { file, levels }] of sides.entries()) {
    const level = guesses[i]!.findIndex((size, at) => !(size <= told.sizes[at]!))
    if (level < 0 && told.sizes.length === levels) continue
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      level < 0
        ? `${file}: IDs have ${levels} codes, ${told.who} has ${told.sizes.length} levels`
        : `${file}: holds the code ${guesses[i]![level]! - 1} on level ${level + 1}, which has ${told.sizes[level]} codes (${told.who}): codes of two shapes cannot be compared`,
    )
  }
  const unsure =
    given === undefined ? sides.filter(({ stored }, i) => stored === undefined && guesses[i]!.join() !== told.sizes.join()) : []
  return {
    sizes: told.sizes,
    guessed: false,
    notes: unsure.map(
      ({ file, input, levels }) =>
        `${file} does not say how many codes a level has: taken to be ${told.sizes.join(' x ')} as of ${told.who}, though its largest codes are ${largestCodes(input.codes, levels).join(', ')}; --bundle and --previous-bundle tell`,
    ),
  }
}

function largestCodes(codes: Uint16Array, levels: number): number[] {
  const most = new Int32Array(levels)
  for (let at = 0; at < codes.length;) {
    for (let level = 0; level < levels; level++, at++) if (codes[at]! > most[level]!) most[level] = codes[at]!
  }
  return Array.from(most)
}
