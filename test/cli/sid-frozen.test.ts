/** A refresh that froze all IDs for the sake of a finite-scalar level says so, and what to give instead. */
import { match, ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { sidFitFiles } from '../../pipeline/index.ts'
import { run, runJson } from './command.ts'
import { clustered, moved, writeVectors } from './vector-files.ts'

test('a bound on whole IDs with a finite-scalar level is told to freeze them; the bounds that it names do not', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'sidestream-sid-frozen-'))
  t.after(() => rm(home, { recursive: true, force: true }))
  const items = clustered(300, 6, 8)
  await writeVectors(home, 'then.f32', items)
  await writeVectors(home, 'now.f32', moved(items, 0.3))
  await sidFitFiles({ in: join(home, 'then.f32'), sizes: [8, 8], fsqDigits: [3, 3], out: join(home, 'first') })
  const flags = ['sid', 'refresh', '--bundle', 'first', '--in', 'now.f32', '--ceiling', '9']
  const { stdout } = await run([...flags, '--churn-budget', '0.1', '--out', 'frozen'], home)
  match(stdout, /all IDs are frozen: nothing else keeps a bound that counts code 3, which is of the finite-scalar level/)
  const [, instead] = /with --prefix-budget (\S+) alone/.exec(stdout)!
  strictEqual(instead, 'any,0.1')
  const answer = await runJson([...flags, '--prefix-budget', instead, '--out', 'free'], home)
  const { prefix, full } = answer['churn'] as { prefix: number[]; full: number }
  ok(answer['frozenByFsq'] === false && prefix[1]! <= 0.1 && full > 0.1, JSON.stringify(answer['churn']))
  const refused = await runJson([...flags.slice(0, -2), '--ceiling', '1', '--churn-budget', '0.1', '--out', 'none'], home, 3)
  const { frozenByFsq, delta, churn, curve } = refused
  ok(frozenByFsq === true && delta === null && churn === 0 && (curve as unknown[]).length > 0, JSON.stringify(refused))
  const help = (await run(['sid', 'refresh', '--help'], home)).stdout.replace(/\s+/g, ' ')
  match(help, /--churn-budget <share> .* with a finite-scalar level bound what stands before it: --prefix-budget/)
})
