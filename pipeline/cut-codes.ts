/**
 * The semantic IDs that a build gave the items of its cut, as an artifact beside its codebooks. An item that is deleted later leaves
 * no content behind to compute its ID from, and the next build remembers it from here.
 * Invariants: codebooks that are stored have their cut codes; those of versions that no build can have as its parent go.
 */

import { listVersions } from '../features/index.ts'
import { ParentCodes, withVanished } from '../semantic-ids/index.ts'
import type { Bundle, RememberedCodes } from '../semantic-ids/index.ts'
import { isSidestreamError } from '../schemas/index.ts'
import type { ControlBody } from './control-records.ts'
import type { Project } from './project.ts'

const prefix = 'cut-codes/v'
const part = 'cut-codes.bin'

function nameOf(version: number): string {
  return `${prefix}${version}`
}

/** Stores them, before the codebooks of the version are. */
export async function writeCutCodes({ artifacts }: Project, version: number, codes: ParentCodes): Promise<void> {
  const name = nameOf(version)
  const parts = new Map([[part, codes.toBytes()]])
  const about = { kind: 'cut-codes', version }
  try {
    await artifacts.write(name, parts, about)
  } catch (error) {
    if (!isSidestreamError(error) || error.code !== 'SIDESTREAM_ARTIFACT_CORRUPT') throw error
    // Of a build that ended before its codebooks were stored, on another kind of machine: an RQ-VAE has other bytes there.
    await artifacts.remove(name)
    await artifacts.write(name, parts, about)
  }
}

/** Those of a version; undefined for one that was built by a release without them. @throws SIDESTREAM_ARTIFACT_CORRUPT */
async function readCutCodes({ artifacts }: Project, version: number): Promise<ParentCodes | undefined> {
  const name = nameOf(version)
  if (!(await artifacts.list(name)).includes(name)) return undefined
  return ParentCodes.fromBytes((await artifacts.read(name)).parts.get(part)!)
}

/** Removes those of versions that are gone, and of builds that were given up. */
export async function dropCutCodes({ artifacts, store, config }: Project, { version, parent }: ControlBody<'build'>): Promise<void> {
  const kept = new Set([nameOf(version), ...(parent === null ? [] : [nameOf(parent)])])
  for (const record of await listVersions(store, config.project))
    if (record.state !== 'collecting' && record.state !== 'gone') kept.add(nameOf(record.version))
  for (const name of await artifacts.list(prefix)) if (!kept.has(name)) await artifacts.remove(name)
}

/**
 * What a refresh has to keep: the IDs of the items that are there, and those of items that are away.
 * @param version - the parent of the refresh
 * @param ids - items that exist at the cut
 * @param codes - their IDs by the parent, row-major, shape [ids.length, levels]
 */
export async function rememberedCodes(
  project: Project,
  { version, bundle: { parents } }: { readonly version: number; readonly bundle: Bundle },
  ids: readonly string[],
  codes: Uint16Array,
): Promise<RememberedCodes> {
  const { levels } = parents
  const cut = await readCutCodes(project, version)
  const here = new Set(ids)
  const all = [...ids]
  const left: Uint16Array[] = []
  for (const [id, sid] of cut?.entries() ?? []) {
    if (here.has(id)) continue
    all.push(id)
    left.push(sid)
  }
  const published = new Uint16Array(all.length * levels)
  published.set(codes)
  for (const [row, sid] of left.entries()) published.set(sid, codes.length + row * levels)
  const table = { ids: all, codes: published, levels }
  return { ...withVanished(table, parents, ids), returned: cut === undefined ? 0 : returnedItems(ids, cut, parents) }
}

/** Items that the parent's table knew when they were not in its cut. */
function returnedItems(ids: readonly string[], cut: ParentCodes, known: ParentCodes): number {
  const [atCut, ever] = [cut.lookup(ids), known.lookup(ids)]
  return ids.filter((_, row) => atCut[row * cut.levels]! < 0 && ever[row * known.levels]! >= 0).length
}
