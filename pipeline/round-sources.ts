/**
 * The rows of every configured source in a round: samples by their set, pairs of the topic or made of content, items and their ID
 * embeddings.
 * Invariant: a function of (the round's rows, state as of its end, seed, round), so a round that is trained again trains the same.
 */

import { hashUnit } from '../compute/index.ts'
import { buildTeacherBatch, contentPairs, idRow, sampleDefaults, sourceOfSet, teachersOfSource, weigherOf } from '../distill/index.ts'
import type { Head, RoundSets, RowsBySource, TrainingPlan, TrainingRow } from '../distill/index.ts'
import type { ItemContent } from '../schemas/index.ts'
import type { State } from '../connectors/index.ts'
import { pairsAsOf } from './pair-state.ts'
import type { Project } from './project.ts'
import { teacherOptions, teachersAsOf } from './teacher-state.ts'

export interface RoundInput {
  readonly project: Pick<Project, 'codec' | 'config'>
  readonly state: State
  readonly round: number
  readonly endTs: number
  /** Training rows of all sample sets, in order. */
  readonly rows: RoundSets['rows']
  readonly item: (itemId: string) => ItemContent | undefined
}

/** What the ID embeddings of a round can teach. */
export interface RoundTeachers {
  /** Dims of each kind that can teach, by name. */
  readonly dims: ReadonlyMap<string, number>
  /** The first of all kinds, whether it can teach or not. */
  readonly weightBy: string
  readonly batch: NonNullable<TrainingPlan['teachers']>
}

/** Undefined while no kind of ID embedding can teach. */
export function roundTeachers({ project: { codec, config }, state, endTs, item }: RoundInput): RoundTeachers | undefined {
  const options = teacherOptions(config, state, endTs)
  if (options === undefined) return undefined
  const lookup = teachersAsOf(state, codec, endTs, item)
  return {
    dims: new Map(options.kinds.map(({ name, dim }) => [name, dim])),
    weightBy: options.weightBy,
    batch: ({ entities }, itemIds) =>
      buildTeacherBatch(
        itemIds.map((targetId) => ({ targetId })),
        lookup,
        teachersOfSource(options, entities),
      ),
  }
}

/**
 * Rows by source. `start`: for the stages before the first round, which see every pair there is; a round draws as many pairs of a
 * source as it has rows, and at least a batch.
 * @param head - of the round; its statistics say which items are neighbors in content
 */
export async function roundSources(
  input: RoundInput,
  head: Head,
  teachers: RoundTeachers | undefined,
  place: 'start' | 'round',
): Promise<RowsBySource> {
  const { project, state, round, endTs, rows, item } = input
  const { training, seed } = project.config
  const itemIds = [...new Set(rows.flatMap(({ targetId, history }) => [targetId, ...history]))]
  const inOrder = (ids: readonly string[], name: string): string[] => {
    const order = new Map(ids.map((id) => [id, hashUnit(seed, `${round}/${name}/${id}`)]))
    return [...ids].sort((a, b) => order.get(a)! - order.get(b)! || (a < b ? -1 : 1))
  }
  const bySource: Record<string, readonly TrainingRow[]> = {}
  for (const [name, own] of Object.entries(training.sources)) {
    if (own.kind === 'sequences') {
      const source = own.set === null ? undefined : sourceOfSet(sampleDefaults.source, own.set)
      bySource[name] = source === undefined ? rows : rows.filter((row) => row.source === source)
    } else if (own.kind === 'ids') {
      const taught = teachers === undefined ? [] : taughtItems(itemIds, own.entities, teachers)
      if (taught.length > 0) bySource[name] = inOrder(taught, name).map(idRow)
    } else if (own.from === 'content') {
      bySource[name] = await contentPairs(head, inOrder(itemIds, name), (id) => item(id)?.vectors)
    } else {
      const limit = place === 'start' ? Infinity : Math.max(training.batch, rows.length)
      bySource[name] = pairsAsOf(state, project.codec, { source: name, round, endTs, seed, limit })
    }
  }
  return bySource
}

/** Pairs that the cut of a round's `content-single` is found on, the most. */
const cutPairs = 10_000

/**
 * The pairs that `sequences.contentCutFrom` names, as of the round's end; undefined when it names none, or no cut is wanted.
 * @param input.rows - candidate rows of the round: pairs made of content are of their items
 * @param head - asked for its statistics, for pairs made of content alone
 */
export async function contentCutRows(
  { project: { codec, config }, state, round, endTs, rows, item }: RoundInput,
  head: () => Promise<Head>,
): Promise<readonly TrainingRow[] | undefined> {
  const { contentCutFrom: source, contentCut, sets } = config.sequences
  if (source === null || contentCut !== null || !sets.includes('content-single')) return undefined
  if (config.training.sources[source]!.from === 'topic')
    return pairsAsOf(state, codec, { source, round, endTs, seed: config.seed, limit: cutPairs })
  const itemIds = [...new Set(rows.flatMap(({ targetId, history }) => [targetId, ...history]))].sort()
  return contentPairs(await head(), itemIds, (id) => item(id)?.vectors)
}

/** Items with a teacher that is trusted. */
function taughtItems(itemIds: readonly string[], entities: readonly string[], { dims, weightBy, batch }: RoundTeachers): string[] {
  const known = entities.flatMap((name) => (dims.has(name) ? [{ name, dim: dims.get(name)! }] : []))
  if (!dims.has(weigherOf(weightBy, entities)!)) return []
  const { presence, weights } = batch({ entities: known }, itemIds)
  return itemIds.filter((_, i) => weights[i]! > 0 && presence.subarray(i * known.length, (i + 1) * known.length).some((flag) => flag > 0))
}
