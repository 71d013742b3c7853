import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import fc from 'fast-check'

import type { Store } from '../../connectors/index.ts'
import { activate, collectVersions, listVersions, reconcile, rollback } from '../../features/index.ts'
import { isSidestreamError } from '../../schemas/index.ts'
import { openFixture, project, readyVersion, writeItems } from './fixture.ts'

class Crash extends Error {}

/** The same store, whose `writes`-th change of a record never happens: the process died there. */
function crashing(store: Store, writes: number): Store {
  let left = writes
  return new Proxy(store, {
    get: (target, name) => {
      const member = Reflect.get(target, name) as unknown
      if (typeof member !== 'function') return member
      if (name !== 'putVersion') return member.bind(target) as unknown
      return (...change: Parameters<Store['putVersion']>) => {
        if (left-- === 0) throw new Crash()
        return target.putVersion(...change)
      }
    },
  })
}

const step = fc.record({
  what: fc.constantFrom('build', 'activate', 'activate', 'rollback', 'repeat', 'collect'),
  pick: fc.nat(30),
  crashAfter: fc.option(fc.nat(3), { nil: undefined }),
  reconcile: fc.boolean(),
})

test('whatever is asked and wherever it crashes, pointer, history and records agree after reconcile', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const { store, time } = openFixture()
      let versions = 0
      let command = 0
      for (const { what, pick, crashAfter, reconcile: restart } of steps) {
        time.now += 100
        const seen = crashAfter === undefined ? store : crashing(store, crashAfter)
        try {
          if (what === 'build') {
            await readyVersion(store, ++versions, (await store.live(project))?.version ?? null)
            await writeItems(store, versions, 'main', ['a'], versions)
          } else if (what === 'activate')
            await activate(seen, project, { version: 1 + (pick % Math.max(1, versions)), commandId: `c${++command}` })
          else if (what === 'rollback') await rollback(seen, project, `c${++command}`)
          else if (what === 'repeat') {
            const history = await store.history(project, 0)
            const done = history[pick % Math.max(1, history.length)]
            const again = done && (await activate(seen, project, { version: done.version, commandId: done.commandId }))
            if (again !== undefined) deepStrictEqual(again, { outcome: 'repeated', change: done })
          } else await collectVersions(seen, project, { keepVersions: 1, graceMs: 150, rollbackWindowMs: 250 })
        } catch (error) {
          if (!(error instanceof Crash) && !isSidestreamError(error)) throw error
        }
        if (crashAfter !== undefined || restart) await reconcile(store, project)
      }
      await reconcile(store, project)
      await agrees(store)
    }),
    { numRuns: 150 },
  )
})

async function agrees(store: Store): Promise<void> {
  const live = await store.live(project)
  const history = await store.history(project, 0)
  const records = await listVersions(store, project)
  deepStrictEqual(
    history.map(({ seq }) => seq),
    history.map((_, i) => i + 1),
  )
  strictEqual(new Set(history.map(({ commandId }) => commandId)).size, history.length)
  deepStrictEqual(live, history.length === 0 ? undefined : { version: history.at(-1)!.version, epoch: history.length })
  for (const record of records) {
    const { version, state, parent } = record
    strictEqual(state === 'live', version === live?.version, `version ${version} is ${state}`)
    const lastLive = history.findLastIndex((change) => change.version === version)
    if (state === 'kept') {
      deepStrictEqual([record.liveSince, record.liveUntil], [history[lastLive]!.at, history[lastLive + 1]!.at])
    }
    if (state === 'ready' || state === 'building') strictEqual(lastLive, -1)
    if (state === 'gone') strictEqual((await store.usage(project, version)).entries, 0)
    if (state === 'live' || state === 'kept' || state === 'ready') strictEqual((await store.usage(project, version)).entries, 1)
    ok(parent === null || parent < version)
  }
}
