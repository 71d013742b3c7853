/** The contract of the state port: one list of behaviors, each driver runs all of it. */
import { deepStrictEqual, rejects, strictEqual, throws } from 'node:assert/strict'
import { test } from 'node:test'

import type { State } from '../../connectors/index.ts'

export interface StateDriver {
  readonly name: string
  /** Opens an empty state. `close` removes what it made. */
  open(): Promise<{ state: State; close(): Promise<void> }>
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

/** Declares all tests of the contract for one driver. */
export function stateContract(driver: StateDriver): void {
  const check = (behavior: string, body: (state: State) => Promise<void>): void => {
    test(`${driver.name}: ${behavior}`, async (t) => {
      const { state, close } = await driver.open()
      t.after(close)
      await body(state)
    })
  }

  check('what was committed is there, what was not is undefined', async (state) => {
    strictEqual(state.get('a'), undefined)
    strictEqual(state.position('log/0'), undefined)
    await state.commit({
      puts: [
        ['a', bytes(1)],
        ['é', bytes()],
      ],
      positions: [['log/0', 2n ** 63n]],
    })
    deepStrictEqual(state.getMany(['é', 'none', 'a', 'a']), [bytes(), undefined, bytes(1), bytes(1)])
    strictEqual(state.position('log/0'), 2n ** 63n)
  })

  check('the last put of a key wins, and deletes come after puts', async (state) => {
    await state.commit({
      puts: [
        ['a', bytes(1)],
        ['b', bytes(1)],
        ['a', bytes(2)],
      ],
      deletes: ['b', 'none'],
    })
    deepStrictEqual(state.get('a'), bytes(2))
    strictEqual(state.get('b'), undefined)
  })

  check('a position does not share names with keys', async (state) => {
    await state.commit({ puts: [['x', bytes(1)]], positions: [['x', 5n]] })
    await state.commit({ deletes: ['x'] })
    strictEqual(state.position('x'), 5n)
  })

  check('range is half-open and ordered by UTF-8 bytes', async (state) => {
    const keys = ['a', 'aa', 'b', 'Z', 'é', '\u{1F600}', '\uFFFD', 'a\0']
    await state.commit({ puts: keys.map((key, i) => [key, bytes(i)] as const) })
    const ordered = [...keys].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)))
    const read = (start: string, end: string): string[] => Array.from(state.range(start, end), ([key]) => key)
    deepStrictEqual(read('', '\u{10FFFF}'), ordered)
    deepStrictEqual(read('a', 'b'), ['a', 'a\0', 'aa'])
    deepStrictEqual(read('b', 'b'), [])
    deepStrictEqual(read('b', ''), [])
  })

  check('a long range survives commits made while it is read', async (state) => {
    const key = (i: number): string => `k${String(i).padStart(5, '0')}`
    await state.commit({ puts: Array.from({ length: 1_500 }, (_, i) => [key(i), bytes(i & 255)] as const) })
    let next = 0
    for (const [found, value] of state.range('k', 'l')) {
      strictEqual(found, key(next))
      deepStrictEqual(value, bytes(next & 255))
      if (next % 500 === 0) await state.commit({ puts: [[key(next), bytes(0)]], positions: [['p', BigInt(next)]] })
      next++
    }
    strictEqual(next, 1_500)
  })

  check('nothing of the caller is kept, nothing of the state is handed out', async (state) => {
    const value = bytes(1, 2, 3)
    const committed = state.commit({ puts: [['a', value]] })
    value.fill(9)
    await committed
    state.get('a')!.fill(7)
    deepStrictEqual(state.get('a'), bytes(1, 2, 3))
  })

  check('a commit with a bad key or position changes nothing', async (state) => {
    const refused = { code: 'SIDESTREAM_USAGE_INVALID' }
    const puts = [['good', bytes(1)]] as const
    await rejects(state.commit({ puts: [...puts, ['', bytes(1)]] }), refused)
    await rejects(state.commit({ puts: [...puts, ['x'.repeat(1_901), bytes(1)]] }), refused)
    await rejects(state.commit({ puts, positions: [['p', -1n]] }), refused)
    await rejects(state.commit({ puts, deletes: [''] }), refused)
    strictEqual(state.get('good'), undefined)
    await state.commit({})
  })

  check('commits that overlap are all there, in the order they were asked', async (state) => {
    await Promise.all(Array.from({ length: 50 }, (_, i) => state.commit({ puts: [['last', bytes(i)]], positions: [['p', BigInt(i)]] })))
    deepStrictEqual(state.get('last'), bytes(49))
    strictEqual(state.position('p'), 49n)
  })

  check('commits asked before close are finished by it', async (state) => {
    const pending = Promise.all([1, 2].map((i) => state.commit({ puts: [['a', bytes(i)]] })))
    await state.close()
    strictEqual((await pending).length, 2)
  })

  check('close may be called twice; anything after it is refused', async (state) => {
    await state.close()
    await state.close()
    throws(() => state.get('a'), { code: 'SIDESTREAM_CLOSED' })
    throws(() => [...state.range('a', 'b')], { code: 'SIDESTREAM_CLOSED' })
    await rejects(state.commit({ puts: [['a', bytes(1)]] }), { code: 'SIDESTREAM_CLOSED' })
  })
}
