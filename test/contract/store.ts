/** The contract of the store port: one list of behaviors, each driver runs all of it. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'

import fc from 'fast-check'

import type { Store, StoreEntry, StoreTarget } from '../../connectors/index.ts'
import { valueHeader } from '../../schemas/index.ts'

export interface StoreDriver {
  readonly name: string
  /** False: run; a reason: every test is skipped with it. */
  readonly skip?: false | string
  /** `given`: the store takes `clock`; `server`: its server's clock counts, and a test waits for time to pass. */
  readonly clock: 'given' | 'server'
  /** Opens an empty store, whose clock is `clock` where it takes one. `close` removes what it made. */
  open(clock: () => number): Promise<{ store: Store; close(): Promise<void> }>
}

/** A value with the given source; `mark` makes its bytes recognizable. */
export function valueOf(offset: number | bigint, mark = 0, stream = 0, bytes = 48): Uint8Array {
  const value = new Uint8Array(bytes).fill(mark, valueHeader.bytes)
  const view = new DataView(value.buffer)
  view.setUint32(valueHeader.streamAt, stream)
  view.setBigUint64(valueHeader.offsetAt, BigInt(offset))
  return value
}

const target: StoreTarget = { project: 'shop', view: 'items', version: 1 }

/** Declares all tests of the contract for one driver. */
export function storeContract(driver: StoreDriver): void {
  const time = { now: 1_000 }
  const check = (behavior: string, body: (store: Store) => Promise<void>): void => {
    test(`${driver.name}: ${behavior}`, { skip: driver.skip ?? false }, async (t) => {
      time.now = 1_000
      const { store, close } = await driver.open(() => time.now)
      t.after(close)
      await body(store)
    })
  }
  /** Lets at least `ms` pass by the store's clock. */
  const pass = async (store: Store, ms: number): Promise<void> => {
    if (driver.clock === 'given') time.now += ms
    else for (const end = (await store.now()) + ms; (await store.now()) < end;) await setTimeout(20)
  }
  const readAll = async (store: Store, at: StoreTarget): Promise<StoreEntry[]> => {
    const all: StoreEntry[] = []
    for await (const page of store.scan(at)) all.push(...page)
    return all
  }
  const activate = (store: Store, version: number, commandId: string, expected?: { version: number; epoch: number }) =>
    store.swap({ project: 'shop', expected, version, action: 'activate', commandId })

  check('a value is replaced only by one with a newer source', async (store) => {
    deepStrictEqual(await store.write(target, [{ id: 'a', value: valueOf(5, 1) }]), ['written'])
    deepStrictEqual(await store.write(target, [{ id: 'a', value: valueOf(4, 2) }]), ['stale'])
    deepStrictEqual(await store.write(target, [{ id: 'a', value: valueOf(5, 3) }]), ['stale'])
    deepStrictEqual((await store.read(target, ['a'])).values, [valueOf(5, 1)])
    deepStrictEqual(await store.write(target, [{ id: 'a', value: valueOf(6, 4) }]), ['written'])
    deepStrictEqual((await store.read(target, ['a'])).values, [valueOf(6, 4)])
  })

  check('sources are ordered by stream, then by offset as unsigned 64 bits', async (store) => {
    await store.write(target, [{ id: 'a', value: valueOf(2n ** 63n, 1) }])
    deepStrictEqual(await store.write(target, [{ id: 'a', value: valueOf(2n ** 63n - 1n, 2) }]), ['stale'])
    deepStrictEqual(await store.write(target, [{ id: 'a', value: valueOf(1, 3, 1) }]), ['written'])
    deepStrictEqual(await store.write(target, [{ id: 'a', value: valueOf(2n ** 64n - 1n, 4, 0) }]), ['stale'])
  })

  check('the same id twice in one call follows the rule in order', async (store) => {
    const entries = [2, 1, 3, 3].map((offset) => ({ id: 'a', value: valueOf(offset, offset) }))
    deepStrictEqual(await store.write(target, entries), ['written', 'stale', 'written', 'stale'])
    deepStrictEqual((await store.read(target, ['a'])).values, [valueOf(3, 3)])
  })

  check('concurrent writes end with the newest source, whatever the order of calls', async (store) => {
    const offsets = [7, 3, 9, 1, 8, 2, 6]
    const outcomes = await Promise.all(offsets.map((offset) => store.write(target, [{ id: 'a', value: valueOf(offset, offset) }])))
    strictEqual(outcomes[2]![0], 'written')
    deepStrictEqual((await store.read(target, ['a'])).values, [valueOf(9, 9)])
  })

  check('results are aligned with ids that repeat, are absent or are not ASCII', async (store) => {
    await store.write(target, [
      { id: 'ä', value: valueOf(1, 1) },
      { id: '商品', value: valueOf(1, 2) },
      { id: 'x\0y', value: valueOf(1, 3) },
    ])
    const { values } = await store.read(target, ['商品', 'none', 'ä', '商品', 'x\0y', ''])
    deepStrictEqual(values, [valueOf(1, 2), undefined, valueOf(1, 1), valueOf(1, 2), valueOf(1, 3), undefined])
    deepStrictEqual(await store.read(target, []), { live: undefined, values: [] })
  })

  check('nothing of the caller is kept, nothing of the store is handed out', async (store) => {
    const value = valueOf(1, 1)
    await store.write(target, [{ id: 'a', value }])
    value.fill(9)
    const first = (await store.read(target, ['a', 'a'])).values
    first[0]!.fill(7)
    deepStrictEqual(first[1], valueOf(1, 1))
    deepStrictEqual((await store.read(target, ['a'])).values, [valueOf(1, 1)])
  })

  check('values of different lengths come back whole', async (store) => {
    const entries = [32, 5_000, 33, 70_000, 48].map((bytes, i) => ({ id: `i${i}`, value: valueOf(1, i + 1, 0, bytes) }))
    await store.write(target, entries)
    const { values } = await store.read(
      target,
      entries.map(({ id }) => id),
    )
    deepStrictEqual(
      values,
      entries.map(({ value }) => value),
    )
  })

  check('projects, views and versions do not see each other', async (store) => {
    const others: StoreTarget[] = [
      { ...target, project: 'shop2' },
      { ...target, view: 'items2' },
      { ...target, version: 11 },
    ]
    await store.write(target, [{ id: 'a', value: valueOf(1, 1) }])
    for (const other of others) {
      deepStrictEqual((await store.read(other, ['a'])).values, [undefined])
      await store.write(other, [{ id: 'a', value: valueOf(1, 2) }])
    }
    deepStrictEqual((await store.read(target, ['a'])).values, [valueOf(1, 1)])
    deepStrictEqual(
      (await readAll(store, target)).map(({ id }) => id),
      ['a'],
    )
  })

  check('scan gives every entry once, in the order of UTF-8 bytes', async (store) => {
    const ids = Array.from({ length: 2_500 }, (_, i) => `id-${(i * 7919) % 2_500}`)
    ids.push('é', '\u{1F600}', '\uFFFD', 'Z')
    await store.write(
      target,
      ids.map((id) => ({ id, value: valueOf(1) })),
    )
    const expected = ids.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    deepStrictEqual(
      (await readAll(store, target)).map(({ id }) => id),
      expected,
    )
    deepStrictEqual(await readAll(store, { ...target, version: 99 }), [])
  })

  check('any writes end as the newest value per id', async (store) => {
    let version = 0
    const one = fc.record({ id: fc.constantFrom('a', 'b', 'c'), offset: fc.nat(20), mark: fc.integer({ min: 1, max: 255 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(one, { maxLength: 8 }), { maxLength: 5 }), async (calls) => {
        const at = { ...target, version: ++version }
        const model = new Map<string, { offset: number; mark: number }>()
        for (const call of calls) {
          const expected = call.map(({ id, offset, mark }) => {
            if ((model.get(id)?.offset ?? -1) >= offset) return 'stale'
            model.set(id, { offset, mark })
            return 'written'
          })
          const entries = call.map(({ id, offset, mark }) => ({ id, value: valueOf(offset, mark) }))
          deepStrictEqual(await store.write(at, entries), expected)
        }
        const { values } = await store.read(at, ['a', 'b', 'c'])
        const expected = ['a', 'b', 'c'].map((id) => {
          const newest = model.get(id)
          return newest === undefined ? undefined : valueOf(newest.offset, newest.mark)
        })
        deepStrictEqual(values, expected)
        await store.collect('shop', version)
      }),
      { numRuns: 25 },
    )
  })

  check('the pointer moves only from what the caller expects, and every move is in the history', async (store) => {
    strictEqual(await store.live('shop'), undefined)
    const before = await store.now()
    const first = await activate(store, 1, 'c1')
    const at = first.outcome === 'swapped' ? first.change.at : 0
    deepStrictEqual(first, {
      outcome: 'swapped',
      change: { seq: 1, version: 1, epoch: 1, action: 'activate', commandId: 'c1', at },
    })
    ok(before <= at && at <= (await store.now()), 'a change has the time of the store')
    deepStrictEqual(await activate(store, 2, 'c2'), { outcome: 'moved', live: { version: 1, epoch: 1 } })
    deepStrictEqual(await activate(store, 2, 'c2', { version: 1, epoch: 9 }), { outcome: 'moved', live: { version: 1, epoch: 1 } })
    await pass(store, 1)
    strictEqual((await activate(store, 2, 'c3', { version: 1, epoch: 1 })).outcome, 'swapped')
    await store.swap({ project: 'shop', expected: { version: 2, epoch: 2 }, version: 1, action: 'rollback', commandId: 'c4' })
    deepStrictEqual(await store.live('shop'), { version: 1, epoch: 3 })
    const history = await store.history('shop', 0)
    deepStrictEqual(
      history.map(({ seq, version, action, commandId }) => [seq, version, action, commandId]),
      [
        [1, 1, 'activate', 'c1'],
        [2, 2, 'activate', 'c3'],
        [3, 1, 'rollback', 'c4'],
      ],
    )
    strictEqual(history[0]!.at, at)
    ok(at < history[1]!.at && history[1]!.at <= history[2]!.at)
    deepStrictEqual(
      (await store.history('shop', 2)).map(({ seq }) => seq),
      [3],
    )
    strictEqual(await store.live('other'), undefined)
  })

  check('a command that is asked again is done once, also after the pointer has moved on', async (store) => {
    const first = await activate(store, 1, 'c1')
    await activate(store, 2, 'c2', { version: 1, epoch: 1 })
    deepStrictEqual(await activate(store, 1, 'c1'), { ...first, outcome: 'repeated' })
    strictEqual((await store.history('shop', 0)).length, 2)
  })

  check('of many swaps at once exactly one wins', async (store) => {
    const outcomes = await Promise.all(Array.from({ length: 8 }, (_, i) => activate(store, i + 1, `c${i}`)))
    strictEqual(outcomes.filter(({ outcome }) => outcome === 'swapped').length, 1)
    strictEqual((await store.history('shop', 0)).length, 1)
  })

  check('a read tells which version was live', async (store) => {
    await store.write(target, [{ id: 'a', value: valueOf(1, 1) }])
    await activate(store, 1, 'c1')
    deepStrictEqual(await store.read(target, ['a']), { live: { version: 1, epoch: 1 }, values: [valueOf(1, 1)] })
    deepStrictEqual((await store.read({ ...target, version: 5 }, ['a'])).live, { version: 1, epoch: 1 })
  })

  check('version records are kept by number and listed ascending', async (store) => {
    const record = (text: string): Uint8Array => new TextEncoder().encode(text)
    for (const version of [2, 10, 1]) await store.putVersion('shop', version, record(`v${version}`))
    await store.putVersion('shop', 2, record('v2 again'))
    await store.putVersion('other', 3, record('v3'))
    deepStrictEqual(await store.getVersion('shop', 2), record('v2 again'))
    strictEqual(await store.getVersion('shop', 3), undefined)
    deepStrictEqual(
      (await store.listVersions('shop')).map(({ version }) => version),
      [1, 2, 10],
    )
  })

  check('a pin lasts for its lease, is renewed, and ends with unpin', async (store) => {
    const start = await store.now()
    await store.pin('shop', 1, 'reader-b', 200)
    await store.pin('shop', 1, 'reader-a', 3_600_000)
    const held = await store.pins('shop', 1)
    // A server counts a lease from the start of its turn, which on a busy machine lies some time before its answer.
    if ((await store.now()) < start + 100) deepStrictEqual(held, ['reader-a', 'reader-b'])
    deepStrictEqual(await store.pins('shop', 2), [])
    await pass(store, 200)
    deepStrictEqual(await store.pins('shop', 1), ['reader-a'])
    await store.pin('shop', 1, 'reader-b', 3_600_000)
    await store.pin('shop', 1, 'reader-c', 0)
    deepStrictEqual(await store.pins('shop', 1), ['reader-a', 'reader-b'])
    await store.unpin('shop', 1, 'reader-a')
    deepStrictEqual(await store.pins('shop', 1), ['reader-b'])
  })

  check('collect empties one version in all views, keeps its record, and can be asked again', async (store) => {
    const kept: StoreTarget = { ...target, version: 2 }
    const entries = Array.from({ length: 3_000 }, (_, i) => ({ id: `i${i}`, value: valueOf(1, 1) }))
    for (const at of [target, { ...target, view: 'short' }, kept]) await store.write(at, entries)
    await store.putVersion('shop', 1, valueOf(0))
    const before = await store.usage('shop', 1)
    strictEqual(before.entries, 6_000)
    ok(before.bytes >= 6_000 * 48)
    await store.collect('shop', 1)
    await store.collect('shop', 1)
    deepStrictEqual(await store.usage('shop', 1), { entries: 0, bytes: 0 })
    deepStrictEqual((await store.read(target, ['i0'])).values, [undefined])
    deepStrictEqual((await store.read(kept, ['i0'])).values, [valueOf(1, 1)])
    strictEqual((await store.usage('shop', 2)).entries, 3_000)
    deepStrictEqual(await store.getVersion('shop', 1), valueOf(0))
  })

  check('writes beside a collect land whole, and in their own version only', async (store) => {
    const entries = Array.from({ length: 500 }, (_, i) => ({ id: `i${i}`, value: valueOf(1, 1) }))
    await store.write(target, entries)
    await Promise.all([
      store.write({ ...target, version: 2 }, entries),
      store.collect('shop', 1),
      store.write({ ...target, version: 3 }, entries),
      store.write({ ...target, version: 2 }, [{ id: 'late', value: valueOf(1) }]),
    ])
    deepStrictEqual(
      (await Promise.all([1, 2, 3].map((version) => store.usage('shop', version)))).map(({ entries: count }) => count),
      [0, 501, 500],
    )
  })

  check('bad names, versions, ids and values are refused, and the call changes nothing', async (store) => {
    const refused = { code: 'SIDESTREAM_USAGE_INVALID' }
    const good = { id: 'a', value: valueOf(1) }
    for (const bad of [
      { ...target, project: 'Shop' },
      { ...target, project: '' },
      { ...target, view: 'a/b' },
      { ...target, view: 'x'.repeat(65) },
      { ...target, version: 0 },
      { ...target, version: 1.5 },
    ]) {
      await rejects(store.write(bad, [good]), refused)
      await rejects(store.read(bad, ['a']), refused)
    }
    for (const bad of [
      { ...good, id: '' },
      { ...good, id: 'é'.repeat(257) },
      { id: 'b', value: new Uint8Array(31) },
    ]) {
      await rejects(store.write(target, [good, bad]), refused)
    }
    deepStrictEqual((await store.read(target, ['a'])).values, [undefined])
    await rejects(activate(store, 1, ''), refused)
    await rejects(store.pin('shop', 1, '', 5), refused)
    deepStrictEqual(await store.write(target, [{ id: 'é'.repeat(256), value: valueOf(1) }]), ['written'])
  })

  check("the clock tells milliseconds and is the one it was given, or its server's", async (store) => {
    if (driver.clock === 'server') {
      const now = await store.now()
      ok(Number.isInteger(now) && Math.abs(now - Date.now()) < 3_600_000)
      await pass(store, 5)
      ok((await store.now()) >= now + 5)
      return
    }
    time.now = 77
    strictEqual(await store.now(), 77)
  })

  check('writes asked before close are finished by it', async (store) => {
    await store.write(target, [{ id: 'a', value: valueOf(1) }])
    const pending = Promise.all([2, 3].map((offset) => store.write(target, [{ id: 'a', value: valueOf(offset) }])))
    await store.close()
    deepStrictEqual(await pending, [['written'], ['written']])
  })

  check('close may be called twice; anything after it is refused', async (store) => {
    await store.close()
    await store.close()
    const refused = { code: 'SIDESTREAM_CLOSED' }
    await rejects(store.write(target, [{ id: 'a', value: valueOf(1) }]), refused)
    await rejects(store.read(target, ['a']), refused)
    await rejects(store.live('shop'), refused)
    await rejects(store.collect('shop', 1), refused)
    await rejects(readAll(store, target), refused)
  })
}
