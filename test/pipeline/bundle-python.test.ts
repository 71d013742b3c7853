/** The Python of `docs/reference/semantic-id-bundle.md` on bundles of all kinds. SIDESTREAM_TEST_PYTHON names the interpreter; without it `python3`. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { itemsFile, readBundleDirectory, sidFitFiles, sidRefreshFiles } from '../../pipeline/index.ts'
import type { SidFitFiles } from '../../pipeline/index.ts'
import { readCodes } from '../../schemas/index.ts'
import { decode, encode } from '../../semantic-ids/index.ts'
import { clustered, moved, writeVectors } from '../cli/vector-files.ts'
import { checkout } from '../checkout.ts'

const page = await readFile(new URL('docs/reference/semantic-id-bundle.md', checkout), 'utf8')
const reader = /```python\n([\s\S]*?)```/.exec(page)![1]!
const decoder = /^`(sum\(.*\))` is what codes stand for/m.exec(page)![1]!
const python = process.env['SIDESTREAM_TEST_PYTHON'] ?? 'python3'
const skip =
  spawnSync(python, ['-c', 'import numpy']).status === 0
    ? false
    : `${python} has no numpy: pip install numpy, or name another one in SIDESTREAM_TEST_PYTHON`

const script = `${reader}
import sys
bundle = read_bundle(sys.argv[1], **json.loads(sys.argv[2]))
codes = encode(bundle, json.load(sys.stdin))
print(json.dumps([codes.tolist(), ${decoder}.tolist()]))`
const tables = { ignore: ['parentRows', 'movedRows'] }

const items = clustered(300, 6, 12, { spread: 0.5 })
const rows = items.ids.map((_, row) => [...items.vectors.subarray(row * items.dim, (row + 1) * items.dim)])
let home = ''
const at = (name: string): string => join(home, name)

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-python-'))
  await writeVectors(home, 'items.parquet', items)
})
after(() => rm(home, { recursive: true, force: true }))

async function fit(name: string, options: Partial<SidFitFiles> = {}): Promise<void> {
  await sidFitFiles({ in: at('items.parquet'), sizes: [6, 5], out: at(name), ...options })
}

/** What Python says of the vectors of all items: codes, and what they stand for. */
function byPython(name: string, options: object = {}): { codes: number[]; decoded: number[] } {
  const { stdout, stderr, status } = spawnSync(python, ['-c', script, at(name), JSON.stringify(options)], {
    input: JSON.stringify(rows),
    encoding: 'utf8',
  })
  strictEqual(status, 0, stderr)
  const [codes, decoded] = JSON.parse(stdout) as [number[][], number[][]]
  return { codes: codes.flat(), decoded: decoded.flat() }
}

function refusedByPython(name: string): string {
  const { stderr, status } = spawnSync(python, ['-c', script, at(name), '{}'], { input: '[]', encoding: 'utf8' })
  strictEqual(status, 1)
  return stderr
}

async function storedCodes(name: string): Promise<number[]> {
  const codes: number[] = []
  for await (const { sids } of readCodes(join(at(name), itemsFile))) codes.push(...sids.flat())
  return codes
}

test('it has 20 lines', () => {
  const lines = reader.trimEnd().split('\n')
  ok(lines.length <= 20, `${lines.length} lines`)
  for (const line of lines) ok(line.length <= 160, line)
})

test('plain and balanced bundles, raw and at unit length: the codes of all items, and what they stand for', { skip }, async () => {
  for (const [name, options] of [
    ['plain', {}],
    ['balanced', { balanced: true, normalize: false }],
  ] as const) {
    await fit(name, options)
    const { codes, decoded } = byPython(name)
    deepStrictEqual(codes, await storedCodes(name))
    const { bundle } = await readBundleDirectory(at(name))
    const ours = decode(Uint16Array.from(codes), bundle.codebooks)
    ok(decoded.every((value, i) => Math.abs(value - ours[i]!) < 1e-6))
  }
})

test('bundles whose items keep IDs by a table are refused; items that no table holds are encoded', { skip }, async () => {
  await fit('start')
  await writeVectors(home, 'later.parquet', moved(items, 0.2))
  await sidRefreshFiles({
    bundle: at('start'),
    in: at('later.parquet'),
    out: at('refreshed'),
    plan: { kind: 'refresh', budget: { full: 0.1 } },
  })
  await fit('capped', { capacity: 2 })
  for (const name of ['refreshed', 'capped']) {
    match(refusedByPython(name), /ValueError: .*(parentRows|movedRows) is \d+, only 0 is read/)
    const { bundle } = await readBundleDirectory(at(name))
    const free = encode(items.vectors, bundle.codebooks, bundle.settings)
    deepStrictEqual(byPython(name, tables).codes, [...free])
  }
})

test('other bundles, and those that have changed, are refused with what is wrong', { skip }, async () => {
  await fit('beam', { beam: 3 })
  match(refusedByPython('beam'), /mode is beam, only greedy is read/)
  await fit('units', { normalizeResiduals: true })
  match(refusedByPython('units'), /normalizeResiduals is True, only False is read/)
  await fit('digits', { fsqDigits: [3, 4] })
  match(refusedByPython('digits'), /fsq is .*, only None is read/)
  await fit('whole')
  for (const file of ['codebooks.f32', 'manifest.json', 'metrics.json']) {
    await cp(at('whole'), at(file), { recursive: true })
    const bytes = await readFile(join(at(file), file))
    const from = file === 'manifest.json' ? bytes.indexOf('true') : 5
    bytes.set(file === 'manifest.json' ? Buffer.from('null') : [bytes[from]! ^ 1], from)
    await writeFile(join(at(file), file), bytes)
    match(refusedByPython(file), new RegExp(`${file.replace('.', '\\.')} has another SHA-256`))
  }
  await rm(join(at('whole'), 'codebooks.f32'))
  match(refusedByPython('whole'), /No such file.*codebooks\.f32/)
})
