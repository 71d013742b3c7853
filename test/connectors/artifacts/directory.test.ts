import { deepStrictEqual, ok, rejects } from 'node:assert/strict'
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { openArtifactDirectory } from '../../../connectors/index.ts'
import { scratchDirectory } from '../scratch-directory.ts'

const parts = new Map([
  ['head.onnx', Uint8Array.from([1, 2, 3, 4])],
  ['stats.f32', Uint8Array.from([5, 6, 7, 8])],
])

test('a changed byte, a cut and a missing file each name the part', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const artifacts = await openArtifactDirectory({ directory })
  await artifacts.write('heads/h1', parts, {})
  const file = join(directory, 'heads~h1.artifact', 'stats.f32')
  for (const damage of [
    () => writeFile(file, Uint8Array.from([5, 6, 7, 9])),
    () => writeFile(file, Uint8Array.from([5, 6])),
    () => rm(file),
  ]) {
    await damage()
    await rejects(artifacts.read('heads/h1'), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /stats\.f32/ })
  }
})

test('a manifest that is not one is told apart from a missing artifact', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const artifacts = await openArtifactDirectory({ directory })
  await artifacts.write('a', parts, {})
  const file = join(directory, 'a.artifact', 'manifest.json')
  const manifest = await readFile(file, 'utf8')
  await writeFile(file, manifest.slice(0, 40))
  await rejects(artifacts.read('a'), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /manifest\.json/ })
  await writeFile(file, manifest.replace('"a"', '"b"'))
  await rejects(artifacts.read('a'), { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /manifest\.json/ })
})

test('what a killed writer left is never listed, and is removed when the directory is opened', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const artifacts = await openArtifactDirectory({ directory })
  const draft = join(directory, 'draft~0f2c')
  await mkdir(draft)
  await writeFile(join(draft, 'head.onnx'), Uint8Array.from([1]))
  await artifacts.write('a', parts, {})
  deepStrictEqual(await artifacts.list(''), ['a'])
  const again = await openArtifactDirectory({ directory })
  deepStrictEqual(await readdir(directory), ['a.artifact'])
  ok((await again.read('a')).parts.has('head.onnx'))
})
