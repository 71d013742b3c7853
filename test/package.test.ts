/** The manifest: what an installed package offers, and that installing it downloads nothing but packages. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkoutPath } from './checkout.ts'

const read = (path: string): string => readFileSync(join(checkoutPath, path), 'utf8')

interface Manifest {
  readonly type: string
  readonly sideEffects: boolean
  readonly files: readonly string[]
  readonly engines: { readonly node: string }
  readonly bin: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly dependencies: Readonly<Record<string, string>>
  readonly allowScripts: Readonly<Record<string, boolean>>
}

const manifest = JSON.parse(read('package.json')) as Manifest

/** Folders with a door; `cli` is reached by `bin` alone. */
const rooms = readdirSync(checkoutPath).filter((name) => existsSync(join(checkoutPath, name, 'index.ts')))

/** The source of a built file. */
const sourceOf = (built: string): string => built.replace(/^(\.\/)?dist\//, '').replace(/\.(d\.ts|js)$/, '.ts')

test('the package is ESM for Node 20, without side effects, and holds the build and the recipes', () => {
  deepStrictEqual([manifest.type, manifest.sideEffects, manifest.files], ['module', false, ['dist', 'examples/*/recipe.yaml']])
  strictEqual(manifest.engines.node, '>=20.19')
})

test('every room has its entry, types before default, and nothing else is reachable', () => {
  ok(rooms.length >= 8, `rooms: ${rooms.join(', ')}`)
  deepStrictEqual(Object.keys(manifest.exports).sort(), ['./package.json', ...rooms.map((room) => `./${room}`)].sort())
  for (const room of rooms) {
    const entry = manifest.exports[`./${room}`] as Readonly<Record<string, string>>
    // The order counts: the first condition that fits is taken.
    deepStrictEqual(Object.entries(entry), [
      ['types', `./dist/${room}/index.d.ts`],
      ['default', `./dist/${room}/index.js`],
    ])
  }
})

test('the command is built from a source that starts as a program', () => {
  deepStrictEqual(Object.keys(manifest.bin), ['sidestream'])
  match(read(sourceOf(manifest.bin['sidestream']!)), /^#!\/usr\/bin\/env node\n/)
})

interface Locked {
  readonly hasInstallScript?: boolean
  readonly dev?: boolean
  readonly resolved?: string
}

const locked = Object.entries((JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> }).packages).filter(
  ([path]) => path !== '',
)
const nameOf = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)

test('every install script among the packages is decided on by name', () => {
  const withScripts = [...new Set(locked.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => nameOf(path)))]
  deepStrictEqual(Object.keys(manifest.allowScripts).sort(), withScripts.sort())
})

test('onnxruntime-node installs without its script, which would download libraries', () => {
  strictEqual(manifest.allowScripts['onnxruntime-node'], false)
  // For npm 10, which does not know allowScripts. The script's own switch would do, but npm warns of it at every command.
  match(read('.npmrc'), /^ignore-scripts=true$/m)
})

test('no other package that users install runs a script that could download', () => {
  for (const [path, { dev, hasInstallScript }] of locked) {
    if (dev === true || hasInstallScript !== true || manifest.allowScripts[nameOf(path)] !== true) continue
    if (!existsSync(join(checkoutPath, path))) continue // optional, and not for this platform
    const { scripts = {} } = JSON.parse(read(join(path, 'package.json'))) as { scripts?: Record<string, string> }
    const run = ['preinstall', 'install', 'postinstall'].flatMap((name) => scripts[name] ?? [])
    // It looks for a prebuilt binary among the installed packages, else compiles; it has no network code.
    deepStrictEqual(run, ['node-gyp-build-optional-packages'], path)
  }
})

test('the lock file names no registry, so that everyone installs from their own', () => {
  deepStrictEqual(
    locked.flatMap(([, { resolved }]) => resolved ?? []),
    [],
  )
})
