/** The whole catalogue as of a cut, packed for the embedder. */

import { createItemContentBatch, rowStates } from '../schemas/index.ts'
import type { State } from '../connectors/index.ts'
import { catalogueAsOf } from './content-state.ts'
import type { ContentRows } from './embedder.ts'
import type { Project } from './project.ts'

/** Modalities of the configuration in their fixed order. */
export function modalitiesOf({ config }: Pick<Project, 'config'>): { readonly name: string; readonly dim: number }[] {
  return Object.entries(config.content.modalities).map(([name, { dim }]) => ({ name, dim }))
}

/** Every item that exists before `endTs`, in item order. */
export function readCatalogue(project: Project, state: State, endTs: number): ContentRows {
  const ids: string[] = []
  const values: Uint8Array[] = []
  for (const { itemId, value } of catalogueAsOf(state, endTs)) {
    ids.push(itemId)
    values.push(value)
  }
  const batch = createItemContentBatch(values.length, modalitiesOf(project))
  project.codec.decodeItemContentBatch(values, batch)
  // What the content lane took in has passed every check; a poison row here means that the configuration changed.
  const poison = batch.states.findIndex((rowState) => rowState === rowStates.poison)
  if (poison >= 0) throw batch.errors.get(poison)!
  return { ids, vectors: batch.vectors, present: batch.present }
}

/** The first label of every item that exists before `endTs`, null for none, in item order. */
export function readLabels({ codec }: Pick<Project, 'codec'>, state: State, endTs: number): (string | null)[] {
  return Array.from(catalogueAsOf(state, endTs), ({ value }) => codec.decode('item-content', value).labels?.[0] ?? null)
}
