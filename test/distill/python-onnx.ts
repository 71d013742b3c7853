/** `head.onnx` in Python's onnxruntime. SIDESTREAM_TEST_PYTHON names the interpreter; without it `python3`. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const python = process.env['SIDESTREAM_TEST_PYTHON'] ?? 'python3'

/** Why Python cannot be asked, or false when it can. */
export const noPython: string | false =
  spawnSync(python, ['-c', 'import numpy, onnxruntime']).status === 0
    ? false
    : `${python} has no onnxruntime: pip install onnxruntime numpy, or name another one in SIDESTREAM_TEST_PYTHON`

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

/** Published vectors of a model file, all rows in one list. @param inputs - rows by name of the input */
export async function publishedByPython(
  model: string,
  inputs: Readonly<Record<string, readonly (readonly number[])[]>>,
): Promise<number[]> {
  const directory = await mkdtemp(join(tmpdir(), 'sidestream-python-'))
  try {
    const [input, program] = ['inputs.json', 'check.py'].map((name) => join(directory, name)) as [string, string]
    await writeFile(input, JSON.stringify(inputs))
    await writeFile(program, script)
    const { stdout } = await promisify(execFile)(python, [program, model, input], { maxBuffer: 1 << 28 })
    return (JSON.parse(stdout) as number[][]).flat()
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
