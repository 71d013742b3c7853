/** What happens when another worker takes a partition of interactions over: histories are made anew, nothing is said twice. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { memoryState } from '../../connectors/index.ts'
import { Ingest } from '../../pipeline/ingest.ts'
import { InputFeed } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import type { DistillSample } from '../../schemas/index.ts'
import { clickOf, startTs, TestProject } from './fixture.ts'

/** Runs one worker with a state of its own until it has caught up. */
async function workUntilCaughtUp(project: Project): Promise<Ingest['counts']> {
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<never>((_, reject) => (fail = reject))
  const ingest = await Ingest.start({ ...project, openState: async () => memoryState() }, fail)
  try {
    while ([...(await ingest.lag()).values()].some((lag) => lag > 0n)) {
      await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, 2))])
    }
    return { ...ingest.counts }
  } finally {
    await ingest.stop()
  }
}

async function samplesOf({ log, codec }: Project): Promise<DistillSample[]> {
  const samples: DistillSample[] = []
  await log.read('distill-samples', ({ records }) => {
    for (const { value } of records) {
      const row = codec.decode('distill-samples', value!)
      if (row.kind === 'sample') samples.push(row)
    }
  })
  return samples
}

test('a worker without state makes histories anew and repeats neither samples nor dead letters', async (t) => {
  const { project, daemon } = await TestProject.open(t)
  await daemon.stop()
  const feed = await InputFeed.open(project)
  t.after(() => feed.close())
  const click = (n: number): ReturnType<typeof clickOf> => clickOf('user-1', `item-${n}`, startTs + n * 1000)
  const odd = clickOf('user-1', 'item-9', startTs, ['a behavior nobody knows'])

  await feed.append([click(1), click(2), odd])
  const first = await workUntilCaughtUp(project)
  deepStrictEqual([first.samples, first.poison], [2, 1])
  const said = await samplesOf(project)

  await feed.append([click(3)])
  await workUntilCaughtUp(project)
  const all = await samplesOf(project)
  strictEqual(all.length, said.length + 1)
  deepStrictEqual(all.slice(0, said.length), said)
  deepStrictEqual([...all.at(-1)!.history].sort(), ['item-1', 'item-2'])
  const { end } = await (await project.log.admin()).describe('dead-letters')
  strictEqual(end[0], 1n)

  const committed = await (await project.log.admin()).committed(`${project.config.project}-ingest`, 'interactions')
  ok(committed[0] === 4n, `the commit never goes back: ${committed[0]}`)
})
