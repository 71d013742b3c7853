/** Our own schemas and the configured registry: what it has of them, and registering them. */

import { checkSubjects, ownSubjects, registerSubjects, SidestreamError, topics } from '../schemas/index.ts'
import type { Config, SubjectFinding, TopicName } from '../schemas/index.ts'
import { openRegistry } from './compose.ts'

export interface SubjectOptions {
  /** Put before the names of the topics. @default what the topics are called in the log */
  readonly prefix?: string | undefined
  /** Only of these topics. @default all */
  readonly topics?: readonly TopicName[] | undefined
}

/** Compares our schemas with the registry; changes nothing. */
export function checkSchemas(config: Config, options: SubjectOptions = {}): Promise<SubjectFinding[]> {
  return withRegistry(config, (client) => checkSubjects(client, ownSubjects(topicNames(config, options))))
}

/** Registers what is missing. @throws SIDESTREAM_SCHEMA_REFUSED when a schema is not compatible: then none was registered */
export function registerSchemas(config: Config, options: SubjectOptions = {}): Promise<SubjectFinding[]> {
  return withRegistry(config, (client) => registerSubjects(client, ownSubjects(topicNames(config, options))))
}

function topicNames({ log }: Config, { prefix, topics: wanted }: SubjectOptions): Map<TopicName, string> {
  const { topicPrefix, topics: names } = log.kafka
  const nameOf = (topic: TopicName): string => {
    if (prefix !== undefined) return prefix + topic
    return log.driver === 'kafka' ? (names[topic] ?? topicPrefix + topic) : topic
  }
  return new Map(topics.flatMap(({ name }) => (wanted === undefined || wanted.includes(name) ? [[name, nameOf(name)] as const] : [])))
}

async function withRegistry<T>(
  config: Config,
  body: (client: NonNullable<Awaited<ReturnType<typeof openRegistry>>>) => Promise<T>,
): Promise<T> {
  const client = await openRegistry(config)
  if (client === undefined) {
    throw new SidestreamError(
      'SIDESTREAM_CONFIG_INVALID',
      'no schema registry is configured: set schemaRegistry.url or SIDESTREAM_SCHEMA_REGISTRY_URL',
    )
  }
  try {
    return await body(client)
  } finally {
    client.close()
  }
}
