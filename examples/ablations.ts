/**
 * What each part of training is worth: every row of the table is the example's training with one thing changed.
 * Results are kept in a file as they come, so a run that was cut short goes on where it stopped.
 */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { fillNormal } from '../compute/index.ts'
import { buildTeacherBatch, contentPairs, headDefaults, meanExposures } from '../distill/index.ts'
import type { Head, LossWeights, MinerOptions, SourceOptions, TeacherKind, VectorSet } from '../distill/index.ts'
import { coClickVectors } from './co-click-vectors.ts'
import { spread } from './figures.ts'
import { trainVectors, type TrainingSetup } from './training.ts'

export interface Ablation {
  readonly name: string
  readonly change: (setup: TrainingSetup) => TrainingSetup
}

const trainer = (options: TrainingSetup['trainer']) => (setup: TrainingSetup) => ({ ...setup, trainer: { ...setup.trainer, ...options } })
const head = (options: Partial<TrainingSetup['head']>) => (setup: TrainingSetup) => ({ ...setup, head: { ...setup.head, ...options } })

const withoutPrefixes = (setup: TrainingSetup): TrainingSetup => head({ prefixes: [setup.head.dims ?? headDefaults.dims] })(setup)

/** The input as given: no axes, no spread; with `mean` centered all the same. */
const plainInput =
  ({ mean }: { readonly mean: boolean }) =>
  (setup: TrainingSetup): TrainingSetup => ({
    ...setup,
    statistics: setup.statistics.map((modality) => {
      const axes = new Float32Array(modality.dim ** 2)
      for (let i = 0; i < modality.dim; i++) axes[i * modality.dim + i] = 1
      return {
        ...modality,
        mean: mean ? modality.mean : new Float32Array(modality.dim),
        axes,
        sd: new Float32Array(modality.dim).fill(1),
      }
    }),
  })

const axesWithoutSpread = (setup: TrainingSetup): TrainingSetup => ({
  ...setup,
  statistics: setup.statistics.map((modality) => ({ ...modality, sd: new Float32Array(modality.dim).fill(1) })),
})

/** Replaces parameters whose kind (`P`, `U`, `V`) is named. */
const startOf =
  (kinds: string, fill: (data: Float32Array, rows: number, seed: number, stream: number) => void) =>
  (setup: TrainingSetup): TrainingSetup => ({
    ...setup,
    start: (fresh: Head): Head => ({
      ...fresh,
      parameters: new Map(
        [...fresh.parameters].map(([name, value], stream) => {
          if (!kinds.includes(name.slice(name.lastIndexOf('.') + 1))) return [name, value]
          const data = value.data.slice()
          fill(data, value.dims[0]!, fresh.spec.seed, stream)
          return [name, { ...value, data }]
        }),
      ),
    }),
  })

const randomLinear = startOf('P', (data, rows, seed, stream) => {
  fillNormal(data, seed, stream)
  for (let i = 0; i < data.length; i++) data[i]! /= Math.sqrt(rows)
})

/** Both matrices at zero pass no gradient to each other: the branch never wakes. */
export const linearOnly = startOf('UV', (data) => data.fill(0))

const mainSource = (setup: TrainingSetup): SourceOptions => setup.trainer.sources?.[0] ?? { name: 'seq2item', kind: 'sequences' }

const sourceWith = (options: Partial<SourceOptions>) => (setup: TrainingSetup) =>
  trainer({ sources: [{ ...mainSource(setup), ...options }] })(setup)

const mining = (options: MinerOptions) => (setup: TrainingSetup) => ({ ...setup, mining: options })

const auxiliary =
  (losses: Partial<LossWeights>) =>
  (setup: TrainingSetup): TrainingSetup => ({
    ...trainer({ sources: [mainSource(setup), { name: 'content', kind: 'pairs', losses }] })(setup),
    furtherRows: async (fresh) => ({
      content: await contentPairs(fresh, [...setup.content.keys()], (id) => setup.content.get(id)),
    }),
  })

const kinds: readonly TeacherKind[] = [{ name: 'item', dim: 64, by: 'item' }]

/** ID embeddings of the train rows alone, as a source of their own. */
const idTeachers =
  (weighed: boolean) =>
  (setup: TrainingSetup): TrainingSetup => {
    const liked = new Map<string, Set<string>>()
    for (const { userId, targetId, history } of setup.rows(0, 0)) {
      const own = liked.get(userId) ?? new Set()
      for (const id of [targetId, ...history]) own.add(id)
      liked.set(userId, own)
    }
    const { vectors, users } = coClickVectors(
      [...liked.values()].map((ids) => [...ids]),
      kinds[0]!.dim,
    )
    const mean = meanExposures(users.values())
    const lookup = {
      item: () => ({ labels: [] }),
      embedding: (_entity: string, id: string) => {
        const vector = vectors.get(id)
        return vector && { vector, exposures: users.get(id)!, eventTs: 0 }
      },
      meanExposures: () => mean,
    }
    const rows = [...vectors.keys()].filter((id) => setup.content.has(id)).map((id) => ({ userId: id, targetId: id, history: [] }))
    return {
      ...trainer({ sources: [mainSource(setup), { name: 'id2item', kind: 'ids', entities: kinds }] })(setup),
      furtherRows: () => Promise.resolve({ id2item: rows }),
      teachers: (_source, itemIds) => {
        const rows = itemIds.map((targetId) => ({ targetId }))
        const batch = buildTeacherBatch(rows, lookup, { kinds, endTs: 0 })
        return weighed ? batch : { ...batch, weights: batch.weights.map((weight) => Number(weight > 0)) }
      },
    }
  }

/** The rows of the table that every example can make; `tau` and `maskHistory` are the example's own. */
export function commonAblations({ tau, maskHistory }: { readonly tau: number; readonly maskHistory: boolean }): Ablation[] {
  return [
    { name: 'as it is', change: (setup) => setup },
    { name: 'input neither centered nor half-whitened', change: plainInput({ mean: false }) },
    { name: 'input centered, no axes, not half-whitened', change: plainInput({ mean: true }) },
    { name: 'input on its axes, not half-whitened', change: axesWithoutSpread },
    { name: 'linear map starts at random instead of the axes', change: randomLinear },
    { name: 'no GELU branch', change: linearOnly },
    ...[0.05, 0.1, 0.2].filter((other) => other !== tau).map((other) => ({ name: `tau ${other}`, change: trainer({ tau: other }) })),
    { name: 'tau learned', change: trainer({ tauMode: 'learned' }) },
    { name: 'no Matryoshka prefixes', change: withoutPrefixes },
    { name: `histories ${maskHistory ? 'not masked' : 'masked'}`, change: sourceWith({ maskHistory: !maskHistory }) },
    { name: '+ in-batch negatives masked from lambda* on', change: mining({ perQuery: 0, maskInBatch: true }) },
    { name: '+ 4 hard negatives below lambda*', change: mining({ perQuery: 4, maskInBatch: false }) },
    { name: '+ both', change: mining({ perQuery: 4, maskInBatch: true }) },
    { name: '+ transformer pools histories', change: sourceWith({ pooler: 'transformer' }) },
    { name: '+ content pairs as a second source', change: auxiliary({}) },
    { name: '+ ID embeddings (co-use, 64 dims) as a second source', change: idTeachers(true) },
    { name: '+ the same, each item with the same weight', change: idTeachers(false) },
  ]
}

/** Rows for items of several modalities. */
export const fusionAblations: readonly Ablation[] = [
  { name: '+ modality dropout .2', change: sourceWith({ modalityDropout: 0.2 }) },
  { name: '+ content pairs, without contrast inside modalities', change: auxiliary({ modality: 0 }) },
  { name: '+ content pairs, without late fusion', change: auxiliary({ lateFusion: 0 }) },
]

export const contentPart = (name: string, options: Partial<TrainingSetup['head']>): Ablation => ({ name, change: head(options) })

export interface AblationRun<Column extends string> {
  readonly setup: TrainingSetup
  readonly ablations: readonly Ablation[]
  readonly seeds: readonly number[]
  readonly columns: readonly Column[]
  readonly digits: (column: Column) => number
  readonly evaluate: (set: VectorSet) => Promise<Readonly<Record<Column, number>>>
  /** Where figures are kept, and taken from when they are there. */
  readonly file?: string | undefined
}

/** Runs the rows and prints the table as Markdown. */
export async function runAblations<Column extends string>(run: AblationRun<Column>): Promise<void> {
  const { setup, ablations, seeds, columns, file } = run
  const known: Record<string, Record<string, Record<Column, number>>> = file !== undefined && existsSync(file)
    ? JSON.parse(await readFile(file, 'utf8'))
    : {}
  // Seed by seed: a run that is cut short has every row once before any twice.
  for (const seed of seeds) {
    for (const { name, change } of ablations) {
      const own = (known[name] ??= {})
      if (own[seed] !== undefined) continue
      console.error(`${name}, seed ${seed}`)
      const set = await trainVectors(change(setup), seed)
      const figures = await run.evaluate(set)
      own[seed] = Object.fromEntries(columns.map((column) => [column, figures[column]])) as Record<Column, number>
      if (file !== undefined) await writeFile(file, `${JSON.stringify(known, null, 2)}\n`)
    }
  }
  printTable(run, known)
}

function printTable<Column extends string>(
  { ablations, columns, digits }: AblationRun<Column>,
  known: Readonly<Record<string, Readonly<Record<string, Readonly<Record<Column, number>>>>>>,
): void {
  console.log(`| | seeds | ${columns.join(' | ')} |`)
  console.log(`|---|---|${columns.map(() => '---').join('|')}|`)
  for (const { name } of ablations) {
    const runs = Object.values(known[name] ?? {})
    const cells = columns.map((column) => {
      const { mean, sd } = spread(runs.map((figures) => figures[column]))
      return runs.length > 1 ? `${mean.toFixed(digits(column))} ± ${sd.toFixed(digits(column))}` : mean.toFixed(digits(column))
    })
    console.log(`| ${name} | ${runs.length} | ${cells.join(' | ')} |`)
  }
}
