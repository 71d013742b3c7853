/** Directories that are made for what is written, and places where none can be. */
import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { makeDirectory, requireWritable } from '../../schemas/index.ts'

const home = await mkdtemp(join(tmpdir(), 'sidestream-directories-'))
after(() => rm(home, { recursive: true, force: true }))

test('a directory is made with those above it, by one of several that ask at once; one that is there stays', async () => {
  const path = join(home, 'a/b/c')
  const made = await Promise.all([makeDirectory(path), makeDirectory(path), makeDirectory(join(home, 'a/b/d'))])
  strictEqual(made[0], true)
  strictEqual((await stat(path)).isDirectory(), true)
  strictEqual(await makeDirectory(path), false)
  await requireWritable(join(path, 'e'))
  deepStrictEqual(await readdir(join(path, 'e')), [])
})

test('a place where nothing can be made is told at once', async () => {
  await writeFile(join(home, 'file'), '')
  for (const path of ['file', 'file/below', 'file/far/below'])
    await rejects(makeDirectory(join(home, path)), { code: 'SIDESTREAM_FILE_UNREADABLE', message: /is a file, or stands below one/ })
})

test('also where the system says of it that it is not there', { skip: process.platform !== 'linux' }, async () => {
  for (const path of ['/proc/nope', '/proc/nope/x/y'])
    await rejects(makeDirectory(path), {
      code: 'SIDESTREAM_FILE_UNREADABLE',
      message: /: nothing can be made there; write to another place/,
    })
  await rejects(requireWritable('/proc'), { code: 'SIDESTREAM_FILE_UNREADABLE', message: /\/proc: nothing can be made there/ })
})
