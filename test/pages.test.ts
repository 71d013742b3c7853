/** Every path that a page of the project names is there. */
import { deepStrictEqual, ok } from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const skipped: ReadonlySet<string> = new Set(['node_modules', 'dist', 'coverage', '.git'])

/** All files and folders of the repository, relative, folders with a slash at their end. */
function everything(folder = ''): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (skipped.has(entry.name)) return []
    const path = posix.join(folder, entry.name)
    return entry.isDirectory() ? [`${path}/`, ...everything(path)] : [path]
  })
}

const there = everything()
const known = new Set(there.flatMap((path) => [path, path.replace(/\/$/, '')]))
const pages = there.filter((path) => path.endsWith('.md'))
const folders = there.filter((path) => /^[^/]+\/$/.test(path)).map((path) => path.slice(0, -1))
const ofProject = new RegExp(`^(?:${folders.join('|')})/[A-Za-z0-9_./-]*$`)

/** Paths in code spans and fences, and targets of links, with where they may be relative to. */
function* pathsOf(page: string): Generator<{ path: string; from: readonly string[] }> {
  const text = readFileSync(join(root, page), 'utf8')
  const bases = ['', 'docs', dirname(page)]
  for (const [, target] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
    if (!/^[a-z]+:/.test(target!)) yield { path: target!, from: [dirname(page)] }
  }
  for (const [, spans] of text.matchAll(/(`[^`\n]+`|```[\s\S]*?```)/g)) {
    for (const word of spans!.split(/[\s`'",;()=]+/)) {
      const path = word.replace(/[.:]+$/, '')
      const isPage = /^(?:[A-Za-z0-9_./-]+\.md|decisions\/\d{4})$/.test(path)
      if (isPage || ofProject.test(path)) yield { path, from: isPage ? bases : [''] }
    }
  }
}

/** A decision may be named by its number. */
function exists(path: string, from: readonly string[]): boolean {
  return from.some((base) => {
    const at = posix.join(base, path)
    return known.has(at) || (/decisions\/\d{4}$/.test(at) && there.some((other) => other.startsWith(`${at}-`)))
  })
}

test('every path that a page names is there', () => {
  const missing = pages.flatMap((page) =>
    [...pathsOf(page)].filter(({ path, from }) => !exists(path, from)).map(({ path }) => `${page}: ${path}`),
  )
  deepStrictEqual(missing, [])
})

test('the look at the pages sees what they name', () => {
  const named = new Set(pages.flatMap((page) => [...pathsOf(page)].map(({ path }) => path)))
  for (const path of ['docs/reference/control.md', 'reference/control.md', 'control.md', 'test/architecture.test.ts', 'decisions/0005'])
    ok(named.has(path), path)
  ok(named.size > 60, `${named.size} paths`)
  ok(!exists('docs/reference/nowhere.md', ['']) && !exists('decisions/9999', ['docs']))
})
