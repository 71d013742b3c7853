/**
 * Promise: a request sees one version over all items and views, and no torn value, while versions are switched and rolled
 * back and their writers write.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { decodeValue, FeatureReader } from '../../features/index.ts'
import type { Feature } from '../../features/index.ts'
import { importSources, InputFeed, openProject, startDaemon } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { hourMs, smallConfig, smallWorld, sourceOf, startTs } from './small-world.ts'

const views = ['main', 'small'] as const

/** What a reader sees of a value, as text to compare. */
const seenAs = ({ vector, sid, sidOrigin, eventTs, offset }: Feature): string =>
  `${offset} ${eventTs} ${sidOrigin} ${sid.join('.')} ${vector.join(' ')}`

/** Everything that was published: by version, view and item, what a reader may see. */
async function publishedValues(project: Project): Promise<Map<string, Set<string>>> {
  const { end } = await (await project.log.admin()).describe('item-features')
  const published = new Map<string, Set<string>>()
  let left = end.reduce((sum, next) => sum + Number(next), 0)
  const consumer = await project.log.consumer({ group: 'published', topics: ['item-features'], start: 'earliest' })
  await new Promise<void>((resolve, reject) => {
    const onBatch = async ({ records }: { records: readonly { value: Uint8Array | null }[] }): Promise<void> => {
      for (const { value } of records) {
        const { version, view, itemId, value: bytes } = project.codec.decode('item-features', value!)
        const name = `${version} ${view} ${itemId}`
        published.set(name, (published.get(name) ?? new Set()).add(seenAs(decodeValue(bytes))))
      }
      left -= records.length
      if (left === 0) resolve()
    }
    consumer.run({ onBatch, onFatal: reject }).catch(reject)
  })
  await consumer.stop({ drainMs: 0 })
  return published
}

test('readers see whole versions and whole values while pointer and rows change under them', async (t) => {
  const { directory, remove } = await scratchDirectory()
  const project = await openProject(
    smallConfig({ dataDir: directory }, { refresh: { everyMs: 0, bootstrapMs: 3 * hourMs, evalWindowMs: hourMs } }),
  )
  const daemon = await startDaemon(project)
  const feed = await InputFeed.open(project)
  t.after(async () => {
    await feed.close()
    await daemon.stop()
    await project.close()
    await remove()
  })
  // Half a day, deletes left out: then every item is in every version.
  const events = smallWorld({ items: 70, users: 20, interactions: 500 }).filter(
    ({ eventTs, ...event }) => eventTs < startTs + 12 * hourMs && !(event.topic === 'item-content' && event.record === null),
  )
  await importSources(project, [sourceOf('readers', events)], { end: true })
  await daemon.idle()
  strictEqual((await daemon.refresh('second')).version, 2)

  const contents = events.filter((event) => event.topic === 'item-content')
  const ids = [...new Set(contents.map(({ itemId }) => itemId))]
  const seen: { version: number; values: string[][] }[] = []
  let running = true
  const readers = [0, 1, 2].map(async (reader) => {
    const features = new FeatureReader({ store: project.store, project: project.config.project })
    for (let n = reader; running; n++) {
      const asked = ids.slice(n % 7)
      const { version, views: read } = await features.readViews(views, asked)
      seen.push({
        version,
        values: read.map((row, v) =>
          row.map((feature, i) => `${version} ${views[v]} ${asked[i]}\n${feature ? seenAs(feature) : 'absent'}`),
        ),
      })
      await new Promise(setImmediate)
    }
  })
  // The writers of both versions write all items anew, each time from other content, while the pointer goes back and forth.
  const again = (edition: number): SourceEvent[] =>
    contents.map(({ itemId }, i) => {
      const { record } = contents[(i + edition) % contents.length]!
      return {
        topic: 'item-content',
        itemId,
        eventTs: startTs + 12 * hourMs + edition,
        record: { ...record!, itemId, eventTs: startTs + 12 * hourMs + edition },
      }
    })
  for (let edition = 1; edition <= 6; edition++) {
    const writing = feed.append(again(edition))
    for (let move = 0; move < 4; move++) {
      await daemon.versions.rollback(`back-${edition}-${move}`)
      await new Promise(setImmediate)
      await daemon.versions.activate(2, `forth-${edition}-${move}`)
    }
    await writing
  }
  await daemon.idle()
  running = false
  await Promise.all(readers)

  const published = await publishedValues(project)
  const versions = new Map<number, number>()
  for (const { version, values } of seen) {
    versions.set(version, (versions.get(version) ?? 0) + 1)
    for (const named of values.flat()) {
      const [name, value] = named.split('\n') as [string, string]
      ok(published.get(name)!.has(value), `a reader saw a value that was never published as ${name}: ${value}`)
    }
  }
  t.diagnostic(`requests per version: ${JSON.stringify([...versions])}`)
  deepStrictEqual([...versions.keys()].sort(), [1, 2])
  // The test can fail: no value of one version is also one of the other.
  for (const view of views)
    for (const id of ids) ok([...published.get(`1 ${view} ${id}`)!].every((value) => !published.get(`2 ${view} ${id}`)!.has(value)))
  // And rows were replaced under the readers.
  ok(new Set(seen.flatMap(({ values }) => values[0]!.filter((value) => value.startsWith(`2 main ${ids[20]}\n`)))).size > 1)
})
