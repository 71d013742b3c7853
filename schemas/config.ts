/**
 * `sidestream.yaml`: parsed once, at the edge. Inside, rooms take plain typed options.
 * Invariant: a `Config` has passed every rule here, and every option has a value.
 */
import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import { configEnvironment, configSchema } from './config-options.ts'
import type { DeepReadonly } from './config-option.ts'
import { registryConflicts } from './config-registry.ts'
import { semanticIdConflicts } from './config-semantic-ids.ts'
import { trainingConflicts } from './config-training.ts'
import { SidestreamError } from './errors.ts'
import { topics } from './topics.ts'
import { describeProblems, pathText, readYaml, type Problem } from './problems.ts'

/** The parsed configuration; meanings and units are in `config-options.ts` and `docs/reference/configuration.md`. */
export type Config = DeepReadonly<z.output<typeof configSchema>>
/** The configuration as a user writes it: what has a default may be left out. */
export type ConfigInput = DeepReadonly<z.input<typeof configSchema>>

export interface ConfigSource {
  /** Environment to take overrides from. @default {} */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Path of the file, for messages and for a relative `dataDir`. @default none: relative to the working directory */
  readonly path?: string
}

/**
 * Parses and checks the text of a configuration file.
 * @throws SIDESTREAM_CONFIG_INVALID with every problem, one a line, as `path: problem (got …)`
 */
export function parseConfig(yamlText: string, source: ConfigSource = {}): Config {
  const yaml = readYaml(yamlText)
  if (yaml.problems.length > 0) throw invalidConfig(yaml.problems, source.path)
  return checkConfig(yaml.value ?? {}, source, yaml)
}

/**
 * Checks a configuration that was made in code, such as a recipe's or a test's.
 * @throws SIDESTREAM_CONFIG_INVALID as `parseConfig` does
 */
export function checkConfig(
  input: unknown,
  source: ConfigSource = {},
  { lineOf }: { lineOf(path: readonly PropertyKey[]): number | undefined } = { lineOf: () => undefined },
): Config {
  const { value, problems } = withEnvironment(input, source.env ?? {})
  if (problems.length > 0) throw invalidConfig(problems, source.path)
  const result = configSchema.safeParse(value)
  if (!result.success) throw invalidConfig(describeProblems(result.error, configSchema, value, { lineOf }, isSecret), source.path)
  const config = result.data
  const conflicts = findConflicts(config)
  if (conflicts.length > 0) throw invalidConfig(conflicts, source.path)
  const base = source.path === undefined ? '.' : dirname(source.path)
  const { log, schemaRegistry, store } = config
  return {
    ...config,
    dataDir: resolve(base, config.dataDir),
    log: { ...log, kafka: withFiles(log.kafka, base) },
    schemaRegistry: withFiles(schemaRegistry, base),
    store: { ...store, redis: withFiles(store.redis, base) },
  }
}

/** The same connection with its certificate files relative to where the configuration is. */
function withFiles<T extends { caFile: string | null; certFile: string | null; keyFile: string | null }>(connection: T, base: string): T {
  const at = (file: string | null): string | null => (file === null ? null : resolve(base, file))
  return { ...connection, caFile: at(connection.caFile), certFile: at(connection.certFile), keyFile: at(connection.keyFile) }
}

/** The configuration with secrets hidden, for logs and `--json`. */
export function redactConfig(config: Config): Config {
  const copy = structuredClone(config) as Record<string, unknown>
  for (const { path, secret } of configEnvironment) {
    const holder = path.slice(0, -1).reduce((group, key) => group[key] as Record<string, unknown>, copy)
    const key = path.at(-1)!
    if (secret && holder[key] !== null) holder[key] = '(hidden)'
  }
  return copy as Config
}

/** Dimensions of a view: distilled part, content part beside it, and the published vector. */
export interface ViewDims {
  readonly distilled: number
  readonly content: number
  readonly total: number
}

/** Content dims of the whole head: `head.contentDims`, or as many as `head.dim`; never more than the modalities have. */
export function contentDims({ head, content }: Pick<Config, 'head' | 'content'>): number {
  if (head.contentShare === 0) return 0
  const most = Object.values(content.modalities).reduce((sum, { dim }) => sum + dim, 0)
  return Math.min(head.contentDims ?? head.dim, most)
}

/** Dimensions that the view `name` publishes: D_k and C_k = round(D_k * contentDims / dim). */
export function viewDims(config: Pick<Config, 'head' | 'views' | 'content'>, name: string): ViewDims {
  const view = config.views[name]
  if (view === undefined)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `no view \`${name}\`; there are: ${Object.keys(config.views).join(', ')}`, {
      view: name,
    })
  const distilled = view.prefix === 'full' ? config.head.dim : view.prefix
  const content = Math.round((distilled * contentDims(config)) / config.head.dim)
  return { distilled, content, total: distilled + content }
}

/** Name of the view that owns the semantic IDs. */
export function semanticIdView(config: Pick<Config, 'semanticIds' | 'views'>): string {
  return config.semanticIds.view ?? Object.keys(config.views)[0]!
}

/** Rules between options, each with the path where it is to be mended. */
export function findConflicts(config: Config): Problem[] {
  const problems: Problem[] = []
  const report = (path: string, message: string): void => void problems.push({ path, message })
  const { head, views, semanticIds, store, interactions, sequences, content } = config
  const idView = semanticIdView(config)
  const viewDim = views[idView] === undefined ? undefined : viewDims(config, idView).total
  problems.push(
    ...connectionConflicts(config),
    ...trainingConflicts(config.training, {
      sets: sequences.sets,
      dim: head.dim,
      prefixes: head.prefixes,
      modalities: Object.keys(content.modalities),
    }),
    ...registryConflicts(config.schemaRegistry, Object.keys(content.modalities)),
    ...semanticIdConflicts(semanticIds, viewDim),
  )

  if (head.prefixes.some((prefix, i) => i > 0 && prefix <= head.prefixes[i - 1]!))
    report('head.prefixes', `must be ascending (got ${head.prefixes.join(', ')})`)
  if (head.prefixes[head.prefixes.length - 1] !== head.dim)
    report('head.prefixes', `must end with head.dim, which is ${head.dim} (got ${head.prefixes.join(', ')})`)
  const modalities = Object.keys(content.modalities).length
  if (head.contentShare > 0 && contentDims(config) < modalities)
    report('head.contentDims', `must be at least one for each of the ${modalities} modalities (got ${contentDims(config)})`)
  for (const [name, view] of Object.entries(views)) {
    if (view.prefix !== 'full' && !head.prefixes.includes(view.prefix))
      report(`views.${name}.prefix`, `must be \`full\` or one of head.prefixes, ${head.prefixes.join(', ')} (got ${view.prefix})`)
  }
  if (semanticIds.view !== null && views[semanticIds.view] === undefined)
    report('semanticIds.view', `must be one of the views ${Object.keys(views).join(', ')} (got ${semanticIds.view})`)
  if (store.driver === 'lmdb' && store.mapSizeBytes < store.maxBytes)
    report('store.mapSizeBytes', `must be at least store.maxBytes, ${store.maxBytes} (got ${store.mapSizeBytes})`)
  const both = interactions.otherBehaviors.filter((behavior) => interactions.positiveBehaviors.includes(behavior))
  if (both.length > 0) report('interactions.otherBehaviors', `must not repeat positive behaviors (got ${both.join(', ')})`)
  const cutFrom = sequences.contentCutFrom
  const cutSource = cutFrom === null ? undefined : config.training.sources[cutFrom]
  if (cutFrom !== null && (cutSource?.kind !== 'pairs' || cutSource.scored))
    report('sequences.contentCutFrom', `must name a source of pairs without scores of training.sources (got ${cutFrom})`)
  if (cutFrom !== null && sequences.contentCut !== null) report('sequences.contentCutFrom', 'excludes `contentCut`: give one of them')
  if (sequences.history >= sequences.events)
    report(
      'sequences.history',
      `must be below sequences.events, ${sequences.events}, since the target is one more event (got ${sequences.history})`,
    )
  return problems
}

/** What the chosen drivers need, and what makes no sense together. */
function connectionConflicts({ log, store }: Config): Problem[] {
  const problems: Problem[] = []
  const report = (path: string, message: string): void => void problems.push({ path, message })
  const { kafka } = log
  const { redis } = store
  if (log.driver === 'kafka' && kafka.brokers.length === 0)
    report('log.kafka.brokers', 'must name at least one broker as host:port, or be given by SIDESTREAM_KAFKA_BROKERS')
  if (kafka.sasl !== 'none' && (kafka.username === null || kafka.password === null))
    report('log.kafka.sasl', `needs username and password (SIDESTREAM_KAFKA_USERNAME, SIDESTREAM_KAFKA_PASSWORD) (got ${kafka.sasl})`)
  if (kafka.sasl === 'none' && kafka.password !== null)
    report('log.kafka.sasl', 'must say how to log in when a password is given: plain, scram-sha-256 or scram-sha-512 (got none)')
  const known = topics.map(({ name }) => name)
  for (const topic of Object.keys(kafka.topics)) {
    if (!known.some((name) => name === topic))
      report('log.kafka.topics', `must name topics of ours, ${known.join(', ')} (got ${JSON.stringify(topic)})`)
  }
  const physical = known.map((name) => kafka.topics[name] ?? kafka.topicPrefix + name)
  for (const name of new Set(physical.filter((one, i) => physical.indexOf(one) !== i)))
    report('log.kafka.topics', `must give every topic a name of its own (got ${name} twice)`)
  if (store.driver === 'redis' && redis.nodes.length === 0)
    report('store.redis.nodes', 'must name at least one node as host:port, or be given by SIDESTREAM_REDIS_NODES')
  if (!redis.cluster && redis.nodes.length > 1)
    report('store.redis.nodes', `must be one node unless \`cluster\` is true (got ${redis.nodes.length})`)
  if (redis.cluster && redis.db !== 0) report('store.redis.db', `must be 0 in a cluster (got ${redis.db})`)
  for (const [path, { tls, caFile, certFile, keyFile, servername }] of [
    ['log.kafka', kafka],
    ['store.redis', redis],
  ] as const) {
    if (!tls && (caFile ?? certFile ?? keyFile) !== null) report(`${path}.tls`, 'must be true when certificates are given (got false)')
    if (!tls && servername !== null) report(`${path}.tls`, 'must be true when a `servername` is given (got false)')
    if ((certFile === null) !== (keyFile === null)) report(`${path}.certFile`, 'and keyFile must be given together')
  }
  return problems
}

function isSecret(path: string): boolean {
  return configEnvironment.some((override) => override.secret && pathText(override.path) === path)
}

function withEnvironment(input: unknown, env: Readonly<Record<string, string | undefined>>): { value: unknown; problems: Problem[] } {
  const given = configEnvironment.filter(({ variable }) => env[variable] !== undefined && env[variable] !== '')
  if (given.length === 0 || typeof input !== 'object' || input === null || Array.isArray(input)) return { value: input, problems: [] }
  const value = { ...(input as Record<string, unknown>) }
  const problems: Problem[] = []
  for (const { variable, path, type } of given) {
    const text = env[variable]!
    if (type === 'integer' && !/^\d{1,15}$/.test(text)) {
      problems.push({ path: variable, message: `must be a whole number (got ${JSON.stringify(text)})` })
      continue
    }
    const list = type === 'list' ? text.split(',').map((part) => part.trim()) : undefined
    setPath(value, path, list ?? (type === 'integer' ? Number(text) : text))
  }
  return { value, problems }
}

/** Sets a value deep in `holder`, which is copied on the way; a part of the path that is no group is left for the schema to refuse. */
function setPath(holder: Record<string, unknown>, [key, ...rest]: readonly string[], leaf: unknown): void {
  if (rest.length === 0) {
    holder[key!] = leaf
    return
  }
  const inner = holder[key!]
  if (inner !== undefined && (typeof inner !== 'object' || inner === null || Array.isArray(inner))) return
  const copy = { ...inner } as Record<string, unknown>
  holder[key!] = copy
  setPath(copy, rest, leaf)
}

/** SIDESTREAM_CONFIG_INVALID that lists `problems`, one a line. */
export function invalidConfig(problems: readonly Problem[], path: string | undefined): SidestreamError {
  const lines = problems.map((problem) => `  ${problem.path}: ${problem.message}`)
  const where = path === undefined ? 'the configuration' : path
  const message = `${where} has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${lines.join('\n')}`
  return new SidestreamError('SIDESTREAM_CONFIG_INVALID', message, { path, problems })
}
