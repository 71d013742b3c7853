/**
 * Turns what zod found in a user's YAML into lines a person can act on: `path: problem (got …, line 3)`.
 * Invariant: every problem is listed, and no secret value is ever shown.
 */
import { LineCounter, parseDocument, isMap, type Document } from 'yaml'
import { z } from 'zod'

/** One problem: where, what, and what stood there. */
export interface Problem {
  readonly path: string
  readonly message: string
}

/** A parsed YAML text that knows on which line a path stands. */
export interface YamlSource {
  readonly value: unknown
  readonly problems: readonly Problem[]
  lineOf(path: readonly PropertyKey[]): number | undefined
}

/** Parses one YAML document; syntax errors and repeated keys are problems, never exceptions. */
export function readYaml(text: string): YamlSource {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const problems = document.errors.map((error) => {
    const at = lines.linePos(error.pos[0])
    return { path: `line ${at.line}, column ${at.col}`, message: error.message }
  })
  return {
    value: problems.length === 0 ? (document.toJS() as unknown) : undefined,
    problems,
    lineOf: (path) => lineOf(document, lines, path),
  }
}

function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number | undefined {
  if (path.length === 0) return undefined
  const parent: unknown = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true)
  const last = path[path.length - 1]
  if (isMap(parent)) {
    const pair = parent.items.find((item) => String((item.key as { value?: unknown } | null)?.value) === String(last))
    const range = (pair?.key as { range?: [number, number, number] } | undefined)?.range
    if (range !== undefined) return lines.linePos(range[0]).line
  }
  const node = document.getIn(path, true) as { range?: [number, number, number] } | undefined
  return node?.range == null ? undefined : lines.linePos(node.range[0]).line
}

/** Dotted path as messages and docs write it; the root is `(file)`. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.length === 0 ? '(file)' : path.map(String).join('.')
}

/**
 * Readable problems of a failed parse.
 * @param schema - the schema that failed, for the nearest known key
 * @param value - what was parsed, for "got"
 * @param isSecret - paths whose value must not be shown
 */
export function describeProblems(
  error: z.ZodError,
  schema: z.ZodType,
  value: unknown,
  source: Pick<YamlSource, 'lineOf'>,
  isSecret: (path: string) => boolean = () => false,
): Problem[] {
  return error.issues
    .flatMap((issue) => narrowed(issue, value))
    .flatMap((issue) => {
      if (issue.code === 'unrecognized_keys') {
        const known = knownKeys(schema, issue.path)
        return issue.keys.map((key) => problem([...issue.path, key], unknownKeyMessage(key, known)))
      }
      const path = issue.path
      const got = valueAt(value, path)
      const message = issueMessage(issue, got)
      return [problem(path, got === undefined || issue.code === 'invalid_key' ? message : `${message} (got ${shown(got, path)})`)]
    })

  function problem(path: readonly PropertyKey[], message: string): Problem {
    const line = source.lineOf(path)
    return { path: pathText(path), message: line === undefined ? message : `${message}, line ${line}` }
  }
  function shown(got: unknown, path: readonly PropertyKey[]): string {
    return isSecret(pathText(path)) ? 'a secret' : short(got)
  }
}

/** For a group that may have several shapes: the problems of the shape that fits best, instead of "none fits". */
function narrowed(issue: z.core.$ZodIssue, value: unknown): z.core.$ZodIssue[] {
  const got = valueAt(value, issue.path)
  if (issue.code !== 'invalid_union' || typeof got !== 'object' || got === null || issue.errors.length === 0) return [issue]
  const misfits = (branch: readonly z.core.$ZodIssue[]): number =>
    branch.reduce((sum, inner) => sum + (inner.code === 'unrecognized_keys' ? inner.keys.length : 1), 0)
  const best = issue.errors.reduce((least, branch) => (misfits(branch) < misfits(least) ? branch : least))
  return best.flatMap((inner) => narrowed({ ...inner, path: [...issue.path, ...inner.path] }, value))
}

function issueMessage(issue: z.core.$ZodIssue, got: unknown): string {
  if (got === undefined && issue.code !== 'custom' && issue.code !== 'invalid_key') return 'is required but missing'
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${article(issue.expected)}`
    case 'too_small':
      return `must ${bound(issue.origin, issue.inclusive === false ? 'more than' : 'at least', issue.minimum)}`
    case 'too_big':
      return `must ${bound(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum)}`
    case 'invalid_value':
      return issue.values.length === 1 ? `must be ${String(issue.values[0])}` : `must be one of ${issue.values.map(String).join(', ')}`
    case 'invalid_union':
      return `must be ${[...new Set(issue.errors.flat().map((inner) => issueMessage(inner, got).replace(/^must be /, '')))].join(' or ')}`
    case 'invalid_key':
      return `is not a usable name: ${issue.issues.map((inner) => inner.message).join('; ')}`
    case 'invalid_element':
      return issue.issues.map((inner) => issueMessage(inner, got)).join('; ')
    default:
      return issue.message
  }
}

function bound(origin: string, words: string, limit: number | bigint): string {
  if (origin === 'array') return `have ${words} ${limit} entries`
  if (origin === 'string') return `have ${words} ${limit} characters`
  return `be ${words} ${limit}`
}

function article(expected: string): string {
  const words: Record<string, string> = {
    int: 'a whole number',
    number: 'a number',
    string: 'a text',
    boolean: 'true or false',
    object: 'a group of options',
    record: 'a group of named entries',
    array: 'a list',
    null: 'null',
  }
  return words[expected] ?? expected
}

function unknownKeyMessage(key: string, known: readonly string[]): string {
  const near = nearest(key, known)
  const hint = near === undefined ? (known.length > 0 ? `; known here: ${known.join(', ')}` : '') : `; did you mean \`${near}\`?`
  return `is not an option${hint}`
}

/** The known word closest to `word`, if close enough to be a likely typo. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    // Where every letter differs, nothing is near.
    if (distance < bestDistance && distance < Math.max(word.length, candidate.length)) {
      bestDistance = distance
      best = candidate
    }
  }
  return best
}

/** Levenshtein distance with adjacent swaps counted once. */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let cost = Math.min(previous[j]! + 1, row[j - 1]! + 1, substitution)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1)
      row.push(cost)
    }
    before = previous
    previous = row
  }
  return previous[b.length]!
}

/** Keys that the schema knows at `path`; none when a record or list stands there. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown[] = shapes(schema)
  for (const key of path) {
    at = at.flatMap((shape) => {
      if (shape instanceof z.ZodObject) return shapes(shape.shape[String(key)])
      if (shape instanceof z.ZodRecord) return shapes(shape.valueType)
      return shape instanceof z.ZodArray ? shapes(shape.element) : []
    })
  }
  return [...new Set(at.flatMap((shape) => (shape instanceof z.ZodObject ? Object.keys(shape.shape) : [])))]
}

/** What a schema is below defaults and optionality; each shape of a union. */
function shapes(schema: unknown): unknown[] {
  if (
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable
  ) {
    return shapes(schema.unwrap())
  }
  return schema instanceof z.ZodUnion ? schema.options.flatMap(shapes) : [schema]
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value
  for (const key of path) {
    if (typeof at !== 'object' || at === null) return undefined
    at = (at as Record<PropertyKey, unknown>)[key]
  }
  return at
}

/** A value as a message shows it: JSON, cut at 80 characters. */
function short(value: unknown): string {
  const json = JSON.stringify(value) ?? String(value)
  return json.length > 80 ? `${json.slice(0, 77)}…` : json
}
