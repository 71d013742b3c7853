/**
 * Everything that decides an item's semantic ID beside its vector: codebooks, settings, switching cost, the parent's codes, what a
 * capacity has moved.
 * Invariant: a semantic ID is a pure function of (vector bytes, bundle); equal bundles have equal bytes.
 *
 * Parts, all numbers float32 little-endian: `codebooks.f32` = the codewords of all levels one after another, row-major
 * [sizes[l], dim]; `parent-codes.bin` = see `parent-codes.ts`. Where there is such a thing: `penalties.f32` = those of all levels
 * with codewords one after another, zeros for a level without; `fsq.f32` = projection, row-major [digits, dim], then the cuts digit
 * after digit; `network.f32` = weights, row-major [out, in], and bias of layer after layer; `moves.bin` = see `moves.ts`. Everything else
 * stands in the manifest's JSON (`about`). Format 1 had none of these, format 2 no moves and no `id`, format 3 no `sticky`; all are still read.
 */

import { createHash } from 'node:crypto'
import { z } from 'zod'
import { isSidestreamError, SidestreamError } from '../schemas/index.ts'
import { checkQuantizer, codebooksOf, encodeDefaults, type Quantizer } from './codebooks.ts'
import type { Fsq } from './fsq.ts'
import type { CollisionOptions } from './collisions.ts'
import { Moves } from './moves.ts'
import { networkOf, widthsOf, type Network } from './network.ts'
import { ParentCodes } from './parent-codes.ts'

/** Format of `BundleParts` that is written. */
const format = 4
const codebooksPart = 'codebooks.f32'
const parentsPart = 'parent-codes.bin'
const penaltiesPart = 'penalties.f32'
const fsqPart = 'fsq.f32'
const networkPart = 'network.f32'
const movesPart = 'moves.bin'

/** What the bundle says of itself beside what it needs to encode; plain JSON, given by whoever builds it. */
export interface BundleOrigin {
  /** Name of the bundle it was refreshed from; null for a first fit or a re-base. */
  readonly parent: string | null
  /** Changes on a re-base only: codes of two bundles can be compared when this is equal. */
  readonly idSpace: string
  /** What the vectors were: view, head, dims, cut… */
  readonly input: Readonly<Record<string, unknown>>
  /** How the codebooks were fitted. */
  readonly training: Readonly<Record<string, unknown>>
  /** Refresh policy with its measured churn and distortion. */
  readonly policy: Readonly<Record<string, unknown>>
}

export interface Bundle extends Quantizer {
  /** Switching cost of the sticky rule, see `Sticky.delta`. */
  readonly delta: number
  /** The parent version's codes at the cut: these items are sticky, all others are encoded freely. */
  readonly parents: ParentCodes
  /** The bound on items per ID that was kept when the bundle was built; a refresh takes it over. */
  readonly collisions?: Required<CollisionOptions>
  /** Items that this bound has moved, each while its vector is the one at the cut. */
  readonly moves?: Moves
  readonly origin: BundleOrigin
}

/** A bundle as an artifact: named bytes and the manifest's JSON. */
export interface BundleParts {
  readonly parts: ReadonlyMap<string, Uint8Array>
  readonly about: Readonly<Record<string, unknown>>
}

const record = z.record(z.string(), z.unknown())
/** With the parts, all that decides an ID. */
const decidingSchema = z.object({
  kind: z.literal('semantic-id-bundle'),
  format: z
    .int()
    .min(1)
    .max(format, { error: `its format is not known (this build reads 1 to ${format})` }),
  dim: z.int().min(1),
  /** Of all levels, the finite-scalar one too. */
  sizes: z.array(z.int().min(1)).min(1),
  normalize: z.boolean(),
  normalizeResiduals: z.boolean().default(false),
  recheckTolerance: z.number().min(0),
  mode: z.enum(['greedy', 'beam']),
  beam: z.int().min(1).default(1),
  /** What items of the parent's table keep; absent before format 4. */
  sticky: z.enum(['prefix', 'whole']).default('prefix'),
  /** By beam: the lexicographically lowest ID. */
  ties: z.literal('lowest'),
  /** Whether codes of each level with codewords have penalties. */
  penalties: z.array(z.boolean()).nullable().default(null),
  fsq: z
    .object({ digits: z.array(z.int().min(2)).min(1) })
    .nullable()
    .default(null),
  network: z
    .object({ widths: z.array(z.int().min(1)).min(2), activation: z.literal('relu') })
    .nullable()
    .default(null),
  /** null: the parent's codes are never left. */
  delta: z.number().min(0).nullable(),
  parentRows: z.int().min(0),
  /** Most items of one ID; null: no bound. */
  capacity: z.int().min(1).nullable().default(null),
  duplicates: z.enum(['together', 'split']).default('together'),
  movedRows: z.int().min(0).default(0),
})
const aboutSchema = decidingSchema.extend({
  id: z.string().optional(),
  parent: z.string().nullable(),
  idSpace: z.string(),
  input: record,
  training: record,
  policy: record,
})

/**
 * A checked bundle, every setting filled in.
 * @throws SIDESTREAM_SHAPE_MISMATCH when the parent's codes, the moves or the network do not fit the codebooks; SIDESTREAM_USAGE_INVALID for
 * settings that exclude each other
 */
export function bundleOf(bundle: Bundle): Bundle {
  const { codebooks, parents, delta } = bundle
  if (!(delta >= 0)) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `a switching cost is at least 0, got ${delta}`)
  const most = parents.largestCodes()
  if (parents.levels !== codebooks.sizes.length || most.some((code, level) => code >= codebooks.sizes[level]!)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `parent codes of ${parents.levels} levels up to [${most.join(', ')}] do not fit codebooks of [${codebooks.sizes.join(', ')}] codes; other sizes need a re-base`,
    )
  }
  if (bundle.moves !== undefined && !bundle.moves.fits(codebooks.sizes.at(-1)!))
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `moves do not fit a last level of ${codebooks.sizes.at(-1)!} codes`)
  checkQuantizer(bundle)
  return { ...bundle, settings: { ...encodeDefaults, ...bundle.settings } }
}

/** The bundle as parts and manifest JSON, for the artifacts port. */
export function bundleToParts({ codebooks, settings, network, delta, parents, collisions, moves, origin }: Bundle): BundleParts {
  const { dim, sizes, levels, penalties, fsq } = codebooks
  const { normalize, normalizeResiduals, recheckTolerance, beam, sticky } = { ...encodeDefaults, ...settings }
  const deciding: z.infer<typeof decidingSchema> = {
    kind: 'semantic-id-bundle',
    format,
    dim,
    sizes: [...sizes],
    normalize,
    normalizeResiduals,
    recheckTolerance,
    mode: beam > 1 ? 'beam' : 'greedy',
    beam,
    sticky,
    ties: 'lowest',
    penalties: penalties?.map((level) => level !== undefined) ?? null,
    fsq: fsq ? { digits: [...fsq.digits] } : null,
    network: network ? { widths: widthsOf(network), activation: 'relu' } : null,
    delta: delta === Infinity ? null : delta,
    parentRows: parents.rows,
    capacity: collisions?.capacity ?? null,
    duplicates: collisions?.duplicates ?? 'together',
    movedRows: moves?.rows ?? 0,
  }
  const parts = new Map([
    [codebooksPart, bytesOf(levels)],
    [parentsPart, parents.toBytes()],
  ])
  if (penalties) parts.set(penaltiesPart, bytesOf(penalties.map((level, index) => level ?? new Float32Array(sizes[index]!))))
  if (fsq) parts.set(fsqPart, bytesOf([fsq.projection, ...fsq.cuts]))
  if (network) parts.set(networkPart, bytesOf(network.layers.flatMap(({ weights, bias }) => [weights, bias])))
  if (moves !== undefined && moves.rows > 0) parts.set(movesPart, moves.toBytes())
  const about: z.infer<typeof aboutSchema> = { ...deciding, id: idOf(parts, deciding), ...origin }
  return { parts, about }
}

/** Names all that decides an ID: the first 32 digits of a SHA-256 over parts and fields by name. Where they come from plays no part. */
function idOf(parts: BundleParts['parts'], about: BundleParts['about']): string {
  const hash = createHash('sha256')
  for (const name of [...parts.keys()].sort()) hash.update(`${name} ${createHash('sha256').update(parts.get(name)!).digest('hex')}\n`)
  for (const name of Object.keys(decidingSchema.shape).sort())
    if (about[name] !== undefined) hash.update(`${name} ${JSON.stringify(about[name])}\n`)
  return hash.digest('hex').slice(0, 32)
}

/**
 * The bundle of parts whose checksums the artifacts port has verified; no other parts than those of `bundleToParts`.
 * @throws SIDESTREAM_ARTIFACT_CORRUPT naming what does not fit
 */
export function bundleFromParts({ parts, about }: BundleParts): Bundle {
  const parsed = aboutSchema.safeParse(about)
  if (!parsed.success) {
    const problem = parsed.error.issues[0]!
    throw corrupt(`manifest: ${problem.path.join('.')}: ${problem.message}`)
  }
  const { dim, sizes, delta, parentRows, capacity, duplicates, movedRows, parent, idSpace, input, training, policy } = parsed.data
  const { normalize, normalizeResiduals, recheckTolerance, beam, mode, sticky } = parsed.data
  if (mode === 'greedy' && beam !== 1) throw corrupt(`manifest: a beam of ${beam} is not greedy`)
  const inLevels = parsed.data.fsq === null ? sizes : sizes.slice(0, -1)
  const levels = floats(
    parts,
    codebooksPart,
    inLevels.map((size) => size * dim),
  )
  const parents = ParentCodes.fromBytes(part(parts, parentsPart))
  if (parents.rows !== parentRows) throw corrupt(`${parentsPart} holds ${parents.rows} items, the manifest says ${parentRows}`)
  const moves = movedRows === 0 ? undefined : Moves.fromBytes(part(parts, movesPart))
  if ((moves?.rows ?? 0) !== movedRows) throw corrupt(`${movesPart} holds ${moves?.rows} items, the manifest says ${movedRows}`)
  const penalties = parsed.data.penalties && penaltiesFrom(parts, parsed.data.penalties, inLevels)
  const fsq = parsed.data.fsq && fsqFrom(parts, parsed.data.fsq.digits, dim)
  try {
    const network = parsed.data.network && networkFrom(parts, parsed.data.network.widths)
    const codebooks = codebooksOf(dim, levels, { ...(penalties && { penalties }), ...(fsq && { fsq }) })
    if (codebooks.sizes.join() !== sizes.join())
      throw corrupt(`manifest: sizes [${sizes.join(', ')}] are not [${codebooks.sizes.join(', ')}]`)
    if (parsed.data.format > 2 && parsed.data.id !== idOf(parts, about))
      throw corrupt('manifest: it has changed: its id is not that of its fields and parts; restore it or build the bundle again')
    return bundleOf({
      codebooks,
      settings: { normalize, recheckTolerance, normalizeResiduals, beam, sticky },
      ...(network && { network }),
      delta: delta ?? Infinity,
      parents,
      ...(capacity !== null && { collisions: { capacity, duplicates } }),
      ...(moves && { moves }),
      origin: { parent, idSpace, input, training, policy },
    })
  } catch (cause) {
    if (isSidestreamError(cause) && cause.code === 'SIDESTREAM_ARTIFACT_CORRUPT') throw cause
    throw corrupt(cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function penaltiesFrom(parts: BundleParts['parts'], present: readonly boolean[], sizes: readonly number[]): (Float32Array | undefined)[] {
  if (present.length !== sizes.length) throw corrupt(`manifest: penalties of ${present.length} levels, codebooks of ${sizes.length}`)
  return floats(parts, penaltiesPart, sizes).map((level, index) => (present[index] ? level : undefined))
}

function fsqFrom(parts: BundleParts['parts'], digits: readonly number[], dim: number): Fsq {
  const [projection, ...cuts] = floats(parts, fsqPart, [digits.length * dim, ...digits.map((values) => values - 1)])
  return { digits, projection: projection!, cuts }
}

function networkFrom(parts: BundleParts['parts'], widths: readonly number[]): Network {
  const sizes = widths.slice(1).flatMap((width, layer) => [width * widths[layer]!, width])
  const values = floats(parts, networkPart, sizes)
  return networkOf(widths.slice(1).map((_, layer) => ({ weights: values[layer * 2]!, bias: values[layer * 2 + 1]! })))
}

/** Arrays one after another. */
function bytesOf(arrays: readonly Float32Array[]): Uint8Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const array of arrays) {
    all.set(array, at)
    at += array.length
  }
  return new Uint8Array(all.buffer)
}

/** A part as arrays of these lengths. */
function floats(parts: BundleParts['parts'], name: string, lengths: readonly number[]): Float32Array[] {
  const bytes = part(parts, name)
  const count = lengths.reduce((sum, length) => sum + length, 0)
  if (bytes.length !== count * 4) throw corrupt(`${name} holds ${bytes.length} bytes, not ${count} float32`)
  const all = new Float32Array(bytes.slice().buffer)
  let at = 0
  return lengths.map((length) => all.slice(at, (at += length)))
}

function part(parts: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const bytes = parts.get(name)
  if (bytes === undefined) throw corrupt(`part ${name} is missing`)
  return bytes
}

function corrupt(why: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `semantic-ID bundle: ${why}`, { cause })
}
