/**
 * What `distill` holds in memory: files of a given size, read, trained on for a few steps and judged, in a process of its own whose
 * memory is read between the phases. No peer. `raw` are the bytes that the same records need as plain columns: 4 a number of
 * content, and 20 an interaction (user, item, behaviors, time). Files are made anew each time, in a temporary directory.
 * Options: `--interactions N` (1,000,000), `--items N` (200,000), `--dims N` (256), `--users N` (a twentieth of the interactions),
 * `--liked SHARE` (1: every interaction is liked, so every one is a sample), `--hold-out SHARE` (0.1; 0: nothing is judged),
 * `--heap MB` (8000), `--dir DIR`.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { fillNormal, uniform } from '../compute/index.ts'
import { distillFiles } from '../pipeline/index.ts'
import { checkConfig, writeParquet } from '../schemas/index.ts'
import { figure } from './harness.ts'

const { values: options } = parseArgs({
  options: {
    interactions: { type: 'string', default: '1000000' },
    items: { type: 'string', default: '200000' },
    dims: { type: 'string', default: '256' },
    users: { type: 'string' },
    liked: { type: 'string', default: '1' },
    'hold-out': { type: 'string', default: '0.1' },
    heap: { type: 'string', default: '8000' },
    dir: { type: 'string', default: tmpdir() },
    measure: { type: 'string' },
  },
})
const [interactions, items, dims, liked] = [options.interactions, options.items, options.dims, options.liked].map(Number) as [
  number,
  number,
  number,
  number,
]
const users = Number(options.users ?? Math.ceil(interactions / 20))
const itemId = (item: number): string => `item-${String(item).padStart(8, '0')}`

function contentOf(item: number): Float32Array {
  const vector = new Float32Array(dims)
  fillNormal(vector, 1, item)
  return vector
}

async function writeFiles(directory: string): Promise<void> {
  const columns = [
    { name: 'item_id', type: 'string' },
    { name: 'ts', type: 'int64' },
    { name: 'content', type: 'list<float>' },
  ] as const
  await writeParquet(join(directory, 'content.parquet'), columns, async (rows) => {
    for (let from = 0; from < items; from += 4096) {
      const some = Array.from({ length: Math.min(4096, items - from) }, (_, i) => from + i)
      await rows.write({
        item_id: some.map(itemId),
        ts: some.map(() => 1_700_000_000_000),
        content: some.map(contentOf),
      })
    }
  })
  const file = createWriteStream(join(directory, 'interactions.csv'))
  file.write('user_id,item_id,ts,behaviors\n')
  for (let i = 0; i < interactions; i++) {
    const user = Math.floor(users * uniform(2, 0, i))
    // Half of what is done falls on a tenth of the items.
    const item = Math.floor(items * uniform(2, 1, i) ** 3.3)
    const line = `user-${String(user).padStart(8, '0')},${itemId(item)},${1_700_000_000_000 + 1000 * i},${uniform(2, 2, i) < liked ? 'click' : 'skip'}\n`
    if (!file.write(line)) await once(file, 'drain')
  }
  file.end()
  await once(file, 'close')
}

async function measure(directory: string): Promise<void> {
  const config = checkConfig({
    content: { modalities: { content: { dim: dims } } },
    interactions: { positiveBehaviors: ['click'], otherBehaviors: ['skip'] },
    guard: { mode: 'report' },
  })
  const peaks: Record<string, number> = {}
  /** Largest memory so far, MB, under the name of the phase that has ended. */
  const mark = (phase: string): void => void (peaks[phase] = figure(process.resourceUsage().maxRSS / 1024))
  mark('start')
  let phase = ''
  const { report } = await distillFiles(config, {
    interactions: join(directory, 'interactions.csv'),
    content: join(directory, 'content.parquet'),
    out: join(directory, 'out'),
    steps: 20,
    holdOut: Number(options['hold-out']),
    onProgress: (progress) => {
      if (progress.phase !== phase && phase !== '') mark(phase)
      phase = progress.phase
    },
  })
  mark(phase)
  const raw = 4 * items * dims + 20 * interactions
  process.stdout.write(
    `${JSON.stringify({
      bench: `distill memory ${interactions} interactions, ${items} items x ${dims}`,
      samples: report.samples,
      'peak MB after': peaks,
      'raw MB': figure(raw / 2 ** 20),
      'processor s': figure(process.cpuUsage().user / 1e6),
      node: process.version,
    })}\n`,
  )
}

if (options.measure !== undefined) await measure(options.measure)
else {
  const directory = mkdtempSync(join(options.dir, 'sidestream-bench-'))
  try {
    await writeFiles(directory)
    const own = [...process.execArgv, `--max-old-space-size=${options.heap}`, fileURLToPath(import.meta.url)]
    execFileSync(process.execPath, [...own, ...process.argv.slice(2), '--measure', directory], { stdio: 'inherit' })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
