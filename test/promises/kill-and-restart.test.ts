/**
 * Promise: a process that is killed at any moment goes on after a restart and ends equal to a run that was left alone:
 * same versions, same moves of the live pointer, same losses, nothing twice, no dead letter.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import { hashUnit } from '../../compute/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { isRoundStep, isVersionStep } from './kill-points.ts'
import type { KillPlan } from './kill-points.ts'
import { runAlone, runChild } from './run-child.ts'
import { smallWorld } from './small-world.ts'

/** `SIDESTREAM_KILL_SEED=n` tries other points. */
const seed = Number(process.env['SIDESTREAM_KILL_SEED'] ?? 1)
const world = { items: 100, users: 30, interactions: 800 }
const partitions = 2
const sides = ['before', 'during', 'after'] as const

/**
 * Five chains of four kills: two at any write (import, ingest, samples, rows), one at the steps of training rounds, two at
 * the steps of versions; steps are drawn one from each quarter of the run, so that the later ones are still to come.
 */
function chainsOf(writes: readonly string[]): KillPlan[][] {
  const draw = (name: string): number => hashUnit(seed, name)
  const side = (name: string): KillPlan['side'] => sides[Math.floor(draw(`side ${name}`) * 3)]!
  const chain = (name: string, at: (quarter: number, unit: number) => string | number): KillPlan[] =>
    [0, 1, 2, 3].map((quarter) => ({ at: at(quarter, draw(`${name} ${quarter}`)), side: side(`${name} ${quarter}`) }))
  const steps = (is: (name: string) => boolean): ((quarter: number, unit: number) => string) => {
    const names = [...new Set(writes.filter(is))]
    return (quarter, unit) => names[Math.floor(((quarter + unit) / 4) * names.length)]!
  }
  const early = (_: number, unit: number): number => Math.ceil((0.03 + 0.15 * unit) * writes.length)
  return [
    chain('writes', early),
    chain('more writes', early),
    chain('rounds', steps(isRoundStep)),
    chain('versions', steps(isVersionStep)),
    chain('more versions', steps(isVersionStep)),
  ]
}

test('20 kills at seeded points, each with a restart: the outcome is that of a run left alone', { timeout: 600_000 }, async (t) => {
  t.diagnostic(`seed ${seed}`)
  const { outcome: expected, writes } = await runAlone({ partitions, world })
  t.diagnostic(
    `${writes.length} writes, of them ${writes.filter(isRoundStep).length} of rounds and ${writes.filter(isVersionStep).length} of versions`,
  )
  strictEqual(expected.deadLetters + expected.late, 0)
  strictEqual(expected.logged.rows, smallWorld(world).length)
  strictEqual(expected.logged.moves, expected.history.length)

  const runChain = async (name: string, chain: readonly KillPlan[]): Promise<void> => {
    const { directory, remove } = await scratchDirectory()
    try {
      for (const plan of chain) {
        const { killed, line } = await runChild({ directory, partitions, world, plan })
        ok(killed, `the run ended before the kill ${plan.side} ${plan.at}: ${line}`)
        t.diagnostic(`${name}: ${line}`)
      }
      const { code, line } = await runChild({ directory, partitions, world })
      strictEqual(code, 0)
      deepStrictEqual(JSON.parse(line), expected)
    } finally {
      await remove()
    }
  }
  const chains = chainsOf(writes)
  strictEqual(chains.flat().length, 20)
  // Two at a time: most of a restart is waiting.
  for (let at = 0; at < chains.length; at += 2) {
    await Promise.all(
      chains
        .slice(at, at + 2)
        .map((chain, i) =>
          t.test(`chain ${at + i}: ${chain.map((plan) => `${plan.side} ${plan.at}`).join(', ')}`, () => runChain(`chain ${at + i}`, chain)),
        ),
    )
  }
})
