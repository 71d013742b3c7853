/**
 * The shape of `sidestream.yaml`: every group, every option, with meaning, unit and the cost of raising it.
 * Invariant: objects are strict (an unknown key is a problem), and each option carries its description and unit,
 * from which `describeConfig` and `docs/reference/configuration.md` are made.
 */
import { z } from 'zod'
import { log, store } from './config-connections.ts'
import { configDefaults as defaults } from './config-defaults.ts'
import { schemaRegistry } from './config-registry.ts'
import { guard, head, refresh, sequences, views } from './config-learning.ts'
import { count, durationMs, name, option, text } from './config-option.ts'
import { semanticIds } from './config-semantic-ids.ts'
import { training } from './config-training.ts'
import { limits } from './limits.ts'

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
  schemaRegistry,
  store,
  metrics,
  deadLetters,
})

/** Options that may be overridden by the environment: secrets, and where things are. */
export const configEnvironment = [
  { variable: 'SIDESTREAM_DATA_DIR', path: ['dataDir'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_KAFKA_BROKERS', path: ['log', 'kafka', 'brokers'], type: 'list', secret: false },
  { variable: 'SIDESTREAM_KAFKA_USERNAME', path: ['log', 'kafka', 'username'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_KAFKA_PASSWORD', path: ['log', 'kafka', 'password'], type: 'text', secret: true },
  { variable: 'SIDESTREAM_SCHEMA_REGISTRY_URL', path: ['schemaRegistry', 'url'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_SCHEMA_REGISTRY_USERNAME', path: ['schemaRegistry', 'username'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_SCHEMA_REGISTRY_PASSWORD', path: ['schemaRegistry', 'password'], type: 'text', secret: true },
  { variable: 'SIDESTREAM_SCHEMA_REGISTRY_TOKEN', path: ['schemaRegistry', 'token'], type: 'text', secret: true },
  { variable: 'SIDESTREAM_REDIS_NODES', path: ['store', 'redis', 'nodes'], type: 'list', secret: false },
  { variable: 'SIDESTREAM_REDIS_USERNAME', path: ['store', 'redis', 'username'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_REDIS_PASSWORD', path: ['store', 'redis', 'password'], type: 'text', secret: true },
  { variable: 'SIDESTREAM_METRICS_HOST', path: ['metrics', 'host'], type: 'text', secret: false },
  { variable: 'SIDESTREAM_METRICS_PORT', path: ['metrics', 'port'], type: 'integer', secret: false },
  { variable: 'SIDESTREAM_METRICS_TOKEN', path: ['metrics', 'token'], type: 'text', secret: true },
] as const satisfies readonly EnvironmentOverride[]

export interface EnvironmentOverride {
  readonly variable: string
  readonly path: readonly [string, ...string[]]
  /** `list`: parts between commas. */
  readonly type: 'text' | 'integer' | 'list'
  /** A secret's value is never shown, neither in messages nor in `redactConfig`. */
  readonly secret: boolean
}
