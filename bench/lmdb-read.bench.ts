/**
 * The embedded store: batch reads of 500 and 2,000 items of about 300 bytes, and guarded writes of the same.
 * Peer of the reads: the lmdb package's own `getMany` on the same keys and values, in a table of its own.
 */
import { deepStrictEqual } from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { open } from 'lmdb'

import { openLmdbStore } from '../connectors/index.ts'
import { valueHeader } from '../schemas/index.ts'
import { compare } from './harness.ts'

const items = 50_000
const valueLength = 296
const target = { project: 'bench', view: 'items', version: 1 }
const directory = mkdtempSync(join(tmpdir(), 'sidestream-bench-'))
const store = await openLmdbStore({ directory: join(directory, 'store'), clock: () => 0 })
const peer = open<Uint8Array, string>({ path: join(directory, 'peer'), noSubdir: false, encoding: 'binary', overlappingSync: false })
const idOf = (i: number): string => `item-${(i * 7_919) % 1_000_003}`

function valuesFrom(first: number, count: number, offset: number): { id: string; value: Uint8Array }[] {
  const arena = new Uint8Array(count * valueLength)
  const view = new DataView(arena.buffer)
  return Array.from({ length: count }, (_, i) => {
    view.setBigUint64(i * valueLength + valueHeader.offsetAt, BigInt(offset))
    arena.fill((first + i) & 255, i * valueLength + valueHeader.bytes, (i + 1) * valueLength)
    return { id: idOf(first + i), value: arena.subarray(i * valueLength, (i + 1) * valueLength) }
  })
}

try {
  for (let first = 0; first < items; first += 2_000) {
    const entries = valuesFrom(first, 2_000, 1)
    await store.write(target, entries)
    await Promise.all(entries.map(({ id, value }) => peer.put(id, value)))
  }
  for (const batch of [500, 2_000]) {
    const calls = Array.from({ length: 40_000 / batch }, (_, call) =>
      Array.from({ length: batch }, (__, i) => idOf((call * 6_007 + i * 31) % items)),
    )
    await compare({
      name: `lmdb store read, batches of ${batch} x ${valueLength} bytes`,
      count: 40_000,
      unit: 'items',
      sidestream: async () => {
        let last: readonly (Uint8Array | undefined)[] = []
        for (const ids of calls) last = (await store.read(target, ids)).values
        return last.map((value) => Buffer.from(value!))
      },
      peer: async () => {
        let last: (Uint8Array | undefined)[] = []
        for (const ids of calls) last = await peer.getMany(ids)
        return last.map((value) => Buffer.from(value!))
      },
      peerName: 'lmdb getMany',
      equal: (ours, theirs) => deepStrictEqual(ours, theirs),
      extra: (rate) => ({ 'ms/batch': Number(((batch / rate) * 1_000).toPrecision(3)) }),
    })
  }
  let offset = 1
  for (const batch of [500, 2_000]) {
    await compare({
      name: `lmdb store guarded write, batches of ${batch} x ${valueLength} bytes, one at a time, durable`,
      count: 40_000,
      unit: 'writes',
      sidestream: async () => {
        offset++
        for (let first = 0; first < 40_000; first += batch) await store.write(target, valuesFrom(first, batch, offset))
      },
    })
  }
} finally {
  await store.close()
  await peer.close()
  rmSync(directory, { recursive: true, force: true })
}
