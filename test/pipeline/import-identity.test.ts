/** What an import takes for "the same files", and which directories a demo may empty. */

import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { MemoryLog } from '../../connectors/index.ts'
import { clearDirectory, importSources, recipeSource } from '../../pipeline/index.ts'
import type { ImportSource } from '../../pipeline/index.ts'
import { parseRecipe } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { contentOf, hourMs, items, startTs, TestProject } from './fixture.ts'

const recipe = parseRecipe(`
name: shop
title: a shop
detect: [clicks.csv]
interactions: { file: clicks.csv, behaviors: { always: [click] } }
content: { file: items.csv }
config:
  content: { modalities: { text: { dim: 2 } } }
  interactions: { positiveBehaviors: [click] }
`)

test('a recipe over changed files is another import; over the same files in another place it is the same', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const place = async (name: string, clicks: string): Promise<string> => {
    const path = join(directory, name)
    await mkdir(path)
    await writeFile(join(path, 'clicks.csv'), clicks)
    await writeFile(join(path, 'items.csv'), 'item_id,ts,text\na,1,"[1,2]"\n')
    return recipeSource(recipe, path).identity()
  }
  const first = await place('first', 'user_id,item_id,ts\nu,a,2\n')
  strictEqual(await place('moved', 'user_id,item_id,ts\nu,a,2\n'), first)
  strictEqual((await place('changed', 'user_id,item_id,ts\nu,a,3\n')) === first, false)
})

test('only a directory that is empty or marked is emptied', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const own = join(directory, 'demo-data')
  await clearDirectory(own, 'demo')
  await writeFile(join(own, 'leftover'), '')
  await clearDirectory(own, 'demo')
  deepStrictEqual(await readdir(own), ['.sidestream-demo'])
  const other = join(directory, 'shop')
  await mkdir(other)
  await writeFile(join(other, 'precious'), '')
  await rejects(clearDirectory(other, 'demo'), { code: 'SIDESTREAM_USAGE_INVALID' })
  deepStrictEqual(await readdir(other), ['precious'])
})

test('an import that is repeated after compaction appends nothing, and newer content stays', async (t) => {
  const it = await TestProject.open(t)
  const file: ImportSource = {
    identity: async () => '0123456789abcdef'.repeat(4),
    events: async function* () {
      yield items(3)
    },
  }
  strictEqual((await importSources(it.project, [file])).appended, 3)
  // The file's last row is replaced by a live producer, and compacted away.
  await it.feed(contentOf('item-2', startTs + hourMs, { edition: 1 }))
  await (it.project.log as MemoryLog).compact('item-content')
  const { end } = await (await it.project.log.admin()).describe('item-content')
  const again = await importSources(it.project, [file])
  deepStrictEqual([again.appended, again.skipped], [0, 3])
  deepStrictEqual((await (await it.project.log.admin()).describe('item-content')).end, end)
  await it.daemon.idle()
  strictEqual((await it.daemon.status()).owner!.contents, 4)
})
