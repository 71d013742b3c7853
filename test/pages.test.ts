/** Every path that a page of the project names is there. */
import { deepStrictEqual, ok } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { test } from 'node:test'
import { checkoutPath } from './checkout.ts'

const root = checkoutPath
/** What is made here and belongs to nobody's checkout; for copies without git, which knows it from .gitignore. */
const made: ReadonlySet<string> = new Set(['node_modules', 'dist', 'out', 'coverage', '.sidestream', '.test-dist', '.git'])

/** All files of the project in `folder`, relative to the root, without what is ignored. */
function filesOnDisk(folder = ''): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (made.has(entry.name)) return []
    const path = posix.join(folder, entry.name)
    return entry.isDirectory() ? filesOnDisk(path) : [path]
  })
}

/** The same as git tells it, new files among them; undefined without git, or in a copy that an outer repository ignores. */
function filesOfGit(): string[] | undefined {
  const git = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  const paths = git.status === 0 ? git.stdout.split('\0').filter((path) => path !== '' && existsSync(join(root, path))) : []
  return paths.includes('package.json') ? paths : undefined
}

/** Files and the folders they are in, these with a slash at their end. */
function withFolders(files: readonly string[]): string[] {
  const parents = files.flatMap((file) => file.split('/').map((_, depth, parts) => `${parts.slice(0, depth).join('/')}/`))
  return [...new Set(parents), ...files].filter((path) => path !== '/')
}

const there = withFolders(filesOfGit() ?? filesOnDisk())
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

test('what is made in a checkout is no part of the project, with git and without', (t) => {
  const onDisk = filesOnDisk()
  ok(onDisk.includes('docs/architecture.md') && onDisk.length > 300)
  ok(!onDisk.some((path) => made.has(path.split('/')[0]!)))
  const ofGit = filesOfGit()
  if (ofGit === undefined) return t.skip('no git here')
  ok(!ofGit.some((path) => /^(?:out|dist|coverage)\//.test(path)))
  deepStrictEqual(onDisk.filter((path) => path.endsWith('.md')).sort(), ofGit.filter((path) => path.endsWith('.md')).sort())
})
