/**
 * The shape of `sidestream.yaml`: every group, every option, with meaning, unit and the cost of raising it.
 * Invariant: objects are strict (an unknown key is a problem), and each option carries its description and unit,
 * from which `describeConfig` and `docs/reference/configuration.md` are made.
 */
import { z } from 'zod'
import { configDefaults as defaults } from './config-defaults.ts'
import { limits } from './limits.ts'

const namePattern = /^[a-z0-9_-]{1,64}$/

/** A name that stands in store keys, file names and topics. */
const name = z.string().regex(namePattern, 'must be 1 to 64 of a-z, 0-9, _ and -')
const text = z
  .string()
  .refine((value) => value !== '' && Buffer.byteLength(value) <= limits.textBytes, `must be 1 to ${limits.textBytes} bytes`)
const count = z.int().min(1)
const durationMs = z.int().min(0)
const bytes = z.int().min(1)
const share = z.number().min(0).max(1)

/** An option that need not be given. */
function option<T extends z.ZodType>(schema: T, value: unknown, description: string, unit?: string): z.ZodDefault<T> {
  return schema.default(value as never).meta(unit === undefined ? { description } : { description, unit })
}

const log = z
  .strictObject({
    driver: option(
      z.enum(['file', 'memory']),
      defaults.log.driver,
      'Where the topics live: `file` keeps framed, checksummed segments under `dataDir`; `memory` forgets all at exit.',
    ),
    partitions: option(
      count.max(1024),
      defaults.log.partitions,
      'Partitions of every topic of kind `many`. More: more lanes in parallel and more open files. Fixed once the data directory exists.',
      'partitions',
    ),
    sync: option(
      z.enum(['always', 'group', 'none']),
      defaults.log.sync,
      '`group` acknowledges after an fdatasync shared by many appends; `always` syncs each append (about 2 ms each); `none` leaves it to the operating system and can lose the last second on a power cut.',
    ),
    groupCommitMs: option(
      durationMs.max(1000),
      defaults.log.groupCommitMs,
      'Longest wait before a group is synced. Higher: fewer syncs, later acknowledgments.',
      'ms',
    ),
    groupCommitBytes: option(
      bytes,
      defaults.log.groupCommitBytes,
      'A group is synced early when it holds this much. Higher: fewer syncs under load, more memory.',
      'bytes',
    ),
    segmentBytes: option(
      bytes.min(65_536),
      defaults.log.segmentBytes,
      'Size at which a new segment file is begun. Higher: fewer files, a longer scan of the last one at start.',
      'bytes',
    ),
    recordBytes: option(
      bytes.min(1024).max(limits.recordBytes),
      defaults.log.recordBytes,
      'Largest record value taken. Larger records become dead letters. Higher: more memory per read.',
      'bytes',
    ),
  })
  .prefault({})
  .meta({ description: 'The log of topics.' })

const store = z
  .strictObject({
    driver: option(
      z.enum(['lmdb', 'memory']),
      defaults.store.driver,
      'Where published features live: `lmdb` under `dataDir`; `memory` forgets all at exit.',
    ),
    maxBytes: option(
      bytes,
      defaults.store.maxBytes,
      'Most bytes that all versions not yet gone may take together. A build that would pass it is refused before it writes. Higher: more disk.',
      'bytes',
    ),
    mapSizeBytes: option(
      bytes.min(1_048_576),
      defaults.store.mapSizeBytes,
      'Address space reserved for each LMDB environment; must be above `maxBytes`. Costs no disk or memory until used.',
      'bytes',
    ),
    buckets: option(
      count.max(65_536),
      defaults.store.buckets,
      'Buckets of a version, chosen when it is created. More: smaller hashes, more commands per batch read.',
      'buckets',
    ),
    graceMs: option(
      durationMs,
      defaults.store.graceMs,
      'How long a version stays readable after it was last live or pinned. Higher: safer for slow readers, more disk.',
      'ms',
    ),
    keepVersions: option(
      z.int().min(0).max(64),
      defaults.store.keepVersions,
      'Earlier versions kept ready for rollback. Each costs the disk of a whole version, and writes while in the rollback window.',
      'versions',
    ),
    deleteRetentionMs: option(
      durationMs,
      defaults.store.deleteRetentionMs,
      'How long the tombstone of a deleted item is kept, so that an older write cannot bring it back. Higher: more disk.',
      'ms',
    ),
  })
  .prefault({})
  .meta({ description: 'The online feature store.' })

const modality = z.strictObject({
  dim: count.max(limits.dim).meta({
    description: 'Dimension of this modality. A vector of another dimension becomes a dead letter.',
    unit: 'dims',
  }),
})

const content = z
  .strictObject({
    modalities: z
      .record(name, modality)
      .refine((value) => Object.keys(value).length > 0, 'must name at least one modality, such as `text: { dim: 256 }`')
      .refine((value) => Object.keys(value).length <= limits.modalities, `must name at most ${limits.modalities} modalities`)
      .meta({ description: 'The content vectors that an item may have, by name. An item may lack some, never all.' }),
  })
  .meta({ description: 'What items consist of.' })

const interactions = z
  .strictObject({
    positiveBehaviors: z
      .array(text)
      .min(1, 'must name at least one behavior that counts as liking')
      .max(limits.behaviors)
      .meta({ description: 'Behaviors that count as liking: they make training samples and user histories.' }),
    otherBehaviors: option(
      z.array(text).max(limits.behaviors),
      defaults.interactions.otherBehaviors,
      'Further behaviors that are known and kept, but make no samples.',
    ),
    unknownBehaviors: option(
      z.enum(['dead-letter', 'accept']),
      defaults.interactions.unknownBehaviors,
      'What happens to an interaction with a behavior that is in neither list: `dead-letter` sets it aside with its reason, `accept` keeps it as a behavior that is not positive.',
    ),
    maxFutureMs: option(
      durationMs,
      defaults.interactions.maxFutureMs,
      'How far an event time may be ahead of the time its record was logged. Later ones become dead letters. Higher: one wrong clock can hold up or skew more of the training rounds.',
      'ms',
    ),
  })
  .meta({ description: 'What users do with items.' })

const sequences = z
  .strictObject({
    events: option(
      count.max(limits.history),
      defaults.sequences.events,
      'Newest events kept per user. Higher: more disk per user and larger changelog chunks.',
      'events',
    ),
    history: option(
      count.max(limits.history),
      defaults.sequences.history,
      'Items of the history in one sample, newest before the target. Higher: longer training steps.',
      'items',
    ),
  })
  .prefault({})
  .meta({ description: 'Per-user sequences.' })

const head = z
  .strictObject({
    dim: option(count.max(4096), defaults.head.dim, 'Dimension of the distilled part. Higher: larger values, slower training.', 'dims'),
    prefixes: option(
      z.array(count.max(4096)).min(1).max(16),
      defaults.head.prefixes,
      'Matryoshka prefixes of the distilled part that are trained to stand alone, ascending, the last equal to `dim`. Each adds one loss term.',
      'dims',
    ),
    contentDims: option(
      count.max(limits.dim).nullable(),
      defaults.head.contentDims,
      'Dimension of the content part beside the distilled part, split evenly over modalities; null: as many as `dim`. Higher: larger values, more of the raw geometry kept.',
      'dims',
    ),
    contentShare: option(
      share,
      defaults.head.contentShare,
      'Share of the squared length given to the content part. Higher: safer for cold items, less of what users do.',
    ),
    hidden: option(
      count.max(8192),
      defaults.head.hidden,
      'Width of the hidden layer of each modality. Higher: slower training and encoding.',
      'units',
    ),
  })
  .prefault({})
  .meta({ description: 'The head: the small network from content vectors to the embedding.' })

const training = z
  .strictObject({
    roundMs: option(
      durationMs.min(1000),
      defaults.training.roundMs,
      'Event time of one training round. Higher: fewer, larger rounds; later learning.',
      'ms',
    ),
    latenessMs: option(
      durationMs,
      defaults.training.latenessMs,
      'How far the watermark stays behind the newest event time. Higher: fewer late rows, later rounds.',
      'ms',
    ),
    idleMs: option(
      durationMs.min(100),
      defaults.training.idleMs,
      'After this long without records an idle partition is advanced by a logged tick, so that it holds up no round. Higher: later rounds when a partition is quiet.',
      'ms',
    ),
    batch: option(
      count.min(2).max(65_536),
      defaults.training.batch,
      'Rows of one step, and so in-batch negatives per row. Higher: more memory, time grows with its square.',
      'rows',
    ),
    temperature: option(
      z.number().min(0.001).max(10),
      defaults.training.temperature,
      'Scale of similarities in the contrastive loss. Lower favors warm items, higher favors cold items.',
    ),
    learningRate: option(
      z.number().gt(0).max(1),
      defaults.training.learningRate,
      'Peak step size of AdamW. Higher: faster, and less stable.',
    ),
    warmupSteps: option(
      z.int().min(0),
      defaults.training.warmupSteps,
      'Steps in which the rate rises from 0 to its peak. Higher: a slower start.',
      'steps',
    ),
    weightDecay: option(
      z.number().min(0).max(1),
      defaults.training.weightDecay,
      'Decay of weight matrices per step, times the rate. Higher: closer to the start.',
    ),
    clipNorm: option(
      z.number().gt(0),
      defaults.training.clipNorm,
      'Largest norm of the whole gradient. Higher: fewer steps are cut, outliers weigh more.',
    ),
    epochs: option(
      count.max(1000),
      defaults.training.epochs,
      'Passes of the offline command `distill` over its samples. Streaming rounds make one. Higher: proportionally longer.',
      'passes',
    ),
    threads: option(
      count.max(256),
      defaults.training.threads,
      'Threads of the training session. Equal weights are promised for an equal count.',
      'threads',
    ),
  })
  .prefault({})
  .meta({ description: 'Training of the head.' })

const semanticIds = z
  .strictObject({
    view: option(
      name.nullable(),
      defaults.semanticIds.view,
      'The view whose published vectors are quantized; null: the first one under `views`.',
    ),
    levels: option(
      z.array(count.min(2).max(65_536)).min(1).max(16),
      defaults.semanticIds.levels,
      'Codes per level, first level first. More codes or levels: finer IDs, more items needed, slower fit.',
      'codes',
    ),
    normalize: option(z.boolean(), defaults.semanticIds.normalize, 'Whether vectors are brought to unit length before they are quantized.'),
    iterations: option(
      count.max(1000),
      defaults.semanticIds.iterations,
      'Rounds of k-means per level. Higher: slower fit, slightly less distortion.',
      'rounds',
    ),
    rowsPerCode: option(
      count.max(10_000),
      defaults.semanticIds.rowsPerCode,
      'Items wanted per code of the largest level before the first codebooks are fitted. Higher: a later first version, better first codebooks.',
      'items',
    ),
    churnBudget: option(
      share,
      defaults.semanticIds.churnBudget,
      'Largest share of items whose semantic ID may change in a refresh. Higher: less distortion, more churn for consumers.',
    ),
    distortionCeiling: option(
      z.number().min(1),
      defaults.semanticIds.distortionCeiling,
      'Most distortion after a refresh, relative to a free fit on the same vectors. Above it a re-base is declared instead of silent decay. Higher: re-bases are rarer, IDs describe items less well.',
    ),
    seed: option(
      z.int().min(0).max(0xffff_ffff).nullable(),
      defaults.semanticIds.seed,
      'Seed of the k-means start; null: the seed of the project.',
    ),
  })
  .prefault({})
  .meta({ description: 'Residual-quantized semantic IDs.' })

const view = z.strictObject({
  prefix: option(
    z.union([z.literal('full'), count.max(4096)]),
    defaults.views.main.prefix,
    'Which Matryoshka prefix of the distilled part the view publishes, beside the matching share of the content part: one of `head.prefixes`, or `full`.',
    'dims',
  ),
  dtype: option(
    z.enum(['f32', 'f16', 'i8']),
    defaults.views.main.dtype,
    'Number type of published vectors: 4, 2 or 1 bytes per dimension; `i8` has one scale per vector.',
  ),
})

const views = z
  .record(name, view)
  .refine((value) => Object.keys(value).length > 0, 'must name at least one view, such as `main: {}`')
  .refine((value) => Object.keys(value).length <= 16, 'must name at most 16 views')
  .default(defaults.views as never)
  .meta({ description: 'Published feature sets, by name. Each costs its own bytes per item.' })

const refresh = z
  .strictObject({
    everyMs: option(
      durationMs,
      defaults.refresh.everyMs,
      'Event time between scheduled refreshes; 0: only by command. Lower: fresher IDs and heads, more building.',
      'ms',
    ),
    bootstrapMs: option(
      durationMs,
      defaults.refresh.bootstrapMs,
      'Event time of item-content after which version 1 is built even if fewer items have arrived than the codebooks want.',
      'ms',
    ),
    evalWindowMs: option(
      durationMs.min(1000),
      defaults.refresh.evalWindowMs,
      'Event time after a checkpoint on which it is judged. Higher: surer judgment, later switch.',
      'ms',
    ),
    rollbackWindowMs: option(
      durationMs,
      defaults.refresh.rollbackWindowMs,
      'How long a kept version goes on receiving updates, so that a rollback is instant. Higher: more writing.',
      'ms',
    ),
  })
  .prefault({})
  .meta({ description: 'When new versions are built.' })

const guard = z
  .strictObject({
    mode: option(
      z.enum(['enforce', 'report']),
      defaults.guard.mode,
      '`enforce` refuses a candidate that fails a clause; `report` only says so.',
    ),
    contentRecallLoss: option(
      z.number().min(0).max(100),
      defaults.guard.contentRecallLoss,
      'Most recall@50 on held-out content pairs that may be lost against the raw vectors. Higher: more content geometry may be traded away.',
      'points',
    ),
    minNeighborRecall: option(
      share,
      defaults.guard.minNeighborRecall,
      'Without held-out pairs: least recall@50 of the ten nearest raw neighbors of each item. Higher: stricter.',
    ),
    popAucTolerance: option(
      share,
      defaults.guard.popAucTolerance,
      'Most that warm or cold popularity-weighted AUC may fall below its reference. Higher: more lenient.',
    ),
    recallTolerance: option(
      share,
      defaults.guard.recallTolerance,
      'Most that recall@10 may fall below its reference. Higher: more lenient.',
    ),
    minEvents: option(
      z.int().min(0),
      defaults.guard.minEvents,
      'Below this many events a clause says `insufficient` and passes with a warning. Higher: surer, silent for longer.',
      'events',
    ),
  })
  .prefault({})
  .meta({ description: 'The guard on every candidate version.' })

const metrics = z
  .strictObject({
    host: option(z.string().min(1), defaults.metrics.host, 'Address that the metrics and health pages listen on.'),
    port: option(z.int().min(0).max(65_535), defaults.metrics.port, 'Port of the metrics and health pages; 0: they are off.'),
    token: option(
      z.string().min(8).nullable(),
      defaults.metrics.token,
      'When set, metrics need `Authorization: Bearer <token>`. A secret: give it by environment.',
    ),
  })
  .prefault({})
  .meta({ description: 'Metrics and health over HTTP.' })

const deadLetters = z
  .strictObject({
    valueBytes: option(
      z.int().min(0).max(900_000),
      defaults.deadLetters.valueBytes,
      'Most bytes of a failed record kept in its dead letter; longer values are cut, and the reason says so. Higher: more disk.',
      'bytes',
    ),
  })
  .prefault({})
  .meta({ description: 'Records that could not be processed.' })

/** The whole file. Rules between options are in `config.ts`. */
export const configSchema = z.strictObject({
  project: option(name, defaults.project, 'Name of the project; part of every store key.'),
  dataDir: option(
    z.string().min(1),
    defaults.dataDir,
    'Directory of log, state, store and artifacts; relative to the configuration file. One process owns it.',
  ),
  seed: option(z.int().min(0).max(0xffff_ffff), defaults.seed, 'Seed of everything random: start of the head, order of rows, k-means.'),
  content,
  interactions,
  views,
  head,
  training,
  sequences,
  semanticIds,
  refresh,
  guard,
  log,
  store,
  metrics,
  deadLetters,
})

/** Options that may be overridden by the environment: secrets, and where things are. */
export const configEnvironment = [
  { variable: 'SIDESTREAM_DATA_DIR', path: ['dataDir'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_METRICS_HOST', path: ['metrics', 'host'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_METRICS_PORT', path: ['metrics', 'port'], type: 'integer', secret: false },
  { variable: 'SIDESTREAM_METRICS_TOKEN', path: ['metrics', 'token'], type: 'text', secret: true },
] as const satisfies readonly EnvironmentOverride[]

export interface EnvironmentOverride {
  readonly variable: string
  readonly path: readonly [string, ...string[]]
  readonly type: 'text' | 'integer'
  /** A secret's value is never shown, neither in messages nor in `redactConfig`. */
  readonly secret: boolean
}
