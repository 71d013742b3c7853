/**
 * Our own record schemas as subjects of a registry, for readers of other teams: `<topic>-value`, and where a topic has a second
 * record type, `<topic>-<full name>` for that one.
 * Invariant: nothing is registered unless the registry finds every schema compatible.
 */
import type { SchemaName } from '../avro-types.ts'
import { ownSchema } from '../avro-types.ts'
import { SidestreamError } from '../errors.ts'
import type { TopicName } from '../topics.ts'
import type { SchemaRegistryClient } from './client.ts'

/** Record types of every topic; the first is the subject's. */
const topicSchemas: Readonly<Record<TopicName, readonly SchemaName[]>> = {
  interactions: ['interaction'],
  'item-content': ['item-content'],
  'id-embeddings': ['id-embedding'],
  'item-pairs': ['item-pair'],
  histories: ['history-chunk'],
  'distill-samples': ['distill-sample', 'watermark'],
  'item-features': ['item-feature'],
  'feature-versions': ['feature-version'],
  control: ['control-record'],
  artifacts: ['artifact-chunk'],
  'dead-letters': ['dead-letter'],
}

/** A schema of ours and the subject it belongs to. */
export interface OwnSubject {
  readonly topic: TopicName
  readonly subject: string
  /** Full name of the record type. */
  readonly record: string
  /** The schema's text. */
  readonly text: string
}

/** What the registry says of one of our schemas. */
export interface SubjectFinding extends Omit<OwnSubject, 'text'> {
  /** `registered`: it is there. `new`: its subject has nothing yet. `compatible`, `incompatible`: it may, or may not, follow what is there. */
  readonly state: 'registered' | 'new' | 'compatible' | 'incompatible'
  readonly id: number | null
  readonly version: number | null
  /** Why it is incompatible, in the registry's words. */
  readonly reasons: readonly string[]
}

/**
 * The subjects of our schemas.
 * @param topicNames - topics to take, and how each is called where the records are
 */
export function ownSubjects(topicNames: ReadonlyMap<TopicName, string>): OwnSubject[] {
  return [...topicNames].flatMap(([topic, name]) =>
    topicSchemas[topic].map((schema, i) => {
      const { fullName: record, json } = ownSchema(schema)
      return { topic, subject: i === 0 ? `${name}-value` : `${name}-${record}`, record, text: JSON.stringify(json) }
    }),
  )
}

/** Compares our schemas with the registry; changes nothing. Throws as the client does. */
export function checkSubjects(client: SchemaRegistryClient, subjects: readonly OwnSubject[]): Promise<SubjectFinding[]> {
  return Promise.all(
    subjects.map(async ({ text, ...subject }): Promise<SubjectFinding> => {
      const found = await client.lookup(subject.subject, text)
      if (found !== undefined) return { ...subject, state: 'registered', id: found.id, version: found.version, reasons: [] }
      const open = { ...subject, id: null, version: null }
      if ((await client.latest(subject.subject)) === undefined) return { ...open, state: 'new', reasons: [] }
      const { compatible, reasons } = await client.compatibility(subject.subject, text)
      return { ...open, state: compatible ? 'compatible' : 'incompatible', reasons }
    }),
  )
}

/**
 * Registers what is not there yet, and says what is there then.
 * @throws SIDESTREAM_SCHEMA_REFUSED naming every incompatible schema, before anything is registered; as the client does
 */
export async function registerSubjects(client: SchemaRegistryClient, subjects: readonly OwnSubject[]): Promise<SubjectFinding[]> {
  const findings = await checkSubjects(client, subjects)
  const refused = findings.filter(({ state }) => state === 'incompatible')
  if (refused.length > 0) {
    const list = refused.map(({ subject, reasons }) => `${subject}${reasons.length === 0 ? '' : ` (${reasons.join('; ').slice(0, 300)})`}`)
    throw new SidestreamError(
      'SIDESTREAM_SCHEMA_REFUSED',
      `nothing was registered: not compatible with what the registry has: ${list.join(', ')}; use a subject prefix of your own`,
      { subjects: refused.map(({ subject }) => subject) },
    )
  }
  for (const [i, { state }] of findings.entries()) {
    if (state !== 'registered') await client.register(subjects[i]!.subject, subjects[i]!.text)
  }
  return checkSubjects(client, subjects)
}
