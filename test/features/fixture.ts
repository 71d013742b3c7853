/** A store with a clock in the test's hands, and versions to put in it. */
import { memoryStore } from '../../connectors/index.ts'
import type { Store } from '../../connectors/index.ts'
import { createVersion, encodeTombstone, encodeValues, moveVersion, quantizeRows, updateVersion } from '../../features/index.ts'
import type { VersionPlan, VersionRecord } from '../../features/index.ts'

export const project = 'shop'

export interface Fixture {
  readonly store: Store
  readonly time: { now: number }
}

export function openFixture(): Fixture {
  const time = { now: 1_000 }
  return { store: memoryStore({ clock: () => time.now }), time }
}

export function planOf(version: number, parent: number | null, change: Partial<VersionPlan> = {}): VersionPlan {
  return {
    version,
    parent,
    views: [{ name: 'main', prefix: 2, dim: 4, dtype: 'f16', ownsCodebooks: true }],
    head: `heads/${version}`,
    codebook: `books/${version}`,
    cut: { eventTs: 500, offsets: [{ topic: 'item-content', partition: 0, next: '9007199254740993' }] },
    seeds: { head: 1 },
    metrics: { fvu: 0.2 },
    trainedUntil: 400,
    teacherUntil: 300,
    codebookUntil: 450,
    estimateBytes: 0,
    reason: null,
    ...change,
  }
}

/** Creates a version and says it is ready. */
export async function readyVersion(store: Store, version: number, parent: number | null): Promise<VersionRecord> {
  await createVersion(store, project, planOf(version, parent), Infinity)
  return updateVersion(store, project, version, (record, at) => moveVersion(record, 'ready', at))
}

/** Writes items whose four numbers are all `mark`. */
export async function writeItems(store: Store, version: number, view: string, ids: readonly string[], mark: number): Promise<void> {
  const { stored } = quantizeRows(new Float32Array(ids.length * 4).fill(mark), 4, 'f16')
  const values = encodeValues({
    rows: ids.length,
    dtype: 'f16',
    dim: 4,
    stored,
    levels: 1,
    codes: new Uint16Array(ids.length).fill(mark),
    origins: ids.map(() => 'encoded'),
    eventTs: new Float64Array(ids.length),
    stream: 1,
    offsets: new BigUint64Array(ids.length).fill(1n),
  })
  await store.write(
    { project, view, version },
    ids.map((id, i) => ({ id, value: values[i]! })),
  )
}

/** Writes a tombstone that is newer than `writeItems`. */
export async function deleteItem(store: Store, version: number, view: string, id: string): Promise<void> {
  await store.write({ project, view, version }, [{ id, value: encodeTombstone({ stream: 1, offset: 2n, eventTs: 5 }) }])
}
