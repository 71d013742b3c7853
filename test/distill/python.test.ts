/** `head.onnx` in Python's onnxruntime, which knows nothing of us, gives the vectors that we publish. */
import { ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { HeadEncoder, headModel } from '../../distill/index.ts'
import { modalities, worldHead, worldItems } from './head-world.ts'
import { noPython, publishedByPython } from './python-onnx.ts'

test('Python reads the head and gives the same vectors, items that lack a modality among them', { skip: noPython }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-python-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const items = worldItems(40)
  const head = worldHead(items)
  const contents = [...items.values()]
  const encoder = await HeadEncoder.create(head)
  t.after(() => encoder.close())
  const { published } = await encoder.encode(contents)
  const inputs: Record<string, number[][]> = {
    presence: contents.map((content) => modalities.map(({ name }) => (content[name] === undefined ? 0 : 1))),
  }
  for (const { name, dim } of modalities)
    inputs[`content_${name}`] = contents.map((content) => [...(content[name] ?? new Float32Array(dim))])
  const model = join(directory, 'head.onnx')
  await writeFile(model, headModel(head))
  const theirs = await publishedByPython(model, inputs)
  strictEqual(theirs.length, published.length)
  let worst = 0
  published.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - theirs[i]!))))
  ok(worst < 1e-6, `largest difference ${worst}`)
})
