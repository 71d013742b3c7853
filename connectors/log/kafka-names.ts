/**
 * Names at the edge of the Kafka driver: everything inside speaks of logical topics and groups, the brokers of physical ones.
 * Invariant: translating there and back gives the same name; a topic that has no logical name does not exist for us.
 */
import { SidestreamError } from '../../schemas/index.ts'
import { checkName } from './names.ts'

const transactionalIdPattern = /^[A-Za-z0-9/._-]{1,512}$/

export interface NameOptions {
  /** Put before every topic name without an entry in `topicNames`. */
  readonly topicPrefix: string
  /** Physical names of topics that are called otherwise; they win over the prefix. */
  readonly topicNames: Readonly<Record<string, string>>
  /** Put before every group name, and before transactional ids. */
  readonly groupPrefix: string
}

export class KafkaNames {
  readonly #options: NameOptions
  readonly #logical: ReadonlyMap<string, string>

  /** @throws SIDESTREAM_CONFIG_INVALID when two topics are given one physical name */
  constructor(options: NameOptions) {
    this.#options = options
    const logical = new Map<string, string>()
    for (const [name, physical] of Object.entries(options.topicNames)) {
      const other = logical.get(physical)
      if (other !== undefined)
        throw new SidestreamError('SIDESTREAM_CONFIG_INVALID', `topics ${other} and ${name} cannot both be ${physical} in Kafka`)
      logical.set(physical, name)
    }
    this.#logical = logical
  }

  /** @throws SIDESTREAM_USAGE_INVALID */
  topic(name: string): string {
    checkName('topic', name)
    const physical = Object.hasOwn(this.#options.topicNames, name) ? this.#options.topicNames[name]! : this.#options.topicPrefix + name
    checkName('topic', physical)
    return physical
  }

  /** @throws SIDESTREAM_USAGE_INVALID */
  group(name: string): string {
    checkName('group', name)
    checkName('group', this.#options.groupPrefix + name)
    return this.#options.groupPrefix + name
  }

  /** With the prefix of groups, so that projects on one cluster do not fence each other. @throws SIDESTREAM_USAGE_INVALID */
  transactionalId(id: string): string {
    if (!transactionalIdPattern.test(id)) {
      const message = `${JSON.stringify(id)} is no transactional id: use 1 to 512 letters, digits, "/", ".", "_" or "-" (transactionalIdOf makes one)`
      throw new SidestreamError('SIDESTREAM_USAGE_INVALID', message)
    }
    return this.#options.groupPrefix + id
  }

  /** The name that we give a topic of the brokers; undefined for topics of others and internal ones. */
  logical(physical: string): string | undefined {
    const named = this.#logical.get(physical)
    if (named !== undefined) return named
    const { topicPrefix, topicNames } = this.#options
    if (!physical.startsWith(topicPrefix) || physical.startsWith('__')) return undefined
    const name = physical.slice(topicPrefix.length)
    return name === '' || Object.hasOwn(topicNames, name) ? undefined : name
  }
}
