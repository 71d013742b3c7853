/**
 * Everything that decides an item's semantic ID beside its vector: codebooks, settings, switching cost, the parent's codes.
 * Invariant: a semantic ID is a pure function of (vector bytes, bundle); equal bundles have equal bytes.
 *
 * Parts: `codebooks.f32` = the codewords of all levels one after another, float32 little-endian, row-major [sizes[l], dim];
 * `parent-codes.bin` = see `parent-codes.ts`. Everything else stands in the manifest's JSON (`about`).
 */

import { z } from 'zod'
import { SidestreamError } from '../schemas/index.ts'
import { codebooksOf, type Codebooks, type EncodeSettings } from './codebooks.ts'
import { ParentCodes } from './parent-codes.ts'

/** Format of `BundleParts`. */
const format = 1
const codebooksPart = 'codebooks.f32'
const parentsPart = 'parent-codes.bin'

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

export interface Bundle {
  readonly codebooks: Codebooks
  readonly settings: EncodeSettings
  /** Switching cost of the sticky rule, see `Sticky.delta`. */
  readonly delta: number
  /** The parent version's codes at the cut: these items are sticky, all others are encoded freely. */
  readonly parents: ParentCodes
  readonly origin: BundleOrigin
}

/** A bundle as an artifact: named bytes and the manifest's JSON. */
export interface BundleParts {
  readonly parts: ReadonlyMap<string, Uint8Array>
  readonly about: Readonly<Record<string, unknown>>
}

const record = z.record(z.string(), z.unknown())
const aboutSchema = z.object({
  kind: z.literal('semantic-id-bundle'),
  format: z.literal(format, { error: `its format is not known (this build reads ${format})` }),
  dim: z.int().min(1),
  sizes: z.array(z.int().min(1)).min(1),
  normalize: z.boolean(),
  recheckTolerance: z.number().min(0),
  mode: z.literal('greedy'),
  ties: z.literal('lowest'),
  /** null: the parent's codes are never left. */
  delta: z.number().min(0).nullable(),
  parentRows: z.int().min(0),
  parent: z.string().nullable(),
  idSpace: z.string(),
  input: record,
  training: record,
  policy: record,
})

/**
 * A checked bundle.
 * @throws SIDESTREAM_SHAPE_MISMATCH when the parent's codes do not fit the codebooks
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
  return bundle
}

/** The bundle as parts and manifest JSON, for the artifacts port. */
export function bundleToParts({ codebooks, settings, delta, parents, origin }: Bundle): BundleParts {
  const words = new Float32Array(codebooks.levels.reduce((sum, level) => sum + level.length, 0))
  let at = 0
  for (const level of codebooks.levels) {
    words.set(level, at)
    at += level.length
  }
  const about: z.infer<typeof aboutSchema> = {
    kind: 'semantic-id-bundle',
    format,
    dim: codebooks.dim,
    sizes: [...codebooks.sizes],
    normalize: settings.normalize,
    recheckTolerance: settings.recheckTolerance,
    mode: 'greedy',
    ties: 'lowest',
    delta: delta === Infinity ? null : delta,
    parentRows: parents.rows,
    ...origin,
  }
  return {
    parts: new Map([
      [codebooksPart, new Uint8Array(words.buffer)],
      [parentsPart, parents.toBytes()],
    ]),
    about,
  }
}

/**
 * The bundle of parts whose checksums the artifacts port has verified.
 * @throws SIDESTREAM_ARTIFACT_CORRUPT naming what does not fit
 */
export function bundleFromParts({ parts, about }: BundleParts): Bundle {
  const parsed = aboutSchema.safeParse(about)
  if (!parsed.success) {
    const problem = parsed.error.issues[0]!
    throw corrupt(`manifest: ${problem.path.join('.')}: ${problem.message}`)
  }
  const { dim, sizes, normalize, recheckTolerance, delta, parentRows, parent, idSpace, input, training, policy } = parsed.data
  const bytes = part(parts, codebooksPart)
  const codes = sizes.reduce((sum, size) => sum + size, 0)
  if (bytes.length !== codes * dim * 4) throw corrupt(`${codebooksPart} holds ${bytes.length} bytes, not ${codes} x ${dim} float32`)
  const words = new Float32Array(bytes.slice().buffer)
  let at = 0
  const levels = sizes.map((size) => words.slice(at, (at += size * dim)))
  const parents = ParentCodes.fromBytes(part(parts, parentsPart))
  if (parents.rows !== parentRows) throw corrupt(`${parentsPart} holds ${parents.rows} items, the manifest says ${parentRows}`)
  try {
    return bundleOf({
      codebooks: codebooksOf(dim, levels),
      settings: { normalize, recheckTolerance },
      delta: delta ?? Infinity,
      parents,
      origin: { parent, idSpace, input, training, policy },
    })
  } catch (cause) {
    throw corrupt(cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function part(parts: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const bytes = parts.get(name)
  if (bytes === undefined) throw corrupt(`part ${name} is missing`)
  return bytes
}

function corrupt(why: string, cause?: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_ARTIFACT_CORRUPT', `semantic-ID bundle: ${why}`, { cause })
}
