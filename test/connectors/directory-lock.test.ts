import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { lockDirectory } from '../../connectors/index.ts'
import { nodeOptions, running } from '../checkout.ts'

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sidestream-lock-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

/** What this process writes into a lock. */
function ownerHere(t: TestContext): { pid: number; startTime: string | null } {
  const directory = scratch(t)
  const lock = lockDirectory(directory)
  const owner = JSON.parse(readFileSync(join(directory, 'LOCK'), 'utf8')) as { pid: number; startTime: string | null }
  lock.release()
  return owner
}

async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
  await once(child, 'exit')
  return child.pid!
}

test('a directory has one owner until it is released, by whatever path it is named', (t) => {
  const parent = scratch(t)
  const directory = join(parent, 'new', 'data')
  const lock = lockDirectory(directory)
  symlinkSync(directory, join(parent, 'link'))
  for (const path of [directory, join(parent, 'link'), join(directory, '..', 'data')]) {
    throws(() => lockDirectory(path), { code: 'SIDESTREAM_DIRECTORY_IN_USE', details: { directory: lock.path, pid: process.pid } })
  }
  lock.release()
  lock.release()
  const again = lockDirectory(directory)
  lock.release() // the old handle no longer speaks for the directory
  throws(() => lockDirectory(directory), { code: 'SIDESTREAM_DIRECTORY_IN_USE' })
  again.release()
  deepStrictEqual(readdirSync(directory), [])
})

test('the lock of a dead process is taken over', async (t) => {
  const directory = scratch(t)
  writeFileSync(join(directory, 'LOCK'), JSON.stringify({ pid: await deadPid(), startTime: null }))
  const lock = lockDirectory(directory)
  strictEqual(JSON.parse(readFileSync(join(directory, 'LOCK'), 'utf8')).pid, process.pid)
  lock.release()
})

test('a live process with the written start time holds the directory', (t) => {
  const directory = scratch(t)
  const owner = ownerHere(t)
  writeFileSync(join(directory, 'LOCK'), JSON.stringify(owner))
  throws(
    () => lockDirectory(directory),
    (error: Error) => {
      ok(error.message.includes(String(process.pid)))
      ok(error.message.includes('stop it'))
      return true
    },
  )
  deepStrictEqual(JSON.parse(readFileSync(join(directory, 'LOCK'), 'utf8')), owner)
})

test('a pid that was given to another process holds nothing', { skip: process.platform !== 'linux' }, (t) => {
  const directory = scratch(t)
  const owner = ownerHere(t)
  writeFileSync(join(directory, 'LOCK'), JSON.stringify({ ...owner, startTime: `${owner.startTime}1` }))
  lockDirectory(directory).release()
})

test('a process that has ended holds nothing, also when its parent never asked', { skip: process.platform !== 'linux' }, async (t) => {
  const directory = scratch(t)
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => parent.kill())
  const pid = Number(String((await once(parent.stdout, 'data'))[0]))
  while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await new Promise(setImmediate)
  writeFileSync(join(directory, 'LOCK'), JSON.stringify({ pid, startTime: null }))
  lockDirectory(directory).release()
})

test('an empty lock, as a power cut leaves it, holds nothing', (t) => {
  const directory = scratch(t)
  writeFileSync(join(directory, 'LOCK'), '')
  lockDirectory(directory).release()
})

test('a taker that died halfway does not block the next; a live one does', async (t) => {
  const directory = scratch(t)
  const dead = JSON.stringify({ pid: await deadPid(), startTime: null })
  writeFileSync(join(directory, 'LOCK'), dead)
  writeFileSync(join(directory, 'LOCK.takeover'), JSON.stringify(ownerHere(t)))
  throws(() => lockDirectory(directory), { code: 'SIDESTREAM_DIRECTORY_IN_USE' })
  writeFileSync(join(directory, 'LOCK.takeover'), dead)
  lockDirectory(directory).release()
  deepStrictEqual(readdirSync(directory), [])
})

test('of many processes that want a stale directory, one gets it', { timeout: 60_000 }, async (t) => {
  const directory = scratch(t)
  const answers = join(directory, 'answers')
  mkdirSync(answers)
  writeFileSync(join(directory, 'LOCK'), JSON.stringify({ pid: await deadPid(), startTime: null }))
  const door = running(new URL('../../connectors/directory-lock.ts', import.meta.url)).href
  const code = `import(${JSON.stringify(door)}).then(({ lockDirectory }) => {
    process.stdin.once('data', () => {
      try { lockDirectory(process.argv[1]); console.log('got') } catch (error) { console.log(error.code) }
      process.stdin.once('end', () => process.exit())
    })
    console.log('ready')
  })`
  const children = Array.from({ length: 3 }, () =>
    spawn(process.execPath, [...nodeOptions, '--eval', code, directory], { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  const line = async (child: (typeof children)[number]): Promise<string> => String((await once(child.stdout, 'data'))[0]).trim()
  deepStrictEqual(await Promise.all(children.map(line)), ['ready', 'ready', 'ready'])
  const results = Promise.all(children.map(line))
  for (const child of children) child.stdin.write('go\n')
  deepStrictEqual((await results).sort(), ['SIDESTREAM_DIRECTORY_IN_USE', 'SIDESTREAM_DIRECTORY_IN_USE', 'got'])
  for (const child of children) child.stdin.end()
  await Promise.all(children.map((child) => once(child, 'exit')))
})
