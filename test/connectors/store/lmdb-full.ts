/** Fills a store and a state until the disk (a file size limit) says no, then goes on with both. Arguments: directory. */
import { join } from 'node:path'

import { openLmdbState, openLmdbStore } from '../../../connectors/index.ts'
import { isSidestreamError } from '../../../schemas/index.ts'
import { valueOf } from '../../contract/store.ts'

const directory = process.argv[2]!
const target = { project: 'shop', view: 'items', version: 1 }
const store = await openLmdbStore({ directory: join(directory, 'store'), clock: () => 1 })
const state = await openLmdbState({ directory: join(directory, 'state') })

async function untilRefused(call: (round: number) => Promise<unknown>): Promise<{ code: string; round: number }> {
  for (let round = 0; round < 200; round++) {
    try {
      await call(round)
    } catch (error) {
      return { code: isSidestreamError(error) ? error.code : String(error), round }
    }
  }
  return { code: 'never', round: -1 }
}

const ids = (round: number): string[] => Array.from({ length: 100 }, (_, i) => `${round}-${i}`)
const full = await untilRefused((round) =>
  store.write(
    target,
    ids(round).map((id) => ({ id, value: valueOf(1, 1, 0, 1_000) })),
  ),
)
const lost = (await store.read(target, ids(full.round))).values
const kept = (await store.read(target, ids(0))).values
await store.collect('shop', 1)
const afterCollect = await store.write({ ...target, version: 2 }, [{ id: 'a', value: valueOf(1) }])
const stateFull = await untilRefused((round) => state.commit({ puts: ids(round).map((id) => [id, new Uint8Array(1_000)]) }))
await state.commit({ deletes: ids(0) })
process.stdout.write(
  JSON.stringify({
    storeCode: full.code,
    stateCode: stateFull.code,
    halfWritten: lost.some((value) => value !== undefined),
    readable: kept.every((value) => value !== undefined),
    afterCollect,
    stateAfter: state.get('0-0') === undefined && state.get('1-0') !== undefined,
  }),
)
await Promise.all([store.close(), state.close()])
