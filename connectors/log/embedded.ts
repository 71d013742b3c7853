/**
 * The log driver of one process, over files or memory: topics, producers, and one group coordinator.
 * Invariant: sends of one process to one partition keep their call order.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { EmbeddedConsumer } from './embedded-consumer.ts'
import { EmbeddedGroup } from './embedded-group.ts'
import { EmbeddedProducer } from './embedded-producer.ts'
import { readEmbedded } from './embedded-read.ts'
import type {
  ConsumerOptions,
  LogAdmin,
  LogBatch,
  LogConsumer,
  LogDriver,
  LogProducer,
  NewTopic,
  ProducerOptions,
  ReadOptions,
  TopicDescription,
  TopicPlan,
} from './log.ts'
import { checkName, checkNewTopic } from './names.ts'
import type { LogStorage, Topic } from './partition.ts'

export interface EmbeddedOptions {
  /**
   * Most bytes of key, value and headers of one record. Higher: more memory per batch, and no longer what Kafka's
   * default takes.
   * @default 1000000
   */
  readonly recordLimitBytes?: number
  /**
   * Further tries of a batch whose handler threw anything but a retryable error, before `onFatal`.
   * @default 3
   */
  readonly handlerRetries?: number
  /** Append time and progress, milliseconds since epoch. @default Date.now */
  readonly clock?: () => number
  /** Waits between tries of a batch; ends early, without an error, when the signal aborts. @default a timer */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>
}

export const embeddedDefaults: Readonly<Required<EmbeddedOptions>> = {
  recordLimitBytes: 1_000_000,
  handlerRetries: 3,
  clock: Date.now,
  wait: waitForTimer,
}

/** What producers and consumers share. */
export interface LogCore {
  readonly options: Readonly<Required<EmbeddedOptions>>
  readonly storage: LogStorage
  /** @throws SIDESTREAM_TOPIC_UNKNOWN */
  topic(name: string): Topic
  group(name: string): EmbeddedGroup
}

export class EmbeddedLog implements LogDriver {
  readonly name: string
  readonly caps = { transactions: false, compaction: true, groups: 'process' } as const
  readonly #storage: LogStorage
  readonly #core: LogCore
  readonly #groups = new Map<string, EmbeddedGroup>()
  /** Topics whose readers are being told that they go. */
  readonly #leaving = new Set<string>()
  readonly #open = new Set<{ close(): Promise<void> }>()
  /** Changes of topics, one after the other. */
  #changes: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | undefined

  constructor(name: string, storage: LogStorage, options: EmbeddedOptions) {
    this.name = name
    this.#storage = storage
    this.#core = {
      options: { ...embeddedDefaults, ...options },
      storage,
      topic: (wanted) => this.#topic(wanted),
      group: (wanted) => this.#group(wanted),
    }
  }

  async producer({ transactionalId }: ProducerOptions = {}): Promise<LogProducer> {
    this.#refuseClosed()
    if (transactionalId !== undefined) {
      const message = `the ${this.name} log has no transactions (caps.transactions is false): leave transactionalId out, or use a Kafka log`
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
    }
    const producer = new EmbeddedProducer(this.#core, () => this.#open.delete(producer))
    this.#open.add(producer)
    return producer
  }

  async consumer(options: ConsumerOptions): Promise<LogConsumer> {
    this.#refuseClosed()
    checkName('group', options.group)
    const consumer = new EmbeddedConsumer(this.#core, options, () => this.#open.delete(part))
    const part = { close: () => consumer.stop({ drainMs: 0 }) }
    this.#open.add(part)
    return consumer
  }

  async admin(): Promise<LogAdmin> {
    this.#refuseClosed()
    return {
      createTopics: (topics) => this.#change(() => this.#createTopics(topics)),
      planTopics: async (topics) => topics.map((topic) => this.#planTopic(topic)),
      describe: async (name) => describe(this.#topic(name)),
      list: async () => [...this.#storage.topics.keys()].filter((name) => !this.#leaving.has(name)).sort(),
      committed: async (group, name) =>
        this.#topic(name).partitions.map(({ index }) => {
          const next = this.#storage.offsets.get(group, name, index)
          return next === undefined ? undefined : BigInt(next)
        }),
      deleteTopic: (name) => this.#change(() => this.#deleteTopic(name)),
    }
  }

  async read(topic: string, onBatch: (batch: LogBatch) => void | Promise<void>, options: ReadOptions = {}): Promise<bigint[]> {
    this.#refuseClosed()
    return readEmbedded(this.#topic(topic), onBatch, options)
  }

  /** Stops consumers without a drain, flushes producers, then closes the storage. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      await this.#changes
      await Promise.all([...this.#open].map((part) => part.close()))
      await this.#storage.close()
    })()
    return this.#closed
  }

  #planTopic(wanted: NewTopic): TopicPlan {
    checkNewTopic(wanted)
    const { name, partitions: wantedPartitions, cleanup: wantedCleanup = 'delete' } = wanted
    const existing = this.#storage.topics.get(name)
    if (existing === undefined) return { name, action: 'create', wantedPartitions, wantedCleanup }
    const partitions = existing.partitions.length
    const action = partitions === wantedPartitions ? 'keep' : 'mismatch'
    return { name, action, wantedPartitions, wantedCleanup, partitions, cleanup: existing.cleanup }
  }

  async #createTopics(topics: readonly NewTopic[]): Promise<void> {
    for (const wanted of topics) {
      const { name, action, wantedPartitions, wantedCleanup, partitions } = this.#planTopic(wanted)
      if (action === 'create') {
        await this.#storage.create(name, wantedPartitions, wantedCleanup)
        for (const group of this.#groups.values()) group.balance()
      } else if (action === 'mismatch') {
        const message = `topic ${name} has ${partitions} partitions, not ${wantedPartitions}: set that number, or import into a new data directory`
        throw new SidestreamError('SIDESTREAM_TOPIC_MISMATCH', message, { topic: name, partitions })
      }
    }
  }

  async #deleteTopic(name: string): Promise<void> {
    this.#topic(name)
    this.#leaving.add(name)
    try {
      await Promise.all([...this.#groups.values()].map((group) => group.topicDeleted(name)))
      await this.#storage.remove(name)
    } finally {
      this.#leaving.delete(name)
    }
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    this.#refuseClosed()
    const done = this.#changes.then(work)
    this.#changes = done.catch(() => {})
    return done
  }

  #topic(name: string): Topic {
    const topic = this.#storage.topics.get(name)
    if (topic !== undefined && !this.#leaving.has(name)) return topic
    throw new SidestreamError('SIDESTREAM_TOPIC_UNKNOWN', `there is no topic ${name}: create it first, or check the name`, { topic: name })
  }

  #group(name: string): EmbeddedGroup {
    let group = this.#groups.get(name)
    if (group === undefined) {
      group = new EmbeddedGroup(() => [...this.#storage.topics.values()].filter((topic) => !this.#leaving.has(topic.name)))
      this.#groups.set(name, group)
    }
    return group
  }

  #refuseClosed(): void {
    if (this.#closed !== undefined) throw new SidestreamError('SIDESTREAM_CLOSED', `the ${this.name} log is closed`)
  }
}

function describe({ name, partitions }: Topic): TopicDescription {
  return {
    name,
    partitions: partitions.length,
    start: partitions.map(({ start }) => BigInt(start)),
    end: partitions.map(({ end }) => BigInt(end)),
  }
}

function waitForTimer(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}
