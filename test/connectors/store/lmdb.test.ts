import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { openLmdbState, openLmdbStore } from '../../../connectors/index.ts'
import { valueHeader } from '../../../schemas/index.ts'
import { valueOf } from '../../contract/store.ts'
import { scratchDirectory } from '../scratch-directory.ts'
import { nodeOptions, running } from '../../checkout.ts'

const target = { project: 'shop', view: 'items', version: 1 }
const clock = (): number => 1

test('everything a store holds is there after it is opened again', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const first = await openLmdbStore({ directory, clock })
  for (const version of [3, 1]) await first.write({ ...target, version }, [{ id: 'a', value: valueOf(1, version) }])
  await first.collect('shop', 3)
  await first.write({ ...target, version: 4 }, [{ id: 'a', value: valueOf(1, 4) }])
  await first.swap({ project: 'shop', expected: undefined, version: 1, action: 'activate', commandId: 'c1' })
  await first.putVersion('shop', 1, Uint8Array.of(7))
  await first.pin('shop', 1, 'reader', 10)
  await first.close()
  const store = await openLmdbStore({ directory, clock })
  t.after(() => store.close())
  const marks = await Promise.all(
    [1, 3, 4].map(async (version) => (await store.read({ ...target, version }, ['a'])).values[0]?.[valueHeader.bytes]),
  )
  deepStrictEqual(marks, [1, undefined, 4])
  deepStrictEqual(await store.live('shop'), { version: 1, epoch: 1 })
  deepStrictEqual(await store.getVersion('shop', 1), Uint8Array.of(7))
  deepStrictEqual(await store.pins('shop', 1), ['reader'])
  const again = await store.swap({ project: 'shop', expected: undefined, version: 1, action: 'activate', commandId: 'c1' })
  strictEqual(again.outcome, 'repeated')
})

test('what was acknowledged before a kill is there, and every value and commit is whole', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const script = fileURLToPath(running(new URL('./lmdb-writer.ts', import.meta.url)))
  for (const kills of [9, 4]) {
    const child = spawn(process.execPath, [...nodeOptions, script, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
    let acknowledged = 0
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged = Number(line)
      if (acknowledged >= kills) break
    }
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    const store = await openLmdbStore({ directory: join(directory, 'store'), clock })
    const state = await openLmdbState({ directory: join(directory, 'state') })
    const ids = Array.from({ length: 200 }, (_, i) => `item-${i}`)
    const { values } = await store.read(target, ids)
    const rounds = new Set(values.map((value) => Number(Buffer.from(value!).readBigUInt64BE(valueHeader.offsetAt))))
    const [round] = rounds
    strictEqual(rounds.size, 1, 'one call is one transaction')
    ok(round! >= acknowledged)
    deepStrictEqual(values[0], valueOf(round!, round! & 255))
    const position = Number(state.position('log/0'))
    ok(position >= acknowledged)
    const marks = new Set(Array.from(state.range('user-', 'user.'), ([, value]) => value[0]))
    deepStrictEqual([...marks], [position & 255])
    await Promise.all([store.close(), state.close()])
  }
})

test('above its limit the store refuses, changes nothing, and works on after a collect', async (t) => {
  const { directory, remove } = await scratchDirectory()
  const store = await openLmdbStore({ directory, clock, mapSizeBytes: 1_000_000 })
  t.after(async () => {
    await store.close()
    await remove()
  })
  const entries = (prefix: string) => Array.from({ length: 500 }, (_, i) => ({ id: `${prefix}${i}`, value: valueOf(1, 1, 0, 1_000) }))
  await store.write(target, entries('a'))
  await rejects(store.write({ ...target, version: 2 }, entries('b')), { code: 'SIDESTREAM_DISK_FULL', message: /collect versions/ })
  strictEqual((await store.usage('shop', 2)).entries, 0)
  await store.collect('shop', 1)
  deepStrictEqual(new Set(await store.write({ ...target, version: 2 }, entries('b'))), new Set(['written']))
})

test('when the disk takes no more, the call fails as a whole and the store goes on', { skip: process.platform === 'win32' }, async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const script = fileURLToPath(running(new URL('./lmdb-full.ts', import.meta.url)))
  // A file size limit of 4 MiB stands for the full disk: writing beyond it fails as writing to a full disk does.
  const command = 'ulimit -f 8192 && exec "$0" "$@"'
  const child = spawn('sh', ['-c', command, process.execPath, ...nodeOptions, script, directory], { stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  strictEqual(code, 0)
  deepStrictEqual(JSON.parse(output), {
    storeCode: 'SIDESTREAM_DISK_FULL',
    stateCode: 'SIDESTREAM_DISK_FULL',
    halfWritten: false,
    readable: true,
    afterCollect: ['written'],
    stateAfter: true,
  })
})
