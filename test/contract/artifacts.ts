/** The contract of the artifacts port: one list of behaviors, each driver runs all of it. */
import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'

import type { Artifacts } from '../../connectors/index.ts'

export interface ArtifactsDriver {
  readonly name: string
  /** Why it cannot run here. @default false */
  readonly skip?: string | false
  /** Opens an empty place for artifacts. `close` removes what it made. */
  open(): Promise<{ artifacts: Artifacts; close(): Promise<void> }>
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const parts = (entries: Record<string, string>): Map<string, Uint8Array> =>
  new Map(Object.entries(entries).map(([name, value]) => [name, text(value)]))

/** Declares all tests of the contract for one driver. */
export function artifactsContract(driver: ArtifactsDriver): void {
  const check = (behavior: string, body: (artifacts: Artifacts) => Promise<void>): void => {
    test(`${driver.name}: ${behavior}`, { skip: driver.skip ?? false }, async (t) => {
      const { artifacts, close } = await driver.open()
      t.after(close)
      await body(artifacts)
    })
  }

  check('an artifact comes back with its parts, sizes, hashes and what was said of it', async (artifacts) => {
    const manifest = await artifacts.write('heads/h1', parts({ 'graph.onnx': 'abc', empty: '' }), { dims: 128, nested: { a: [1] } })
    deepStrictEqual(manifest.parts, [
      { name: 'graph.onnx', bytes: 3, sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' },
      { name: 'empty', bytes: 0, sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' },
    ])
    const read = await artifacts.read('heads/h1')
    deepStrictEqual(read.manifest, manifest)
    deepStrictEqual(
      [...read.parts].map(([name, bytes]) => [name, [...bytes]]),
      [
        ['graph.onnx', [...text('abc')]],
        ['empty', []],
      ],
    )
  })

  check('writing equal parts again is a no-op; other parts are refused', async (artifacts) => {
    const first = await artifacts.write('a', parts({ x: '1', y: '2' }), { try: 1 })
    deepStrictEqual(await artifacts.write('a', parts({ y: '2', x: '1' }), { try: 2 }), first)
    await rejects(artifacts.write('a', parts({ x: '1', y: '3' }), {}), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' })
    await rejects(artifacts.write('a', parts({ x: '1' }), {}), { code: 'SIDESTREAM_ARTIFACT_CORRUPT' })
    deepStrictEqual((await artifacts.read('a')).parts.get('y'), text('2'))
  })

  check('two writers of the same artifact at once both succeed', async (artifacts) => {
    const same = await Promise.all([1, 2, 3].map(() => artifacts.write('a', parts({ x: '1' }), {})))
    deepStrictEqual(same[0], same[2])
    deepStrictEqual(await artifacts.list(''), ['a'])
  })

  check('names are listed by prefix, sorted, and never collide with each other', async (artifacts) => {
    const names = ['heads/b', 'heads/a', 'heads', 'heads/a/x', 'books/1', '..', 'a.artifact']
    for (const name of names) await artifacts.write(name, parts({ name }), {})
    deepStrictEqual(await artifacts.list(''), [...names].sort())
    deepStrictEqual(await artifacts.list('heads/'), ['heads/a', 'heads/a/x', 'heads/b'])
    for (const name of names) deepStrictEqual((await artifacts.read(name)).parts.get('name'), text(name))
  })

  check('what is missing or removed is ARTIFACT_MISSING; removing it again is fine', async (artifacts) => {
    await artifacts.write('a', parts({ x: '1' }), {})
    await artifacts.remove('a')
    await artifacts.remove('a')
    await rejects(artifacts.read('a'), { code: 'SIDESTREAM_ARTIFACT_MISSING' })
    deepStrictEqual(await artifacts.list(''), [])
    await artifacts.write('a', parts({ x: 'new' }), {})
    strictEqual((await artifacts.read('a')).parts.size, 1)
  })

  check('bad names of artifacts and parts are refused', async (artifacts) => {
    const refused = { code: 'SIDESTREAM_USAGE_INVALID' }
    for (const name of ['', 'A', 'a b', 'a~b', 'x'.repeat(129)]) await rejects(artifacts.write(name, parts({ x: '1' }), {}), refused)
    for (const part of ['', '..', 'a/b', 'manifest.json']) await rejects(artifacts.write('a', parts({ [part]: '1' }), {}), refused)
    deepStrictEqual(await artifacts.list(''), [])
  })
}
