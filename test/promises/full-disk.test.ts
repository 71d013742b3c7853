/**
 * Promise: a full disk is a clear error that ends the process; when there is room again the data directory goes on and
 * ends equal to a run that always had room.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { runAlone, runChild } from './run-child.ts'

const run = { partitions: 2, world: { items: 80, users: 20, interactions: 400 } }
const expected = runAlone(run).then(({ outcome }) => outcome)

async function expectFull(t: TestContext, directory: string, size: string, options: { fileBlocks?: number } = {}): Promise<void> {
  const { killed, code, line } = await runChild({ ...run, directory }, options)
  ok(!killed && code === 1, `with ${size} the run ended with ${code}: ${line}`)
  const { error } = JSON.parse(line) as { error: { code: string; message: string } }
  strictEqual(error.code, 'SIDESTREAM_DISK_FULL')
  ok(error.message.includes(directory) && /free space/.test(error.message), error.message)
  t.diagnostic(`${size}: ${error.message}`)
}

async function expectEqualEnd(directory: string): Promise<void> {
  const { code, line } = await runChild({ ...run, directory })
  strictEqual(code, 0, line)
  deepStrictEqual(JSON.parse(line), await expected)
}

test('files that may not grow: told, and gone on with later', { skip: process.platform === 'win32' && 'has no ulimit' }, async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  await expectFull(t, directory, 'files of 140 KiB', { fileBlocks: 280 })
  await expectFull(t, directory, 'files of 170 KiB', { fileBlocks: 340 })
  await expectEqualEnd(directory)
})

const mountable = process.platform === 'linux' && process.getuid?.() === 0
test('a disk that is full again and again', { skip: mountable ? false : 'needs root to mount a small tmpfs' }, async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(async () => {
    spawnSync('umount', ['--lazy', directory])
    await remove()
  })
  const mount = (...options: string[]): boolean => spawnSync('mount', options).status === 0
  if (!mount('-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', directory)) return t.skip('cannot mount a tmpfs here')
  for (const size of ['400k', '900k', '1600k']) {
    ok(mount('-o', `remount,size=${size}`, directory))
    await expectFull(t, join(directory, 'data'), size)
  }
  ok(mount('-o', 'remount,size=200m', directory))
  await expectEqualEnd(join(directory, 'data'))
})
