/** Directories and small tools for the tests of the file log. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'

const made: string[] = []

after(() => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true })
})

/** A fresh directory, removed when the test file ends. */
export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sidestream-log-'))
  made.push(directory)
  return directory
}

/** Segment files of a partition, oldest first. */
export function segmentFiles(directory: string, topic: string, partition = 0): string[] {
  const folder = join(directory, 'topics', topic, String(partition))
  return readdirSync(folder)
    .filter((name) => name.endsWith('.log'))
    .sort()
    .map((name) => join(folder, name))
}
