/** Ids that come twice are found, whether they are still in memory or on disk; ids that come once are no suspects. */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { DoubledIds, idHash } from '../../pipeline/doubled-ids.ts'

const home = await mkdtemp(join(tmpdir(), 'sidestream-doubled-'))
after(() => rm(home, { recursive: true, force: true }))

const ids = Array.from({ length: 5000 }, (_, i) => `item-${i}`)

async function suspectsOf(stream: readonly string[], ofBlock: number): Promise<{ suspects: bigint[]; files: number }> {
  const doubled = new DoubledIds(join(home, 'ids'), ofBlock)
  for (let from = 0; from < stream.length; from += 1000) await doubled.note(stream.slice(from, from + 1000))
  const suspects: bigint[] = []
  for await (const suspect of doubled.suspects()) suspects.push(suspect)
  const files = (await readdir(home)).length
  await doubled.close()
  deepStrictEqual(await readdir(home), [])
  return { suspects, files }
}

test('none, one and many that come twice or more, in few blocks and in many', async () => {
  const hashes = (of: readonly string[]): bigint[] => of.map(idHash).sort((a, b) => (a < b ? -1 : 1))
  // About 20 ids a part: with blocks of 4 most are on disk, with blocks of 2,048 none.
  for (const [ofBlock, onDisk] of [
    [4, 1],
    [2048, 0],
  ] as const) {
    deepStrictEqual(await suspectsOf(ids, ofBlock), { suspects: [], files: onDisk })
    for (const again of [['item-0'], ['item-4999'], ['item-3', 'item-3', 'item-3'], ids.slice(0, 600)]) {
      const { suspects, files } = await suspectsOf([...ids, ...again], ofBlock)
      deepStrictEqual(suspects, hashes([...new Set(again)]))
      strictEqual(files, onDisk)
    }
  }
  deepStrictEqual((await suspectsOf([], 4)).suspects, [])
})
