/**
 * What `sidestream.yaml` may say, as data and as the page `docs/reference/configuration.md`.
 * Invariant: everything here is read off the schema, so that page, schema and defaults cannot differ.
 */
import { z } from 'zod'
import { configEnvironment, configSchema } from './config-options.ts'
import { pathText } from './problems.ts'

/** One option: where it stands, what it takes, what it means. */
export interface ConfigOption {
  /** Dotted path; `<name>` stands for a name that the user gives. */
  readonly path: string
  /** What values it takes, in words. */
  readonly type: string
  readonly unit?: string
  /** Value when not given; undefined when it must be given. */
  readonly default?: unknown
  readonly required: boolean
  readonly description: string
  /** Environment variable that overrides it. */
  readonly environment?: string
}

/** The parts of a JSON schema that are read here. */
interface JsonSchema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly unit?: string
  readonly default?: unknown
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: JsonSchema | false
  readonly items?: JsonSchema
  readonly anyOf?: readonly JsonSchema[]
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
  readonly pattern?: string
  readonly minLength?: number
}

/** JSON Schema of the file, for editors that complete and check YAML. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, { io: 'input' })
}

/** Every option, in the order of the file. */
export function describeConfig(): ConfigOption[] {
  return options(configJsonSchema() as JsonSchema, '')
}

/** Groups of the file with what they are about, in order. */
function describeConfigGroups(): { readonly name: string; readonly description: string }[] {
  const groups = Object.entries((configJsonSchema() as JsonSchema).properties ?? {})
  return groups.filter(([, schema]) => schema.type === 'object').map(([name, schema]) => ({ name, description: schema.description ?? '' }))
}

function options(schema: JsonSchema, prefix: string): ConfigOption[] {
  const required = new Set(schema.required ?? [])
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]): ConfigOption[] => {
    const path = prefix === '' ? key : `${prefix}.${key}`
    if (inner.properties !== undefined) return options(inner, path)
    const environment = configEnvironment.find((override) => pathText(override.path) === path)?.variable
    const own: ConfigOption = {
      path,
      type: typeText(inner),
      ...(inner.unit !== undefined && { unit: inner.unit }),
      ...(inner.default !== undefined && { default: inner.default }),
      required: required.has(key),
      description: inner.description ?? '',
      ...(environment !== undefined && { environment }),
    }
    if (inner.items?.properties !== undefined) return [own, ...options(inner.items, `${path}[]`)]
    const entry = inner.additionalProperties
    return entry !== undefined && entry !== false ? [own, ...options(entry, `${path}.<name>`)] : [own]
  })
}

function typeText(schema: JsonSchema): string {
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeText).join(' or ')
  if (Array.isArray(schema.type)) return schema.type.map((type: string) => typeText({ ...schema, type })).join(' or ')
  if (schema.const !== undefined) return `\`${String(schema.const)}\``
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${String(value)}\``).join(', ')
  switch (schema.type) {
    case 'integer':
    case 'number':
      return `${schema.type === 'integer' ? 'whole number' : 'number'}${rangeText(schema)}`
    case 'boolean':
      return 'true or false'
    case 'array':
      return `list of ${typeText(schema.items ?? {})}`
    case 'object':
      return 'named entries'
    case 'null':
      return 'null'
    default:
      return schema.pattern === undefined ? 'text' : `text like \`${schema.pattern}\``
  }
}

function rangeText({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  const low =
    exclusiveMinimum !== undefined
      ? `above ${exclusiveMinimum}`
      : minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER
        ? `from ${minimum}`
        : ''
  const top = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER ? `to ${maximum}` : ''
  const high = exclusiveMaximum === undefined ? top : `to below ${exclusiveMaximum}`
  const range = [low, high].filter((part) => part !== '').join(' ')
  return range === '' ? '' : ` ${range}`
}

/** The page `docs/reference/configuration.md`. */
export function configReference(): string {
  const all = describeConfig()
  const groups = describeConfigGroups()
  const grouped = (path: string): boolean => groups.some(({ name }) => path === name || path.startsWith(`${name}.`))
  return [
    '# Configuration',
    '',
    'Every option of `sidestream.yaml`. This page is made from the schema by `node --import tsx scripts/config-docs.mjs`; a test compares the two.',
    'An unknown key is an error that names its path and the nearest known key. A relative `dataDir` is relative to the file.',
    '',
    'The smallest file:',
    '',
    '```yaml',
    'content:',
    '  modalities:',
    '    text: { dim: 256 }',
    'interactions:',
    '  positiveBehaviors: [click]',
    '```',
    '',
    '## General',
    '',
    ...table(all.filter(({ path }) => !grouped(path))),
    ...groups.flatMap(({ name, description }) => [
      `## \`${name}\``,
      '',
      description,
      '',
      ...table(all.filter(({ path }) => path === name || path.startsWith(`${name}.`))),
    ]),
    '## Environment',
    '',
    'These variables win over the file. Secrets belong here; their values are shown in no message and no log.',
    '',
    '| variable | option | secret |',
    '|---|---|---|',
    ...configEnvironment.map(({ variable, path, secret }) => `| \`${variable}\` | \`${pathText(path)}\` | ${secret ? 'yes' : 'no'} |`),
    '',
  ].join('\n')
}

function table(rows: readonly ConfigOption[]): string[] {
  return [
    '| option | takes | unit | default | meaning |',
    '|---|---|---|---|---|',
    ...rows.map(({ path, type, unit, default: value, required, description }) => {
      const shown = required ? '**required**' : value === undefined ? '' : `\`${JSON.stringify(value)}\``
      return `| \`${path}\` | ${escaped(type)} | ${unit ?? ''} | ${shown} | ${escaped(description)} |`
    }),
    '',
  ]
}

function escaped(text: string): string {
  return text.replaceAll('|', '\\|')
}
