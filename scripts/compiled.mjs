/**
 * Sources and tests as JavaScript, for runs of tests and benchmarks: a process starts three times as fast as through tsx, and so does every thread.
 * A copy is named by a hash of all that it is made of and appears whole, so runs in one checkout, before and after an edit, share the
 * folder without disturbing each other. Types are not checked here: `npm run types` does.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { dirname, join } from 'node:path'

const folder = '.test-dist'
const config = 'tsconfig.test.json'
/** A copy that no run has asked for in so many ms goes: longer than any run. */
const keptMs = 3 * 3_600_000

/**
 * Compiles, unless a copy of this very state is there.
 * @returns its directory, in which paths are those of the checkout with .js for .ts
 */
export function compiledForTests() {
  mkdirSync(folder, { recursive: true })
  let directory = copyOfSources()
  while (!existsSync(directory)) {
    const draft = compile()
    const now = copyOfSources()
    // What was edited meanwhile may be in the draft or not.
    if (now === directory) publish(draft, directory)
    else rmSync(draft, { recursive: true, force: true })
    directory = now
  }
  const now = new Date()
  utimesSync(directory, now, now)
  removeOlderThan(now.getTime() - keptMs)
  return directory
}

/** Where the copy of the sources as they are now belongs. */
function copyOfSources() {
  const hash = createHash('sha256')
  for (const path of ['tsconfig.json', config, 'node_modules/typescript/package.json', 'scripts/compiled.mjs', ...sources()]) {
    hash.update(`${path}\0`).update(readFileSync(path)).update('\0')
  }
  return join(folder, hash.digest('hex').slice(0, 16))
}

/** Everything that stands in a copy: modules compiled, other files as they are. */
function sources() {
  const { include } = JSON.parse(readFileSync(config, 'utf8'))
  const files = include.flatMap((room) => readdirSync(room, { recursive: true }).map((name) => join(room, String(name))))
  return ['package.json', ...files.filter((path) => statSync(path).isFile()).sort()]
}

function compile() {
  const draft = mkdtempSync(join(folder, 'draft-'))
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', config, '--outDir', draft], { stdio: 'inherit' })
  for (const path of sources().filter((name) => !name.endsWith('.ts'))) {
    mkdirSync(dirname(join(draft, path)), { recursive: true })
    cpSync(path, join(draft, path))
  }
  return draft
}

function publish(draft, directory) {
  try {
    renameSync(draft, directory)
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    if (!existsSync(directory)) throw error // else another run was faster
  }
}

function removeOlderThan(time) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    const usedAt = statSync(path, { throwIfNoEntry: false })?.mtimeMs
    if (usedAt !== undefined && usedAt < time) rmSync(path, { recursive: true, force: true })
  }
}
