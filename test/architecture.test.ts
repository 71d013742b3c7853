/**
 * The import table of the rooms. A new edge is a change of this constant, seen in review.
 * Type-only edges stand after `types`: readers follow those as well.
 */
import { strictEqual, deepStrictEqual } from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join, posix } from 'node:path'
import { test } from 'node:test'
import { checkoutPath } from './checkout.ts'

const rooms = ['schemas', 'compute', 'connectors', 'distill', 'semantic-ids', 'features', 'replay', 'pipeline', 'cli'] as const
type Room = (typeof rooms)[number]

const table: Record<Room, { values: readonly Room[]; types: readonly Room[] }> = {
  schemas: { values: [], types: [] },
  compute: { values: ['schemas'], types: [] },
  connectors: { values: ['schemas', 'compute'], types: [] },
  distill: { values: ['schemas', 'compute'], types: [] },
  'semantic-ids': { values: ['schemas', 'compute'], types: [] },
  features: { values: ['schemas', 'compute', 'distill', 'semantic-ids'], types: ['connectors'] },
  replay: { values: ['schemas', 'compute', 'distill', 'semantic-ids', 'features'], types: ['connectors'] },
  pipeline: { values: ['schemas', 'compute', 'distill', 'semantic-ids', 'features', 'replay'], types: ['connectors'] },
  cli: { values: ['schemas', 'replay', 'pipeline'], types: [] },
}

/** The one file that names concrete drivers. */
const composition = 'pipeline/compose.ts'

interface Edge {
  readonly file: string
  readonly target: string
  readonly typeOnly: boolean
}

const root = checkoutPath

function edges(): Edge[] {
  const found: Edge[] = []
  for (const room of rooms) {
    for (const name of readdirSync(join(root, room), { recursive: true }).map(String)) {
      if (!name.endsWith('.ts')) continue
      const file = posix.join(room, name.split('\\').join('/'))
      const text = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '')
      const pattern =
        /^\s*(import|export)(\s+type)?\s[^'"]*?from\s+['"](\.[^'"]+)['"]|import\(\s*['"](\.[^'"]+)['"]\s*\)|^\s*import\s+['"](\.[^'"]+)['"]/gm
      for (const match of text.matchAll(pattern)) {
        const target = posix.normalize(posix.join(posix.dirname(file), match[3] ?? match[4] ?? match[5]!))
        found.push({ file, target, typeOnly: match[2] !== undefined })
      }
    }
  }
  return found
}

const roomOf = (path: string): Room => path.split('/')[0] as Room

test('rooms import only what the table allows, and only through doors', () => {
  const broken = edges().filter(({ file, target, typeOnly }) => {
    const [from, to] = [roomOf(file), roomOf(target)]
    if (from === to) return false
    if (target !== `${to}/index.ts`) return true
    if (table[from].values.includes(to)) return false
    if (typeOnly && table[from].types.includes(to)) return false
    return file !== composition || to !== 'connectors'
  })
  deepStrictEqual(
    broken.map(({ file, target, typeOnly }) => `${file} -> ${target}${typeOnly ? ' (type)' : ''}`),
    [],
  )
})

test('the scan sees real edges', () => {
  strictEqual(edges().length > 50, true)
})

test('every room has a door with a header, and no default or star exports', () => {
  for (const room of rooms.filter((name) => name !== 'cli')) {
    const text = readFileSync(join(root, room, 'index.ts'), 'utf8')
    strictEqual(/^\/\*\*[\s\S]*@module/.test(text), true, `${room}/index.ts has no header`)
    strictEqual(/export \*|export default/.test(text), false, `${room}/index.ts exports by star or default`)
  }
})

test('nothing lives in a folder named utils, common or helpers, and no room is deeper than two folders', () => {
  for (const room of rooms) {
    for (const name of readdirSync(join(root, room), { recursive: true }).map(String)) {
      strictEqual(/(^|\/)(utils|common|helpers)(\/|\.ts$|$)/.test(name), false, `${room}/${name}`)
      strictEqual(name.split('/').length <= 3, true, `${room}/${name} is too deep`)
    }
  }
})
