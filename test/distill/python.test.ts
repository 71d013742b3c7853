/** `head.onnx` in Python's onnxruntime, which knows nothing of us, gives the vectors that we publish. */
import { ok, strictEqual } from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { HeadEncoder, headModel } from '../../distill/index.ts'
import { modalities, worldHead, worldItems } from './head-world.ts'

const found = spawnSync('python3', ['-c', 'import numpy, onnxruntime'])
const skip = found.status === 0 ? false : 'python3 has no onnxruntime: pip install onnxruntime'

/** Reads inputs as JSON, prints the published vectors as JSON. */
const script = `
import json, sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
with open(sys.argv[2]) as file:
    inputs = {name: np.array(rows, dtype=np.float32) for name, rows in json.load(file).items()}
assert {i.name for i in session.get_inputs()} == set(inputs), [i.name for i in session.get_inputs()]
print(json.dumps(session.run(["published"], inputs)[0].tolist()))
`

test('Python reads the head and gives the same vectors, items that lack a modality among them', { skip }, async (t) => {
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
  const [model, input, program] = ['head.onnx', 'inputs.json', 'check.py'].map((name) => join(directory, name)) as [string, string, string]
  await writeFile(model, headModel(head))
  await writeFile(input, JSON.stringify(inputs))
  await writeFile(program, script)
  const { stdout } = await promisify(execFile)('python3', [program, model, input])
  const theirs = (JSON.parse(stdout) as number[][]).flat()
  strictEqual(theirs.length, published.length)
  let worst = 0
  published.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - theirs[i]!))))
  ok(worst < 1e-6, `largest difference ${worst}`)
})
