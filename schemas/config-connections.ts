/**
 * The groups `log` and `store` of `sidestream.yaml`: where topics and features live, and how their servers are reached.
 * Invariant: passwords may come from the environment alone; every other option has its place here.
 */
import { z } from 'zod'
import { configDefaults as defaults } from './config-defaults.ts'
import { bytes, count, durationMs, option, share } from './config-option.ts'
import { limits } from './limits.ts'

const address = z.string().regex(/^(\[[0-9A-Fa-f:.]+\]|[^\s:/@[\]]+):\d{1,5}$/, 'must be host:port')
const hostName = z.string().regex(/^(?![\d.]+$)[A-Za-z0-9._-]{1,253}$/, 'must be a host name, without a port, and no IP address')
const topicName = z.string().regex(/^[A-Za-z0-9._-]{1,249}$/, 'must be 1 to 249 letters, digits, ".", "_" or "-"')
const file = z.string().min(1).nullable()

/** How a connection is encrypted: the same options for every server. */
function tlsOptions(server: 'kafka' | 'redis', of: { tls: boolean; caFile: null; certFile: null; keyFile: null; servername: null }) {
  const what = server === 'kafka' ? 'brokers' : 'Redis nodes'
  return {
    tls: option(z.boolean(), of.tls, `Whether connections to the ${what} are encrypted and their certificates checked.`),
    caFile: option(
      file,
      of.caFile,
      `PEM file of the authorities that sign the certificates of the ${what}, relative to the configuration file; null: those that Node trusts.`,
    ),
    certFile: option(file, of.certFile, 'PEM file of the certificate to show, where the server asks for one.'),
    keyFile: option(file, of.keyFile, 'PEM file of the key of `certFile`.'),
    servername: option(
      hostName.nullable(),
      of.servername,
      `Name that the certificates of the ${what} must have, where they are reached by another: by an address, or through a tunnel. One for all of them; null: the host that is connected to.`,
    ),
  }
}

const username = (value: null, server: string) => option(z.string().min(1).nullable(), value, `User name for ${server}.`)
const password = (value: null, server: string) =>
  option(z.string().min(1).nullable(), value, `Password for ${server}. A secret: give it by environment.`)

const of = defaults.log.kafka
const kafka = z
  .strictObject({
    brokers: option(z.array(address).max(64), of.brokers, 'Addresses to find the cluster by, `host:port`. Needed with the driver `kafka`.'),
    clientId: option(z.string().min(1).max(128), of.clientId, 'Name that the brokers see in their logs and quotas.'),
    topicPrefix: option(
      z.string().regex(/^[A-Za-z0-9._-]{0,128}$/, 'must be at most 128 letters, digits, ".", "_" or "-"'),
      of.topicPrefix,
      'Put before the name of every topic and group, so that several projects can share a cluster.',
    ),
    topics: option(
      z.record(z.string(), topicName),
      of.topics,
      'Names of topics that exist under a name of their own, such as `interactions: shop.clicks`. They win over `topicPrefix`.',
    ),
    ...tlsOptions('kafka', of),
    sasl: option(
      z.enum(['none', 'plain', 'scram-sha-256', 'scram-sha-512']),
      of.sasl,
      'How to log in. `plain` sends the password itself: use it only with `tls`.',
    ),
    username: username(of.username, 'the brokers'),
    password: password(of.password, 'the brokers'),
    replicationFactor: option(
      z.int().min(1).max(32).nullable(),
      of.replicationFactor,
      'Copies of each topic that `doctor --create-topics` makes; null: what the cluster has as its default.',
      'copies',
    ),
    compression: option(
      z.enum(['none', 'gzip']),
      of.compression,
      'How records are written. gzip, snappy, lz4 and zstd are read whatever this says. `gzip`: less network and disk, more CPU.',
    ),
    sessionTimeoutMs: option(
      durationMs.min(1000),
      of.sessionTimeoutMs,
      'Silence after which the cluster gives the partitions of a process to another. Higher: fewer needless moves, longer gaps after a crash.',
      'ms',
    ),
    fetchWaitMs: option(
      durationMs.min(1).max(5000),
      of.fetchWaitMs,
      'Longest wait of a fetch for new records. Higher: fewer requests when idle, slower joins and stops.',
      'ms',
    ),
    connectTimeoutMs: option(
      durationMs.min(100),
      of.connectTimeoutMs,
      'How long to wait at start for brokers that cannot be reached, before giving up.',
      'ms',
    ),
  })
  .prefault({})
  .meta({ description: 'How the Kafka cluster is reached.' })

const redisDefaults = defaults.store.redis
const redis = z
  .strictObject({
    nodes: option(
      z.array(address).max(256),
      redisDefaults.nodes,
      'Addresses, `host:port`: one server, or some nodes of a cluster. Needed with the driver `redis`.',
    ),
    cluster: option(z.boolean(), redisDefaults.cluster, 'Whether the nodes are a Redis Cluster.'),
    db: option(z.int().min(0).max(65_535), redisDefaults.db, 'Database number of a single server.'),
    username: username(redisDefaults.username, 'Redis, where it has ACL users'),
    password: password(redisDefaults.password, 'Redis'),
    ...tlsOptions('redis', redisDefaults),
    buckets: option(
      count.max(1_048_576).nullable(),
      redisDefaults.buckets,
      'Hashes that the rows of a view and version are spread over; null: chosen when the version is built. Fixed for the life of a version.',
      'hashes',
    ),
    connectTimeoutMs: option(
      durationMs.min(100),
      redisDefaults.connectTimeoutMs,
      'How long to wait at start for servers that cannot be reached, before giving up.',
      'ms',
    ),
    commandTimeoutMs: option(
      durationMs.min(10),
      redisDefaults.commandTimeoutMs,
      'How long an answer may take before the command counts as failed; what failed is tried again.',
      'ms',
    ),
  })
  .prefault({})
  .meta({ description: 'How Redis is reached.' })

export const log = z
  .strictObject({
    driver: option(
      z.enum(['file', 'kafka', 'memory']),
      defaults.log.driver,
      'Where the topics live: `file` keeps framed, checksummed segments under `dataDir`; `kafka` uses the brokers of `log.kafka`; `memory` forgets all at exit.',
    ),
    partitions: option(
      count.max(1024),
      defaults.log.partitions,
      'Partitions of every topic of kind `many`. More: more lanes in parallel and more open files. Fixed once the topics exist; on Kafka the input topics may have another count, that of their owner.',
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
    segmentMs: option(
      durationMs.min(1000),
      defaults.log.segmentMs,
      '`file`: age at which a new segment file is begun, however small the last one is. Only finished files are compacted or deleted. Lower: more files, quiet topics are cleaned up sooner.',
      'ms',
    ),
    retentionMs: option(
      durationMs.min(1000).nullable(),
      defaults.log.retentionMs,
      'Age at which records of a topic with cleanup `delete` (interactions, samples, item features, dead letters) go, by when they were appended; null: never. Topics on Kafka get it when they are created. A worker that is away for longer misses some, and says so. Higher: more disk.',
      'ms',
    ),
    retentionBytes: option(
      bytes.nullable(),
      defaults.log.retentionBytes,
      '`file`: bytes of one partition of such a topic beyond which its oldest segment files go; null: no bound.',
      'bytes',
    ),
    compactionDirtyShare: option(
      share,
      defaults.log.compactionDirtyShare,
      '`file`: part of the bytes of a topic with cleanup `compact` (content, ID embeddings, histories, artifacts) that is new, from which it is compacted: the last record per key stays. Higher: less work, more disk.',
      'share',
    ),
    deleteRetentionMs: option(
      durationMs,
      defaults.log.deleteRetentionMs,
      '`file`, `memory`: how long compaction keeps a deletion after all older records of its key are gone: the most time that a worker may take to read such a topic from its start.',
      'ms',
    ),
    recordBytes: option(
      bytes.min(1024).max(limits.recordBytes),
      defaults.log.recordBytes,
      'Largest record value taken. Larger records become dead letters. Higher: more memory per read.',
      'bytes',
    ),
    kafka,
  })
  .prefault({})
  .meta({ description: 'The log of topics.' })

export const store = z
  .strictObject({
    driver: option(
      z.enum(['lmdb', 'redis', 'memory']),
      defaults.store.driver,
      'Where published features live: `lmdb` under `dataDir`; `redis` in the servers of `store.redis`; `memory` forgets all at exit.',
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
      'Most bytes that the tables of the LMDB store may use, all projects and versions together; a write that would pass it is refused as a full disk. Must be at least `maxBytes`.',
      'bytes',
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
    redis,
  })
  .prefault({})
  .meta({ description: 'The online feature store.' })
