/** Writes values and state until it is killed, telling on stdout what was acknowledged. Arguments: directory. */
import { join } from 'node:path'

import { openLmdbState, openLmdbStore } from '../../../connectors/index.ts'
import { valueOf } from '../../contract/store.ts'

const directory = process.argv[2]!
const store = await openLmdbStore({ directory: join(directory, 'store'), clock: () => 1 })
const state = await openLmdbState({ directory: join(directory, 'state') })
for (let round = 1; ; round++) {
  const entries = Array.from({ length: 200 }, (_, i) => ({ id: `item-${i}`, value: valueOf(round, round & 255) }))
  const puts = Array.from({ length: 50 }, (_, i) => [`user-${i}`, Uint8Array.of(round & 255)] as const)
  await Promise.all([
    store.write({ project: 'shop', view: 'items', version: 1 }, entries),
    state.commit({ puts, positions: [['log/0', BigInt(round)]] }),
  ])
  process.stdout.write(`${round}\n`)
}
