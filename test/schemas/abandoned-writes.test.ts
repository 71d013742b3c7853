/** What writers that were killed leave beside their target, and who removes it. */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import { partialOf, writeWhole } from '../../schemas/index.ts'
import { nodeOptions, running } from '../checkout.ts'

const home = await mkdtemp(join(tmpdir(), 'sidestream-abandoned-'))
after(() => rm(home, { recursive: true, force: true }))

const door = running(new URL('../../schemas/index.ts', import.meta.url)).href

/** A process in the middle of writing `path`. */
async function writer(path: string): Promise<ChildProcess> {
  const script = `
    import { writeWhole } from ${JSON.stringify(door)}
    await writeWhole(process.argv[1], async (handle) => {
      await handle.writeFile('half')
      process.stdout.write('writing')
      await new Promise(() => setInterval(() => {}, 1000))
    })`
  const child = spawn(process.execPath, [...nodeOptions, '--input-type=module', '-e', script, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout!, 'data')
  return child
}

async function killed(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

const write = (path: string): Promise<void> => writeWhole(path, (handle) => handle.writeFile('whole'))
const left = async (): Promise<string[]> => (await readdir(home)).filter((name) => name.endsWith('.partial'))

test('the next whole write takes away what a killed one left, not what another process is writing', async () => {
  const path = join(home, 'state')
  const [dead, alive, other] = await Promise.all([writer(path), writer(path), writer(join(home, 'state-of-another'))])
  await Promise.all([killed(dead), killed(other)])
  strictEqual((await left()).length, 3)
  await write(path)
  strictEqual(await readFile(path, 'utf8'), 'whole')
  const kept = await left()
  deepStrictEqual(kept.map((name) => name.split('.')[1]).sort(), ['state', 'state-of-another'])
  strictEqual(
    kept.some((name) => name.includes(`-${alive.pid}-`)),
    true,
  )
  await killed(alive)
  await write(path)
  deepStrictEqual(
    (await left()).map((name) => name.split('.')[1]),
    ['state-of-another'],
  )
})

test('names of other machines and of no writer stay; one of this process number from before this process goes', async () => {
  const path = join(home, 'codes.csv')
  const own = basename(partialOf(path))
  const before = own.replace(/-[0-9a-f]{12}/, '-0123456789ab')
  const foreign = own.replace(/\.[0-9a-f]{8}-\d+-/, '.00000000-999999999-')
  const names = [own, before, foreign, '.codes.csv.partial', '.codes.csv.mine.partial']
  for (const name of names) await writeFile(join(home, name), '')
  const longAgo = new Date('2020-01-01')
  for (const name of names.filter((name) => name !== own)) await utimes(join(home, name), longAgo, longAgo)
  await write(path)
  const kept = new Set(await readdir(home))
  deepStrictEqual(
    names.filter((name) => !kept.has(name)),
    [before],
  )
})
