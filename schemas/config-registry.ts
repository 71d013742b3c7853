/**
 * The group `schemaRegistry` of `sidestream.yaml`: how the schemas of other teams' producers are found and read.
 * Invariant: a URL that holds a password is refused without being shown.
 */
import { z } from 'zod'
import { ownSchema } from './avro-types.ts'
import { configDefaults } from './config-defaults.ts'
import { durationMs, option } from './config-option.ts'
import type { Problem } from './problems.ts'

const defaults = configDefaults.schemaRegistry
const optional = z.string().min(1).nullable()
const avroName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an Avro field')

const fieldNames = (topic: keyof typeof defaults.fields, example: string) =>
  option(
    z.record(z.string(), avroName),
    defaults.fields[topic],
    `How other teams' schemas of \`${topic}\` name our fields, such as \`${example}\`. Our own names and their \`snake_case\` need not be given.`,
  )

/** The topics that may be written by others, and the record type of each. */
const inputSchemas = {
  interactions: 'interaction',
  'item-content': 'item-content',
  'id-embeddings': 'id-embedding',
  'item-pairs': 'item-pair',
} as const

export const schemaRegistry = z
  .strictObject({
    url: option(
      optional,
      defaults.url,
      "Base URL of Confluent's schema-registry API (for Apicurio it ends with `/apis/ccompat/v7`). null: records in schema-registry framing become dead letters.",
    ),
    username: option(optional, defaults.username, 'User name for the registry.'),
    password: option(optional, defaults.password, 'Password for the registry. A secret: give it by environment.'),
    token: option(optional, defaults.token, 'Bearer token, instead of user name and password. A secret: give it by environment.'),
    caFile: option(
      optional,
      defaults.caFile,
      "PEM file of the authorities that sign the registry's certificate, relative to the configuration file; null: those that Node trusts.",
    ),
    certFile: option(optional, defaults.certFile, 'PEM file of the certificate to show, where the registry asks for one.'),
    keyFile: option(optional, defaults.keyFile, 'PEM file of the key of `certFile`.'),
    timeoutMs: option(
      durationMs.min(10),
      defaults.timeoutMs,
      'How long an answer may take. One that fails is asked for again, and then the batch waits: no record is lost or refused.',
      'ms',
    ),
    unknownMs: option(
      durationMs,
      defaults.unknownMs,
      'How long the answer "no such schema" is believed. Higher: fewer questions, later use of a schema that was registered after its records.',
      'ms',
    ),
    fields: z
      .strictObject({
        interactions: fieldNames('interactions', 'userId: uid'),
        'item-content': fieldNames('item-content', 'vectors.text: title_embedding'),
        'id-embeddings': fieldNames('id-embeddings', 'vector: emb'),
        'item-pairs': fieldNames('item-pairs', 'queryId: left'),
      })
      .prefault({})
      .meta({ description: 'Names of fields.' }),
  })
  .prefault({})
  .meta({ description: "The schema registry with the schemas of other teams' producers; see `docs/how-to/read-other-teams-topics.md`." })

/** Rules between the options of the group. @param modalities - the configured ones */
export function registryConflicts(registry: z.output<typeof schemaRegistry>, modalities: readonly string[]): Problem[] {
  const { url, username, password, token, caFile, certFile, keyFile, fields } = registry
  const problems: Problem[] = []
  const report = (option: string, message: string): void => void problems.push({ path: `schemaRegistry.${option}`, message })
  if (url !== null) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined
    if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) report('url', 'must be a URL that begins with http:// or https://')
    else if (parsed.username !== '' || parsed.password !== '')
      report(
        'url',
        'must not hold a user name or password: give them by SIDESTREAM_SCHEMA_REGISTRY_USERNAME and SIDESTREAM_SCHEMA_REGISTRY_PASSWORD',
      )
    else if (parsed.search !== '' || parsed.hash !== '') report('url', 'must be a base URL, without ? and #')
    else if (parsed.protocol === 'http:' && (caFile ?? certFile ?? keyFile) !== null)
      report('url', 'must begin with https:// when certificates are given')
  }
  if (password !== null && username === null) report('username', 'must be given with a password')
  if (username !== null && token !== null) report('token', 'and a user name exclude each other')
  if ((certFile === null) !== (keyFile === null)) report('certFile', 'and keyFile must be given together')
  for (const [topic, names] of Object.entries(fields) as [keyof typeof fields, Record<string, string>][]) {
    const known = ownSchema(inputSchemas[topic]).json.fields.map(({ name }) => name)
    if (topic === 'item-content') known.push(...modalities.map((modality) => `vectors.${modality}`))
    for (const name of Object.keys(names))
      if (!known.includes(name)) report(`fields.${topic}`, `must name fields of ours, ${known.join(', ')} (got ${JSON.stringify(name)})`)
  }
  return problems
}
