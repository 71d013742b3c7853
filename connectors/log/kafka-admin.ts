/**
 * Topics of a Kafka cluster: made with the right partition count and cleanup policy, described, deleted.
 * Invariant: an existing topic is never changed; what was created or deleted is seen by every later look-up.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import type { Admin } from 'kafkajs'
import { SidestreamError } from '../../schemas/index.ts'
import { createClient } from './kafka-client.ts'
import { isOfType, kafkaError } from './kafka-errors.ts'
import type { KafkaNames } from './kafka-names.ts'
import { placeName } from './kafka-view.ts'
import type { KafkaView } from './kafka-view.ts'
import type { KafkaSettings } from './kafka.ts'
import type { LogAdmin, NewTopic, TopicCleanup, TopicDescription, TopicPlan } from './log.ts'
import { checkNewTopic } from './names.ts'

/** Room in `max.message.bytes` for what a batch adds to one record. */
const batchOverheadBytes = 65_536
/** What brokers take by default. */
const defaultMessageBytes = 1_048_588
/** How long brokers may need to tell each other of a topic. */
const settleMs = 10_000

type TopicSettings = Pick<TopicPlan, 'cleanup' | 'takesBytes' | 'notCompared'>

/** @param values - of a topic's settings, by name */
function settingsIn(values: ReadonlyMap<string, string>): TopicSettings {
  const forever = values.get('retention.ms') === '-1' && values.get('retention.bytes') === '-1'
  const policies = { compact: 'compact', delete: forever ? 'forever' : 'delete' } as const
  const policy = values.get('cleanup.policy')
  const takesBytes = Number(values.get('max.message.bytes') ?? NaN)
  return {
    cleanup: policy === 'compact' || policy === 'delete' ? policies[policy] : 'other',
    ...(takesBytes > 0 && { takesBytes }),
  }
}

export class KafkaAdmin implements LogAdmin {
  readonly #settings: KafkaSettings
  readonly #names: KafkaNames
  readonly #view: KafkaView
  #admin: Promise<Admin> | undefined

  constructor(settings: KafkaSettings, names: KafkaNames, view: KafkaView) {
    this.#settings = settings
    this.#names = names
    this.#view = view
  }

  async planTopics(topics: readonly NewTopic[]): Promise<TopicPlan[]> {
    for (const topic of topics) checkNewTopic(topic)
    const counts = await this.#view.partitionCounts(topics.map(({ name }) => this.#names.topic(name)))
    const existing = new Map<string, number>()
    for (const { name } of topics) {
      const count = counts.get(this.#names.topic(name))
      if (count !== undefined) existing.set(name, count)
    }
    const settings = await this.#settingsOf([...existing.keys()])
    return topics.map(({ name, partitions: wantedPartitions, cleanup: wantedCleanup = 'delete' }) => {
      const partitions = existing.get(name)
      if (partitions === undefined) return { name, action: 'create', wantedPartitions, wantedCleanup }
      const action = partitions === wantedPartitions ? 'keep' : 'mismatch'
      return { name, action, wantedPartitions, wantedCleanup, partitions, ...settings.get(name) }
    })
  }

  async createTopics(topics: readonly NewTopic[]): Promise<void> {
    for (const topic of topics) checkNewTopic(topic)
    for (const topic of topics) await this.#create(topic)
  }

  async describe(name: string): Promise<TopicDescription> {
    const topic = this.#names.topic(name)
    const leaders = await this.#view.leaders(topic)
    const places = leaders.map((_, partition) => ({ topic, partition }))
    const [start, end] = await Promise.all([this.#view.offsets(places, 'earliest'), this.#view.offsets(places, 'latest')])
    return {
      name,
      partitions: leaders.length,
      start: places.map((place) => start.get(placeName(place))!),
      end: places.map((place) => end.get(placeName(place))!),
    }
  }

  async list(): Promise<string[]> {
    const topics = await this.#view.partitions([])
    return [...topics.keys()].flatMap((topic) => this.#names.logical(topic) ?? []).sort()
  }

  async committed(group: string, name: string): Promise<(bigint | undefined)[]> {
    const topic = this.#names.topic(name)
    const places = (await this.#view.leaders(topic)).map((_, partition) => ({ topic, partition }))
    const found = await this.#view.committed(this.#names.group(group), places)
    return places.map((place) => found.get(placeName(place)))
  }

  async deleteTopic(name: string): Promise<void> {
    const topic = this.#names.topic(name)
    await this.#view.leaders(topic) // or it is told that there is none
    const doing = `cannot delete topic ${topic}`
    const admin = await this.#connected(doing)
    await admin.deleteTopics({ topics: [topic], timeout: settleMs }).catch((error: unknown) => {
      if (!isOfType(error, 'UNKNOWN_TOPIC_OR_PARTITION')) throw kafkaError(error, doing)
    })
    await this.#settled(topic, false)
  }

  async deleteGroups(beginning: string): Promise<void> {
    const prefix = this.#names.group(beginning)
    const doing = `cannot delete groups that begin with ${prefix}`
    const admin = await this.#connected(doing)
    try {
      const { groups } = await admin.listGroups()
      const ours = groups.map(({ groupId }) => groupId).filter((id) => id.startsWith(prefix))
      if (ours.length > 0) await admin.deleteGroups(ours)
    } catch (error) {
      throw kafkaError(error, doing)
    }
  }

  async close(): Promise<void> {
    const admin = await this.#admin?.catch(() => undefined)
    await admin?.disconnect().catch(() => {})
  }

  async #create({ name, partitions, cleanup = 'delete' }: NewTopic): Promise<void> {
    const topic = this.#names.topic(name)
    if (!(await this.#view.exists(topic))) {
      const doing = `cannot create topic ${topic}`
      const admin = await this.#connected(doing)
      const wanted = {
        topic,
        numPartitions: partitions,
        ...(this.#settings.replicationFactor !== undefined && { replicationFactor: this.#settings.replicationFactor }),
        configEntries: this.#configOf(cleanup),
      }
      await admin.createTopics({ topics: [wanted], timeout: settleMs, waitForLeaders: false }).catch((error: unknown) => {
        if (!isOfType(error, 'TOPIC_ALREADY_EXISTS')) throw kafkaError(error, doing)
      })
      await this.#settled(topic, true)
    }
    const { length } = await this.#view.leaders(topic)
    // Its leaders may know of it a moment later; a group that fetches before that joins twice.
    await this.#view.offsets(
      Array.from({ length }, (_, partition) => ({ topic, partition })),
      'latest',
    )
    if (length === partitions) return
    const message = `topic ${topic} has ${length} partitions, not ${partitions}: set that number, or choose another topic prefix`
    throw new SidestreamError('SIDESTREAM_TOPIC_MISMATCH', message, { topic: name, partitions: length })
  }

  #configOf(cleanup: TopicCleanup): { name: string; value: string }[] {
    const { recordLimitBytes, retentionMs } = this.#settings
    const entries = { 'max.message.bytes': Math.max(defaultMessageBytes, recordLimitBytes + batchOverheadBytes) }
    const kept = {
      compact: { 'cleanup.policy': 'compact' },
      delete: { 'cleanup.policy': 'delete', 'retention.ms': retentionMs },
      forever: { 'cleanup.policy': 'delete', 'retention.ms': -1, 'retention.bytes': -1 },
    }
    return Object.entries({ ...entries, ...kept[cleanup] }).map(([name, value]) => ({ name, value: String(value) }))
  }

  /** How existing topics are cleaned and what they take, or why that cannot be looked at. */
  async #settingsOf(names: readonly string[]): Promise<Map<string, TopicSettings>> {
    if (names.length === 0) return new Map()
    const configNames = ['cleanup.policy', 'retention.ms', 'retention.bytes', 'max.message.bytes']
    const resources = names.map((name) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name: this.#names.topic(name), configNames }))
    try {
      const admin = await this.#connected('cannot look up the settings of topics')
      const described = await admin.describeConfigs({ resources, includeSynonyms: false })
      return new Map(
        names.map((name, i) => {
          const entries = described.resources.find(({ resourceName }) => resourceName === resources[i]!.name)?.configEntries ?? []
          return [name, settingsIn(new Map(entries.map(({ configName, configValue }) => [configName, configValue])))]
        }),
      )
    } catch (error) {
      const isDenied = isOfType(error, 'TOPIC_AUTHORIZATION_FAILED')
      // One topic that may not be looked at hides all of a request.
      if (isDenied && names.length > 1) {
        const each = await Promise.all(names.map((name) => this.#settingsOf([name])))
        return new Map(each.flatMap((found) => [...found]))
      }
      const notCompared = isDenied
        ? 'this user may not look at the settings: grant DESCRIBE_CONFIGS on the topic'
        : kafkaError(error, 'cannot look up the settings of topics').message
      return new Map(names.map((name) => [name, { notCompared }]))
    }
  }

  /** Waits until the brokers agree whether the topic is there. */
  async #settled(topic: string, there: boolean): Promise<void> {
    const giveUpTs = Date.now() + settleMs
    for (let pauseMs = 10; (await this.#view.exists(topic)) !== there; pauseMs *= 2) {
      if (Date.now() > giveUpTs)
        throw new SidestreamError(
          'SIDESTREAM_LOG_UNAVAILABLE',
          `topic ${topic} was ${there ? 'created' : 'deleted'}, but not everywhere yet`,
        )
      await sleep(pauseMs)
    }
  }

  async #connected(doing: string): Promise<Admin> {
    this.#admin ??= (async () => {
      const admin = createClient(this.#settings).kafka.admin()
      await admin.connect()
      return admin
    })()
    return this.#admin.catch((error: unknown) => {
      this.#admin = undefined
      throw kafkaError(error, doing)
    })
  }
}
