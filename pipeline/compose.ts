/**
 * The one place that names concrete drivers. No logic here: a branch other than "which driver" belongs in a stage.
 * Invariant: what is opened here is closed by `Project.close`, also when a later open fails.
 */

import { chmod, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Codec, makeDirectory, SchemaRegistryClient, SidestreamError, WriterSchemas } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { Artifacts, LogDriver, MaintenanceReport, RedisStore, State, Store } from '../connectors/index.ts'
import { given, hostAndPort, reach, readPem, readTls } from './connection-options.ts'
import type { Reaching } from './connection-options.ts'
import { lazyLog } from './lazy-log.ts'
import { lazyStore } from './lazy-store.ts'
import { silentLogger } from './project.ts'
import type { Logger, Project, ProjectPorts } from './project.ts'
import { cleanupAdvice, comparisonAdvice, limitAdvice, requireTopics, wantedTopics } from './topics.ts'

export interface ComposeOptions {
  /** @default silent */
  readonly logger?: Logger
  /** Wall clock. @default Date.now */
  readonly clock?: () => number
  /** Told what is waited for while a server is away at the start. @default a warning of the logger */
  readonly onWaiting?: (text: string) => void
  /** Ends the waiting for servers at the start. @default never */
  readonly signal?: AbortSignal
}

/**
 * Opens everything that a configuration names. An embedded log gets the topics that are missing; Kafka must have them.
 * @throws SIDESTREAM_DIRECTORY_IN_USE when another process has the data directory; SIDESTREAM_TOPIC_UNKNOWN and
 * SIDESTREAM_TOPIC_MISMATCH for topics that Kafka lacks or has otherwise; SIDESTREAM_CLOSED when the signal aborts; whatever the
 * drivers throw
 */
export async function openProject(config: Config, options: ComposeOptions = {}): Promise<Project> {
  const { logger = silentLogger, clock = Date.now } = options
  const opened: (() => Promise<void> | void)[] = []
  const close = async (): Promise<void> => {
    for (const step of opened.splice(0).reverse()) await step()
  }
  try {
    const inMemory = config.log.driver === 'memory' && config.store.driver === 'memory'
    await makeDataDirectory(config.dataDir)
    opened.push(await lockDataDirectory(config.dataDir))
    const log = await openLog(config, options)
    opened.push(() => log.close())
    const store = await openStore(config, options)
    opened.push(() => store.close())
    const schemas = await openSchemas(config, clock)
    opened.push(() => schemas.close())
    const admin = await log.admin()
    if (config.log.driver === 'kafka') {
      const found = await requireTopics(admin, config)
      for (const advice of [cleanupAdvice(found, config), limitAdvice(found, config), comparisonAdvice(found)])
        if (advice !== undefined) logger.warn({}, advice)
    } else await admin.createTopics(wantedTopics(config))
    const artifacts = await openProjectArtifacts(config, log, clock)
    return {
      config,
      log,
      store,
      artifacts,
      logger,
      clock,
      codec: new Codec({ schemas, fieldNames: config.schemaRegistry.fields }),
      schemas,
      openState: (name) => openState(config, name, inMemory),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * Log and store on shared servers, for a process that owns nothing of the project and leaves nothing behind. Each is opened by its
 * first use, and throws then as `openProject`.
 */
export function openPorts(config: Config, options: ComposeOptions = {}): ProjectPorts {
  const { logger = silentLogger, clock = Date.now } = options
  const kafka = { name: 'kafka', caps: { transactions: true, compaction: true, groups: 'cluster' } } as const
  const log = lazyLog(kafka, async () => {
    const opened = await openLog(config, options)
    try {
      await requireTopics(await opened.admin(), config)
      return opened
    } catch (error) {
      await opened.close()
      throw error
    }
  })
  const store = lazyStore('redis', () => openStore(config, options))
  const close = async (): Promise<void> => {
    await store.close()
    await log.close()
  }
  return { config, log, store, codec: new Codec(), logger, clock, close }
}

/**
 * Empties a directory that was made for one purpose, or makes it. It must be empty, or carry the mark of that purpose: nobody's
 * data is deleted by a wrong path.
 * @throws SIDESTREAM_USAGE_INVALID for a directory with anything else in it; SIDESTREAM_DIRECTORY_IN_USE while a process has it
 */
export async function clearDirectory(path: string, purpose: string): Promise<void> {
  const mark = `.sidestream-${purpose}`
  const { lockDirectory } = await import('../connectors/index.ts')
  const found: string[] = await readdir(path).catch(() => [])
  if (found.length > 0 && !found.includes(mark)) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      `${path} holds data that no ${purpose} wrote, and is left alone: choose another directory`,
    )
  }
  const lock = lockDirectory(path)
  try {
    for (const name of await readdir(path)) if (name !== 'LOCK') await rm(join(path, name), { recursive: true, force: true })
    await writeFile(join(path, mark), '')
  } finally {
    lock.release()
  }
}

/** Artifacts in a directory: a project's own, or the result of an offline command. */
export async function openArtifacts(directory: string): Promise<Artifacts> {
  const { openArtifactDirectory } = await import('../connectors/index.ts')
  return openArtifactDirectory({ directory })
}

/** A project's own: in its directory, or in a log that processes on other machines read as well. */
async function openProjectArtifacts(config: Config, log: LogDriver, clock: () => number): Promise<Artifacts> {
  if (config.log.driver !== 'kafka') return openArtifacts(join(config.dataDir, 'artifacts'))
  const { artifactLogDefaults, openArtifactLog } = await import('../connectors/index.ts')
  // A chunk's key, names and frame are beside its bytes.
  const chunkBytes = Math.max(256, Math.min(artifactLogDefaults.chunkBytes, config.log.recordBytes - 1024))
  return openArtifactLog({ log, directory: join(config.dataDir, 'artifact-cache'), chunkBytes, clock })
}

/** A new directory is its owner's alone: it will hold what users did. One that is there keeps its mode. */
export async function makeDataDirectory(path: string): Promise<void> {
  if (await makeDirectory(path)) await chmod(path, 0o700)
}

/** Takes the directory for this process. @returns gives it back @throws SIDESTREAM_DIRECTORY_IN_USE */
export async function lockDataDirectory(dataDir: string): Promise<() => void> {
  const { lockDirectory } = await import('../connectors/index.ts')
  return lockDirectory(dataDir).release
}

/** The client of the configured schema registry; undefined when there is none. @throws SIDESTREAM_FILE_UNREADABLE; SIDESTREAM_CONFIG_INVALID for a file that is not PEM */
export async function openRegistry({ schemaRegistry }: Pick<Config, 'schemaRegistry'>): Promise<SchemaRegistryClient | undefined> {
  const { url, username, password, token, caFile, certFile, keyFile, timeoutMs } = schemaRegistry
  if (url === null) return undefined
  const pem = async (file: string | null, option: string): Promise<string | undefined> =>
    file === null ? undefined : readPem(file, `schemaRegistry.${option}`)
  const [ca, cert, key] = await Promise.all([pem(caFile, 'caFile'), pem(certFile, 'certFile'), pem(keyFile, 'keyFile')])
  return new SchemaRegistryClient({
    url,
    username: username ?? undefined,
    password: password ?? undefined,
    token: token ?? undefined,
    ca,
    cert,
    key,
    timeoutMs,
  })
}

async function openSchemas(config: Config, clock: () => number): Promise<WriterSchemas> {
  return new WriterSchemas(await openRegistry(config), { unknownMs: config.schemaRegistry.unknownMs, clock })
}

/** The log alone; it creates no topics. */
export async function openLog(config: Config, options: ComposeOptions = {}): Promise<LogDriver> {
  const { logger = silentLogger, clock = Date.now, signal } = options
  const { openFileLog, openKafkaLog, openMemoryLog } = await import('../connectors/index.ts')
  const { recordBytes, sync, groupCommitMs, groupCommitBytes, segmentBytes, segmentMs, retentionBytes } = config.log
  const { compactionDirtyShare, deleteRetentionMs } = config.log
  const common = { clock, recordLimitBytes: recordBytes }
  const retentionMs = config.log.retentionMs ?? Infinity
  switch (config.log.driver) {
    case 'memory':
      return openMemoryLog({ ...common, retentionMs, deleteRetentionMs })
    case 'kafka': {
      const { brokers, clientId, topicPrefix, topics, sasl, username, password, replicationFactor } = config.log.kafka
      const { compression, sessionTimeoutMs, fetchWaitMs, connectTimeoutMs } = config.log.kafka
      const ssl = await readTls(config.log.kafka, 'log.kafka')
      const login = sasl === 'none' ? undefined : { mechanism: sasl, username: username ?? '', password: password ?? '' }
      const settings = {
        ...common,
        brokers,
        clientId,
        topicPrefix,
        topicNames: topics,
        groupPrefix: topicPrefix,
        ssl,
        sasl: login,
        compression,
        sessionTimeoutMs,
        fetchWaitMs,
        connectTimeoutMs,
        retentionMs: config.log.retentionMs ?? -1, // for ever
        ...given({ replicationFactor }),
        logger,
        signal,
      }
      return reach(reachingOf('log.kafka', connectTimeoutMs, options), (onWaiting) => openKafkaLog({ ...settings, onWaiting }))
    }
    case 'file': {
      const log = await openFileLog({
        ...common,
        directory: join(config.dataDir, 'log'),
        sync,
        groupCommitMs,
        groupCommitBytes,
        segmentBytes,
        segmentMs,
        retentionMs,
        retentionBytes: retentionBytes ?? Infinity,
        compactionDirtyShare,
        deleteRetentionMs,
        onMaintenance: (report) => tellMaintenance(logger, report),
      })
      for (const torn of log.torn) logger.warn(torn, 'an unfinished append at the end of a partition was cut off')
      return log
    }
  }
}

function tellMaintenance(logger: Logger, report: MaintenanceReport): void {
  switch (report.kind) {
    case 'compacted':
      return logger.debug(report, 'a partition was compacted')
    case 'expired':
      return logger.info({ ...report, start: String(report.start) }, 'records past log.retentionMs or log.retentionBytes were removed')
    case 'failed':
      return logger.error(
        { ...report, error: report.error.message },
        'a partition of the log cannot be cleaned up; it is tried again later',
      )
  }
}

/** A store, and what a driver of a server may do besides. */
export type OpenedStore = Store & Partial<Pick<RedisStore, 'inspect' | 'forget'>>

/** The store alone. */
export async function openStore(config: Config, options: ComposeOptions = {}): Promise<OpenedStore> {
  const { clock = Date.now, logger = silentLogger, signal } = options
  const { memoryStore, openLmdbStore, openRedisStore } = await import('../connectors/index.ts')
  switch (config.store.driver) {
    case 'memory':
      return memoryStore({ clock })
    case 'redis': {
      const { nodes, cluster, db, username, password, buckets, connectTimeoutMs, commandTimeoutMs } = config.store.redis
      const tls = await readTls(config.store.redis, 'store.redis')
      const settings = {
        nodes: nodes.map(hostAndPort),
        cluster,
        db,
        connectTimeoutMs,
        commandTimeoutMs,
        ...given({ username, password, buckets }),
        ...(tls !== undefined && { tls }),
        logger,
        signal,
      }
      return reach(reachingOf('store.redis', connectTimeoutMs, options), (onWaiting) => openRedisStore({ ...settings, onWaiting }))
    }
    case 'lmdb':
      return openLmdbStore({ directory: join(config.dataDir, 'store'), clock, mapSizeBytes: config.store.mapSizeBytes })
  }
}

function reachingOf(
  group: Reaching['group'],
  connectTimeoutMs: number,
  { logger = silentLogger, onWaiting = (text) => logger.warn({}, text) }: ComposeOptions,
): Reaching {
  return { group, connectTimeoutMs, onWaiting }
}

async function openState(config: Config, name: string, inMemory: boolean): Promise<State> {
  const { memoryState, openLmdbState } = await import('../connectors/index.ts')
  return inMemory ? memoryState() : openLmdbState({ directory: join(config.dataDir, 'state', name) })
}
