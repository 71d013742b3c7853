/**
 * A recipe: how a user brings data in files of their own shape. It says which files, which columns, what times, and
 * holds the configuration that fits the data.
 * Invariant: file names are relative to the data directory and stay inside it.
 */
import { isAbsolute, normalize } from 'node:path'
import { z } from 'zod'
import { findConflicts, invalidConfig, type Config } from './config.ts'
import type { DeepReadonly } from './config-option.ts'
import { configSchema } from './config-options.ts'
import { describeProblems, readYaml } from './problems.ts'

const fileName = z
  .string()
  .min(1)
  .refine((name) => !isAbsolute(name) && !normalize(name).startsWith('..'), 'must be a path inside the data directory')
const column = z.string().min(1)
const timeUnit = z.enum(['s', 'ms', 'us'])
const moment = z.union([
  z.int().min(0),
  z
    .string()
    .regex(/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:?\d\d)$/, 'must be milliseconds or a time with its zone, such as 2017-10-02T00:00:00Z')
    .transform((text) => Date.parse(text))
    .refine((ts) => !Number.isNaN(ts), 'must be a time that exists'),
])
const fileOrder = z.enum(['time', 'any']).default('time').meta({
  description: '`time`: rows are in time order and are streamed; `any`: rows are held in memory (about 200 bytes each) and sorted.',
})

const interactions = z.strictObject({
  file: fileName,
  columns: z
    .strictObject({
      userId: column.default('user_id'),
      itemId: column.default('item_id'),
      ts: column.default('ts'),
      surface: column.optional(),
      dwellMs: column.optional(),
      requestId: column.optional(),
    })
    .prefault({})
    .meta({ description: 'Names of the columns in the file.' }),
  tsUnit: timeUnit.default('ms').meta({ description: 'Unit of the time column.' }),
  behaviors: z
    .union([
      z.strictObject({ column, separator: z.string().min(1).default('|') }),
      z.strictObject({ always: z.array(z.string().min(1)).min(1) }),
    ])
    .default({ column: 'behaviors', separator: '|' })
    .meta({ description: 'A column that names behaviors, or the behaviors that every row stands for.' }),
  order: fileOrder,
})

/** One bound on when an item's content exists; the earliest one that is known counts. */
const timeBound = z.union([
  z.strictObject({ column, unit: timeUnit.default('ms') }).meta({ description: 'A column of the table.' }),
  z.literal('first-interaction'),
])

const contentFromVectors = z.strictObject({
  modalities: z
    .record(
      z.string().regex(/^[a-z0-9_-]{1,64}$/, 'must be 1 to 64 of a-z, 0-9, _ and -'),
      z.strictObject({ file: fileName, ids: fileName.optional(), idColumn: column.optional(), vectorColumn: column.optional() }),
    )
    .refine((value) => Object.keys(value).length > 0, 'must name at least one modality')
    .meta({ description: 'One file of vectors per modality. `ids` names the file of ids of a .f32 or .npy file.' }),
  table: z
    .strictObject({ file: fileName, itemId: column.default('item_id'), labels: z.array(column).default([]), authorId: column.optional() })
    .optional()
    .meta({ description: 'Further columns of items. Labels become `<column>:<value>`.' }),
  time: z
    .strictObject({
      earliestOf: z.array(timeBound).min(1, 'must name at least one bound'),
      offsetMs: z.int().default(0),
      unknown: z.enum(['fail', 'skip']).default('fail'),
    })
    .meta({
      description:
        'When the content of an item exists: the earliest known bound plus `offsetMs`. `unknown`: what to do with an item for which no bound is known.',
    }),
})

const contentFromTable = z.strictObject({ file: fileName.meta({ description: 'A file in the content contract, in time order.' }) })

/** The shape of a recipe file. */
const recipeSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9_-]{1,64}$/, 'must be 1 to 64 of a-z, 0-9, _ and -'),
  title: z.string().min(1),
  detect: z.array(fileName).min(1).meta({ description: 'Files that must all be in a data directory for the recipe to fit it.' }),
  interactions,
  content: z.union([contentFromVectors, contentFromTable]),
  idEmbeddings: z
    .strictObject({ file: fileName, order: fileOrder })
    .optional()
    .meta({ description: 'A file in the id_embeddings contract.' }),
  window: z
    .strictObject({ from: moment.optional(), until: moment.optional() })
    .optional()
    .meta({ description: 'Interactions outside [from, until) are left out, and all that comes after `until`.' }),
  config: configSchema.meta({ description: 'The configuration that fits the data, as in sidestream.yaml.' }),
})

/** A checked recipe. `config` is complete; its `dataDir` is not resolved: the caller chooses one. */
export type Recipe = DeepReadonly<Omit<z.output<typeof recipeSchema>, 'config'>> & { readonly config: Config }

/**
 * Parses and checks the text of a recipe file.
 * @throws SIDESTREAM_CONFIG_INVALID with every problem, one a line
 */
export function parseRecipe(yamlText: string, path?: string): Recipe {
  const yaml = readYaml(yamlText)
  if (yaml.problems.length > 0) throw invalidConfig(yaml.problems, path)
  const value = yaml.value ?? {}
  const result = recipeSchema.safeParse(value)
  if (!result.success) throw invalidConfig(describeProblems(result.error, recipeSchema, value, yaml), path)
  const recipe = result.data
  const conflicts = findConflicts(recipe.config).map((problem) => ({ ...problem, path: `config.${problem.path}` }))
  if ('modalities' in recipe.content) {
    for (const name of Object.keys(recipe.content.modalities)) {
      if (recipe.config.content.modalities[name] === undefined)
        conflicts.push({ path: `content.modalities.${name}`, message: 'has no dimension under config.content.modalities' })
    }
    const needsTable = recipe.content.time.earliestOf.some((bound) => bound !== 'first-interaction')
    if (needsTable && recipe.content.table === undefined)
      conflicts.push({ path: 'content.time.earliestOf', message: 'names a column, so `content.table` is needed' })
  }
  if (conflicts.length > 0) throw invalidConfig(conflicts, path)
  return recipe
}
