/** Runs of a small world in processes of their own, to be ended from outside, and the run that nobody disturbs. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { withKillPoints } from './kill-points.ts'
import type { KilledRun } from './killed-run.ts'
import { smallConfig, smallWorld } from './small-world.ts'
import { runWorld } from './world-run.ts'
import type { RunOutcome } from './world-run.ts'
import { nodeOptions, running } from '../checkout.ts'

const script = fileURLToPath(running(new URL('./killed-run.ts', import.meta.url)))

export interface ChildEnd {
  readonly killed: boolean
  readonly code: number | null
  /** Last line of its output: the outcome, the error, or where it was killed. */
  readonly line: string
}

/**
 * Runs a child to its end.
 * @param fileBlocks - most 512-byte blocks that any of its files may have; without it as many as the disk has
 */
export async function runChild(run: KilledRun, { fileBlocks }: { fileBlocks?: number } = {}): Promise<ChildEnd> {
  const command = [process.execPath, ...nodeOptions, script, JSON.stringify(run)]
  if (fileBlocks !== undefined) command.unshift('sh', '-c', `ulimit -f ${fileBlocks} && exec "$0" "$@"`)
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', fileBlocks === undefined ? 'inherit' : 'ignore'] })
  let output = ''
  child.stdout!.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { killed: signal === 'SIGKILL', code, line: output.trim().split('\n').at(-1) ?? '' }
}

/** What the run of a world is when nobody disturbs it, and its writes by name. */
export async function runAlone({
  partitions,
  world,
  changes = {},
}: Pick<KilledRun, 'partitions' | 'world' | 'changes'>): Promise<{ outcome: RunOutcome; writes: string[] }> {
  const { directory, remove } = await scratchDirectory()
  const writes: string[] = []
  try {
    const config = smallConfig({ dataDir: directory, partitions }, changes)
    const outcome = await runWorld({
      config,
      name: 'killed',
      events: smallWorld(world),
      wrap: (project) => withKillPoints(project, { onWrite: (name) => writes.push(name) }),
    })
    return { outcome, writes }
  } finally {
    await remove()
  }
}
