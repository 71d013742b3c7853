/** `sidestream demo`: the main job end to end, on a generated world or on a user's own data. */

import { createHash } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { checkConfig, fileExists, recipeFits, SidestreamError } from '../schemas/index.ts'
import type { Recipe, SourceEvent } from '../schemas/index.ts'
import { recipeSource } from '../pipeline/index.ts'
import type { ImportSource } from '../pipeline/index.ts'
import { demoPage } from './demo/page.ts'
import { runDemo } from './demo/run-demo.ts'
import { demoSummary } from './demo/summary.ts'
import { createWorld } from './demo/world.ts'
import { readRecipeFile } from './import.ts'
import { noteLogger } from './logger.ts'
import { plainCommand, wholeNumber } from './options.ts'
import { createOutput } from './output.ts'

interface Options {
  readonly json: boolean
  readonly data?: string
  readonly recipe?: string
  readonly out: string
  readonly seed: number
  readonly partitions: number
  readonly scale: number
  readonly resume: boolean
}

export function demoCommand(): Command {
  return plainCommand('demo', 'Run the main job end to end and write a page about it. Without --data, on a generated world.')
    .option('--data <dir>', 'directory with data of your own; its recipe is found by its files')
    .option('--recipe <file>', 'the recipe of --data')
    .option('--out <dir>', 'where page, report and project data go', 'out/demo')
    .option('--seed <n>', 'seed of the world, the head and the codebooks', wholeNumber('--seed'), 1)
    .option('--partitions <n>', 'partitions of the topics', wholeNumber('--partitions', 1), 2)
    .option('--scale <n>', 'size of the generated world in percent', wholeNumber('--scale', 1), 100)
    .option('--resume', 'go on with what an earlier run left in --out', false)
    .action(async (options: Options) => {
      const output = createOutput(options.json)
      if (options.recipe !== undefined && options.data === undefined) {
        throw new SidestreamError('SIDESTREAM_USAGE_INVALID', '--recipe is the recipe of --data; name the directory as well')
      }
      const out = resolve(options.out)
      await mkdir(out, { recursive: true })
      const subject = options.data === undefined ? generated(options) : await recorded(options.data, options.recipe)
      const dataDir = join(out, 'demo-data')
      const config = checkConfig({ ...subject.config, dataDir, seed: options.seed, log: { partitions: options.partitions } }, { env: {} })
      const report = await runDemo({
        ...subject,
        config,
        seed: options.seed,
        resume: options.resume,
        logger: noteLogger(output.note),
        onNote: (text) => output.note(text),
      })
      const page = join(out, 'report.html')
      await writeFile(page, await demoPage(report))
      await writeFile(join(out, 'report.json'), `${JSON.stringify(report, undefined, 2)}\n`)
      output.result({ ...report, page }, `${demoSummary(report)}\n\nThe page with pictures: ${page}`)
    })
}

interface Subject {
  readonly title: string
  readonly sourceName: string
  readonly source: ImportSource
  /** Configuration without data directory, seed and log. */
  readonly config: object
}

function generated({ seed, scale }: Options): Subject {
  const size = (full: number): number => Math.max(1, Math.round((full * scale) / 100))
  const world = createWorld({ seed, items: size(6000), users: size(4000), interactions: size(120_000) })
  return {
    title: 'sidestream demo',
    sourceName: 'generated world',
    source: {
      identity: async () => createHash('sha256').update(JSON.stringify(world.options)).digest('hex'),
      events: () => inBatches(world.events(), 512),
    },
    config: {
      project: 'demo',
      content: { modalities: world.modalities },
      interactions: { positiveBehaviors: world.positiveBehaviors, otherBehaviors: world.otherBehaviors },
      // A small world has few items per code, so that moving a tenth of them leaves more distortion than in a large one.
      semanticIds: { levels: [64, 64, 64], distortionCeiling: 1.5 },
      refresh: { everyMs: 0 },
      // What tells items apart most in this world is noise to taste, on purpose: near raw neighbors are no goal here.
      guard: { minNeighborRecall: 0.5 },
    },
  }
}

async function* inBatches(events: Iterable<SourceEvent>, size: number): AsyncGenerator<SourceEvent[]> {
  let batch: SourceEvent[] = []
  for (const event of events) {
    batch.push(event)
    if (batch.length < size) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

async function recorded(data: string, recipePath: string | undefined): Promise<Subject> {
  const directory = resolve(data)
  const recipe = recipePath === undefined ? await findRecipe(directory) : await readRecipeFile(recipePath)
  const { dataDir: _dataDir, seed: _seed, log: _log, ...config } = recipe.config
  return {
    title: 'sidestream demo',
    sourceName: recipe.title,
    source: recipeSource(recipe, directory),
    config: { ...config, refresh: { ...config.refresh, everyMs: 0 } },
  }
}

/** The recipe that fits a directory: `recipe.yaml` in it, or one of those that come with sidestream. */
async function findRecipe(directory: string): Promise<Recipe> {
  const own = join(directory, 'recipe.yaml')
  if (await fileExists(own)) return readRecipeFile(own)
  const tried: string[] = []
  for (const examples of [new URL('../examples', import.meta.url), new URL('../../examples', import.meta.url)]) {
    const names = await readdir(examples).catch(() => [])
    for (const name of names) {
      const path = join(fileURLToPath(examples), name, 'recipe.yaml')
      if (!(await fileExists(path))) continue
      const recipe = await readRecipeFile(path)
      if (await recipeFits(recipe, directory)) return recipe
      tried.push(recipe.name)
    }
  }
  throw new SidestreamError(
    'SIDESTREAM_USAGE_INVALID',
    `no recipe fits ${directory} (tried ${tried.join(', ') || 'none'}): write a recipe.yaml into it, or name one with --recipe; examples/globo-news/recipe.yaml is one to copy`,
  )
}
