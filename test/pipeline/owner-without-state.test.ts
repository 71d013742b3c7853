/** An owner that takes over without the state of the one before: what was decided stands, and nothing is decided twice. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { memoryState } from '../../connectors/index.ts'
import type { State } from '../../connectors/index.ts'
import { InputFeed, listDeadLetters, startDaemon } from '../../pipeline/index.ts'
import type { Daemon } from '../../pipeline/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { clickOf, clicks, contentOf, hourMs, itemIds, latenessMs, startTs, TestProject, tombstoneOf, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)
const roundOf = (hour: number): number => startTs / hourMs + hour

/** Feeds an hour of clicks and closes it. */
async function round(it: TestProject, daemon: Daemon, hour: number, ...more: SourceEvent[]): Promise<void> {
  const at = startTs + (hour + 1) * hourMs + latenessMs
  const feed = await InputFeed.open(it.project)
  await feed.append([...clicks(48, startTs + hour * hourMs, known), ...more])
  await feed.append([tombstoneOf('pacer', at), clickOf('pacer', 'pacer', at, ['view'])])
  await feed.close()
  await daemon.idle()
}

/** A daemon with states of its own, as on another machine. */
function startElsewhere({ project }: TestProject): Promise<Daemon> {
  const states = new Map<string, State>()
  const openState = async (name: string): Promise<State> => {
    const state = states.get(name) ?? memoryState()
    states.set(name, state)
    return state
  }
  return startDaemon({ ...project, openState })
}

test('rounds with late rows are not trained again, dead letters not written again, and later rounds go on', async (t) => {
  const it = await TestProject.open(t)
  await it.bootstrap()
  await round(it, it.daemon, 1)
  // Late rows join the round after their own: whoever sorts them anew would find another round 2.
  const late = [3, 4, 5].map((n) => clickOf(`user-${n}`, `item-${n}`, startTs + 1.5 * hourMs))
  const odd = contentOf('', startTs + 2 * hourMs)
  await round(it, it.daemon, 2, ...late, odd)
  strictEqual((await it.daemon.status()).owner!.late, 3)
  const letters = (await listDeadLetters(it.project)).length
  strictEqual(letters, 1)
  const heads = await it.project.artifacts.list('heads/')
  await it.daemon.stop()

  const second = await startElsewhere(it)
  t.after(() => second.stop())
  await second.idle()
  const trained = (): number[] => second.owner!.control.all('trained').map(({ body }) => body.round - roundOf(0))
  deepStrictEqual(trained(), [1, 2])
  deepStrictEqual(await it.project.artifacts.list('heads/'), heads)
  strictEqual((await listDeadLetters(it.project)).length, letters)

  await round(it, second, 3)
  deepStrictEqual(trained(), [1, 2, 3])
  ok(second.owner!.control.all('trained').at(-1)!.body.replayed > 48, 'rows of the rounds that others trained are there to be replayed')
  strictEqual((await second.refresh('then')).version, 2)
})
