import { deepStrictEqual, match, ok, strictEqual, throws } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { test } from 'node:test'
import {
  configDefaults,
  configEnvironment,
  configReference,
  contentDims,
  describeConfig,
  gateRuleDefaults,
  sidGateRuleDefaults,
  isSidestreamError,
  parseConfig,
  redactConfig,
  semanticIdView,
  sourceDefaults,
  stageDefaults,
  stageLossDefaults,
  teacherKindDefaults,
  viewDims,
} from '../../schemas/index.ts'
import { checkout } from '../checkout.ts'

const smallest = 'content: { modalities: { text: { dim: 8 } } }\ninteractions: { positiveBehaviors: [click] }\n'

/** The message of the refusal of `yaml`. */
function refusal(yaml: string, env: Record<string, string> = {}): string {
  try {
    parseConfig(yaml, { path: '/etc/shop/sidestream.yaml', env })
  } catch (error) {
    ok(isSidestreamError(error))
    strictEqual(error.code, 'SIDESTREAM_CONFIG_INVALID')
    return error.message
  }
  throw new Error('was accepted')
}

test('the smallest file takes every default', () => {
  const config = parseConfig(smallest, { path: '/etc/shop/sidestream.yaml' })
  const { content, interactions, dataDir, ...rest } = config
  const { interactions: interactionDefaults, dataDir: _, ...defaults } = configDefaults
  deepStrictEqual(rest, defaults)
  deepStrictEqual(content, { modalities: { text: { dim: 8 } } })
  deepStrictEqual(interactions, { positiveBehaviors: ['click'], ...interactionDefaults })
  strictEqual(dataDir, '/etc/shop/sidestream-data')
})

test('dataDir is relative to the file, or absolute', () => {
  strictEqual(parseConfig(`${smallest}dataDir: ../data`, { path: '/etc/shop/sidestream.yaml' }).dataDir, '/etc/data')
  strictEqual(parseConfig(`${smallest}dataDir: /var/lib/shop`, { path: '/etc/shop/sidestream.yaml' }).dataDir, '/var/lib/shop')
  strictEqual(parseConfig(smallest).dataDir, resolve('sidestream-data'))
})

test('a typo names the path, the line and the nearest known key', () => {
  const message = refusal(`${smallest}training:\n  temprature: 0.1\n`)
  match(
    message,
    /^\/etc\/shop\/sidestream\.yaml has a problem:\n {2}training\.temprature: is not an option; did you mean `temperature`\?, line 4$/,
  )
  match(refusal(`${smallest}trainning: {}\n`), /trainning: is not an option; did you mean `training`\?/)
  match(refusal(`${smallest}views: { main: { dtyp: f16 } }\n`), /views\.main\.dtyp: is not an option; did you mean `dtype`\?/)
  match(refusal(`${smallest}log: { zzzzzz: 1 }\n`), /log\.zzzzzz: is not an option; known here: driver, partitions, /)
})

test('every problem is listed, each with what stood there', () => {
  const message = refusal(
    'project: Shop!\nhead: { contentShare: 2, dim: many }\nviews:\n  Main: {}\n  small: { prefix: some, dtype: f8 }\nsemanticIds: { levels: [1, x] }\ntraining: 5\n',
  )
  for (const line of [
    /project: must be 1 to 64 of a-z, 0-9, _ and - \(got "Shop!"\), line 1/,
    /content: is required but missing/,
    /interactions: is required but missing/,
    /views\.Main: is not a usable name/,
    /views\.small\.prefix: must be full or a number \(got "some"\)/,
    /views\.small\.dtype: must be one of f32, f16, i8 \(got "f8"\), line 5/,
    /head\.contentShare: must be less than 1 \(got 2\)/,
    /head\.dim: must be a number \(got "many"\)/,
    /semanticIds\.levels\.0: must be at least 2 \(got 1\)/,
    /semanticIds\.levels\.1: must be a number \(got "x"\)/,
    /training: must be a group of options \(got 5\), line 7/,
  ]) {
    match(message, line)
  }
  match(message, /has 11 problems/)
})

test('broken YAML says where', () => {
  match(refusal('a: [1\nb: 2'), /line 2, column 1: /)
  match(refusal(`${smallest}project: a\nproject: b\n`), /line 4, column 1: Map keys must be unique/)
  match(refusal('- 1'), /\(file\): must be a group of options \(got \[1\]\)/)
  match(refusal(''), /content: is required but missing/)
})

test('options that contradict each other are refused', () => {
  const message = refusal(
    [
      'content: { modalities: { text: { dim: 8 }, image: { dim: 8 } } }',
      'interactions: { positiveBehaviors: [click], otherBehaviors: [view, click] }',
      'head: { dim: 64, prefixes: [32, 16], contentDims: 1 }',
      'views: { short: { prefix: 48 } }',
      'semanticIds: { view: main }',
      'store: { maxBytes: 2000000, mapSizeBytes: 1048576 }',
      'sequences: { events: 10, history: 10 }',
    ].join('\n'),
  )
  for (const path of [
    'head.prefixes',
    'head.contentDims',
    'views.short.prefix',
    'semanticIds.view',
    'store.mapSizeBytes',
    'interactions.otherBehaviors',
    'sequences.history',
  ]) {
    ok(message.includes(`\n  ${path}: `), `${path} is named in ${message}`)
  }
})

test('what a connection lacks or contradicts is named', () => {
  const message = refusal(
    [
      smallest.trimEnd(),
      'log: { driver: kafka, kafka: { sasl: plain, username: a, topics: { clicks: x, control: y, artifacts: y }, caFile: ca.pem, certFile: c.pem } }',
      'store: { driver: redis, redis: { cluster: true, db: 1, servername: redis.example } }',
    ].join('\n'),
  )
  for (const path of [
    'log.kafka.brokers',
    'log.kafka.sasl',
    'log.kafka.topics',
    'log.kafka.tls',
    'log.kafka.certFile',
    'store.redis.nodes',
    'store.redis.db',
    'store.redis.tls',
  ]) {
    ok(message.includes(`\n  ${path}: `), `${path} is named in ${message}`)
  }
  match(message, /must give every topic a name of its own \(got y twice\)/)
  match(refusal(`${smallest}log: { kafka: { brokers: ['http://a:1'] } }`), /log\.kafka\.brokers\.0: must be host:port/)
  for (const servername of ['127.0.0.1', 'redis.example:6379', '']) {
    match(
      refusal(`${smallest}store: { redis: { tls: true, servername: '${servername}' } }`),
      /store\.redis\.servername: must be a host name/,
    )
  }
})

test('addresses and passwords of servers come from the environment, certificates from beside the file', () => {
  const env = {
    SIDESTREAM_KAFKA_BROKERS: 'a:9092, b:9092',
    SIDESTREAM_KAFKA_PASSWORD: 'hunter2',
    SIDESTREAM_REDIS_NODES: '[::1]:6379',
    SIDESTREAM_REDIS_PASSWORD: 'hunter3',
  }
  const text = `${smallest}log: { driver: kafka, kafka: { tls: true, caFile: ca.pem, sasl: scram-sha-256, username: a } }\nstore: { driver: redis }\n`
  const config = parseConfig(text, { env, path: '/etc/ss/sidestream.yaml' })
  deepStrictEqual(config.log.kafka.brokers, ['a:9092', 'b:9092'])
  deepStrictEqual(config.store.redis.nodes, ['[::1]:6379'])
  strictEqual(config.log.kafka.caFile, '/etc/ss/ca.pem')
  deepStrictEqual([config.log.kafka.password, config.store.redis.password], ['hunter2', 'hunter3'])
  ok(!/hunter/.test(JSON.stringify(redactConfig(config))))
})

test('the environment overrides what is declared, and only that', () => {
  const env = {
    SIDESTREAM_METRICS_TOKEN: 'from-the-environment',
    SIDESTREAM_METRICS_PORT: '9464',
    SIDESTREAM_SEED: '5',
    SIDESTREAM_DATA_DIR: '',
  }
  const config = parseConfig(`${smallest}metrics: { token: from-the-file, host: 0.0.0.0 }`, { env })
  deepStrictEqual(config.metrics, { host: '0.0.0.0', port: 9464, token: 'from-the-environment' })
  strictEqual(config.seed, configDefaults.seed)
  match(refusal(smallest, { SIDESTREAM_METRICS_PORT: 'high' }), /SIDESTREAM_METRICS_PORT: must be a whole number \(got "high"\)/)
})

test('a secret is shown neither in a message nor in the redacted configuration', () => {
  const message = refusal(smallest, { SIDESTREAM_METRICS_TOKEN: 'hunter2' })
  match(message, /metrics\.token: must have at least 8 characters \(got a secret\)/)
  ok(!message.includes('hunter2'))
  const config = parseConfig(smallest, { env: { SIDESTREAM_METRICS_TOKEN: 'hunter2hunter2' } })
  ok(!JSON.stringify(redactConfig(config)).includes('hunter2'))
  strictEqual(config.metrics.token, 'hunter2hunter2')
  strictEqual(redactConfig(parseConfig(smallest)).metrics.token, null)
})

test('dimensions of views follow head and prefix', () => {
  const wide = smallest.replace('dim: 8', 'dim: 300')
  const config = parseConfig(`${wide}head: { contentDims: 250 }\nviews: { all: {}, short: { prefix: 64 } }\n`)
  strictEqual(contentDims(config), 250)
  deepStrictEqual(viewDims(config, 'all'), { distilled: 128, content: 250, total: 378 })
  deepStrictEqual(viewDims(config, 'short'), { distilled: 64, content: 125, total: 189 })
  throws(() => viewDims(config, 'nope'), /no view `nope`; there are: all, short/)
  strictEqual(semanticIdView(config), 'all')
})

test('the content part is never wider than the content, and is not there without a share', () => {
  deepStrictEqual(viewDims(parseConfig(`${smallest}views: { all: {} }\n`), 'all'), { distilled: 128, content: 8, total: 136 })
  const none = parseConfig(`${smallest}head: { contentShare: 0 }\nviews: { all: {} }\n`)
  deepStrictEqual(viewDims(none, 'all'), { distilled: 128, content: 0, total: 128 })
})

test('the schema registry: credentials from the environment, shown nowhere, and names that fit our fields', () => {
  const env = {
    SIDESTREAM_SCHEMA_REGISTRY_URL: 'https://registry:8081',
    SIDESTREAM_SCHEMA_REGISTRY_USERNAME: 'me',
    SIDESTREAM_SCHEMA_REGISTRY_PASSWORD: 'hunter2',
  }
  const config = parseConfig(`${smallest}schemaRegistry: { caFile: ca.pem, fields: { interactions: { userId: uid } } }\n`, {
    env,
    path: '/etc/shop/sidestream.yaml',
  })
  const { url, username, password, caFile, fields } = config.schemaRegistry
  deepStrictEqual([url, username, password, caFile], ['https://registry:8081', 'me', 'hunter2', '/etc/shop/ca.pem'])
  deepStrictEqual(fields.interactions, { userId: 'uid' })
  ok(!JSON.stringify(redactConfig(config)).includes('hunter2'))

  const problem = (options: string): string => {
    try {
      parseConfig(`${smallest}schemaRegistry: ${options}\n`)
    } catch (error) {
      ok(!String(error).includes('hunter2'), String(error))
      return String(error)
    }
    return 'none'
  }
  match(problem("{ url: 'https://me:hunter2@registry' }"), /schemaRegistry\.url: must not hold a user name or password/)
  match(problem("{ url: 'me:hunter2@registry' }"), /schemaRegistry\.url: must be a URL that begins with http/)
  match(problem("{ url: 'http://registry?token=hunter2' }"), /schemaRegistry\.url: must be a base URL/)
  match(problem("{ url: 'http://registry', caFile: ca.pem }"), /schemaRegistry\.url: must begin with https/)
  match(problem('{ password: hunter2 }'), /schemaRegistry\.username: must be given with a password/)
  match(problem('{ username: me, password: hunter2, token: hunter2 }'), /schemaRegistry\.token: and a user name exclude each other/)
  match(problem('{ certFile: a.pem }'), /schemaRegistry\.certFile: and keyFile must be given together/)
  match(
    problem('{ fields: { interactions: { user: uid } } }'),
    /fields\.interactions: must name fields of ours, userId, itemId, .*\(got "user"\)/,
  )
  match(
    problem('{ fields: { item-content: { vectors.smell: s } } }'),
    /fields\.item-content: must name fields of ours, .*vectors\.text.*\(got "vectors\.smell"\)/,
  )
  match(problem('{ fields: { interactions: { userId: a b } } }'), /fields\.interactions\.userId: must be the name of an Avro field/)
  match(problem('{ fields: { clicks: {} } }'), /fields\.clicks: is not an option/)
})

/** Value at a dotted path; `<name>` and `[]` take the first entry. */
function at(value: unknown, path: string): unknown {
  let here: unknown = value
  for (const key of path.replaceAll('[]', '.<name>').split('.')) {
    const holder = here as Record<string, unknown> | undefined
    here = key === '<name>' ? Object.values(holder ?? {})[0] : holder?.[key]
  }
  return here
}

test('schema and defaults agree: an option has a default exactly when it need not be given', () => {
  const defaults = {
    ...configDefaults,
    guard: { ...configDefaults.guard, gate: { coldPop: gateRuleDefaults } },
    semanticIds: { ...configDefaults.semanticIds, gate: { uniqueRate: sidGateRuleDefaults } },
    training: {
      ...configDefaults.training,
      stages: [{ ...stageDefaults, losses: { tags: stageLossDefaults } }],
      teachers: { item: teacherKindDefaults },
    },
  }
  const entries = new Map<string, unknown>([
    ['guard.gate', {}],
    ['semanticIds.gate', {}],
    ['training.stages', configDefaults.training.stages],
    ['training.stages[].losses', {}],
    ['training.teachers', {}],
  ])
  for (const option of describeConfig()) {
    if (entries.has(option.path)) deepStrictEqual(option.default, entries.get(option.path), option.path)
    else deepStrictEqual(option.default, at(defaults, option.path), option.path)
    strictEqual(option.required, option.default === undefined, option.path)
  }
})

test('every default is an option of the schema', () => {
  const known = new Set(describeConfig().map((option) => option.path))
  const leaves = (value: object, prefix: string): string[] =>
    Object.entries(value).flatMap(([key, inner]: [string, unknown]) => {
      const path = prefix === '' ? key : `${prefix}.${key}`
      return typeof inner === 'object' &&
        inner !== null &&
        !Array.isArray(inner) &&
        path !== 'views' &&
        path !== 'training.sources' &&
        path !== 'training.teachers'
        ? leaves(inner, path)
        : [path]
    })
  for (const path of leaves(configDefaults, '')) ok(known.has(path), `${path} is in the schema`)
})

test('every option says what it means, and times and sizes name their unit', () => {
  const units = [
    [/Ms$/, 'ms'],
    [/Bytes$/, 'bytes'],
    [/(^|\.)dim$|Dims$/, 'dims'],
  ] as const
  for (const { path, description, unit, type } of describeConfig()) {
    ok(description.length > 20, `${path} is described`)
    ok(type.length > 0, `${path} says what it takes`)
    for (const [end, wanted] of units) if (end.test(path)) strictEqual(unit, wanted, path)
  }
})

test('the gate takes thresholds on figures that there are, with something to hold', () => {
  const yaml = (gate: string): string => `${smallest}guard: { gate: ${gate} }\n`
  deepStrictEqual(parseConfig(yaml('{ coldRecall10: { min: 0.05, maxLoss: 0.01 } }')).guard.gate, {
    coldRecall10: { ...gateRuleDefaults, min: 0.05, maxLoss: 0.01 },
  })
  const problem = (gate: string): string => refusal(yaml(gate))
  match(problem('{ coldRecall11: { min: 0.05 } }'), /guard\.gate\.coldRecall11/)
  match(problem('{ coldPop: {} }'), /guard\.gate\.coldPop: must set `min`, `max` or `maxLoss`/)
  match(problem('{ coldPop: { min: 0.5, against: live } }'), /guard\.gate\.coldPop: `against` belongs to `maxLoss`/)
})

test('the gate on semantic IDs takes figures of as many levels as there are', () => {
  const yaml = (gate: string): string => `${smallest}semanticIds: { levels: [8, 8], fsqDigits: [3], gate: ${gate} }\n`
  deepStrictEqual(parseConfig(yaml('{ level3.dead: { max: 0 }, maxBucket: { max: 40, maxLoss: 5 } }')).semanticIds.gate, {
    'level3.dead': { ...sidGateRuleDefaults, max: 0 },
    maxBucket: { ...sidGateRuleDefaults, max: 40, maxLoss: 5 },
  })
  const problem = (gate: string): string => refusal(yaml(gate))
  match(problem('{ level4.dead: { max: 0 } }'), /gate\.level4\.dead: must be a figure of IDs of 3 levels: .*`levelN\.` with used/)
  match(problem('{ uniqeRate: { min: 0.7 } }'), /gate\.uniqeRate: must be a figure .*`uniqueRate`/)
  match(problem('{ uniqueRate: {} }'), /gate\.uniqueRate: must set `min`, `max` or `maxLoss`/)
  match(problem('{ churn.full: { maxLoss: 0.1 } }'), /gate\.churn\.full\.maxLoss: must be left out: churn is a change already/)
})

test('options of a quantizer that exclude each other are refused, each at its path', () => {
  const problem = (group: string): string => refusal(`${smallest}semanticIds: ${group}\n`)
  match(problem('{ beam: 4, normalizeResiduals: true }'), /semanticIds\.beam: must be 1 with `normalizeResiduals`.*\(got 4\)/)
  match(
    problem('{ rotate: whole, normalizeResiduals: true }'),
    /semanticIds\.rotate: must be none with `normalizeResiduals`.*\(got whole\)/,
  )
  match(problem('{ rotate: blocks, method: rq-vae }'), /semanticIds\.rotate: must be none with `method: rq-vae`.*re-based.*\(got blocks\)/)
  const foreign = problem('{ method: rq-vae, beam: 4, normalizeResiduals: true, balance: 0.05, fsqDigits: [5] }')
  for (const key of ['beam', 'normalizeResiduals', 'balance', 'fsqDigits'])
    match(foreign, new RegExp(`semanticIds\\.${key}: belongs to .method: rq-kmeans.; .*: leave it out \\(got`))
  match(problem('{ fsqDigits: [500, 500] }'), /semanticIds\.fsqDigits: must multiply to at most 65536 codes \(got 500 x 500 = 250000\)/)
  const short = `head: { dim: 2, prefixes: [2], contentShare: 0 }\n`
  match(refusal(`${smallest}${short}semanticIds: { fsqDigits: [2, 2, 2] }\n`), /fsqDigits: must be at most one for each of the 2 dims/)
  const bounds = '{ levels: [8, 8], fsqDigits: [3], churnBudgetPrefixes: [0.1, null, null] }'
  strictEqual(parseConfig(`${smallest}semanticIds: ${bounds}\n`).semanticIds.churnBudgetPrefixes?.length, 3)
  match(problem(bounds.replace('fsqDigits: [3], ', '')), /churnBudgetPrefixes: must have at most one bound for each of the 2 levels/)
})

test('sources and stages take their defaults, entry by entry', () => {
  const { sources, stages } = parseConfig(
    `${smallest}training: { sources: { tags: { kind: pairs, losses: { cosent: 0 } } }, stages: [{ name: base, sources: [tags] }] }\n`,
  ).training
  deepStrictEqual(sources, { tags: { ...sourceDefaults, kind: 'pairs', losses: { ...sourceDefaults.losses, cosent: 0 } } })
  deepStrictEqual(stages, [{ name: 'base', ...stageDefaults, sources: ['tags'] }])
})

test('sources and stages that contradict each other are refused, each at its path', () => {
  const message = refusal(`${smallest}training:
  sources:
    seq: { set: content-single, scored: true, from: content, entities: [item] }
    tags: { kind: pairs, pooler: transformer, positiveFrom: 2 }
    near: { kind: pairs, from: content, scored: true }
    ids: { kind: ids }
    twice: { kind: ids, entities: [item, item] }
  teachers: { author: { by: author } }
  stages:
    - { name: base, sources: [seq, tgas], steps: 3, passes: 2 }
    - { name: base, balance: shares, shares: { other: 1 } }
    - { name: late, when: start, sources: [], shares: { seq: 1 } }
`)
  for (const line of [
    /sources\.seq\.set: must be one of sequences\.sets, plain \(got content-single\)/,
    /sources\.seq\.scored: belongs to a source of kind pairs \(the kind here is sequences\)/,
    /sources\.seq\.from: belongs to a source of kind pairs/,
    /sources\.seq\.entities: belongs to a source of kind ids/,
    /sources\.tags\.pooler: belongs to a source of kind sequences/,
    /sources\.near\.scored: must be false for pairs made of content/,
    /sources\.tags\.positiveFrom: belongs to a source with `scored: true`/,
    /sources\.ids\.entities: must name at least one kind/,
    /sources\.twice\.entities: must not name a kind twice/,
    /sources\.twice\.entities: must name kinds of training\.teachers, author \(got item\)/,
    /stages\.0\.sources: must name sources of training\.sources, seq, tags, near, ids, twice \(got tgas\)/,
    /stages\.0\.steps: excludes `passes`/,
    /stages\.1\.name: must not be the name of another stage \(got base\)/,
    /stages\.1\.shares: must name sources of training\.sources/,
    /stages\.1\.shares: must give one of its sources a share above 0/,
    /stages\.2\.when: must be `round` after a stage of rounds/,
    /stages\.2\.sources: must name at least one source, or be null/,
    /stages\.2\.shares: belongs to `balance: shares`/,
  ]) {
    match(message, line)
  }
})

test('so many sources that the floor leaves nothing to balance are refused before anything runs', () => {
  const training = (count: number, floor = ''): string => {
    const sources = Array.from({ length: count }, (_, i) => `s${i}: { kind: pairs }`).join(', ')
    return `${smallest}training: { ${floor} sources: { ${sources} }, stages: [{ name: base, balance: tasks }] }\n`
  }
  match(refusal(training(50)), /training\.stages\.0\.balance: needs a smaller training\.balance\.floor: 50 sources of base with 0\.02 each/)
  strictEqual(parseConfig(training(49)).training.balance.floor, 0.02)
  strictEqual(parseConfig(training(64, 'balance: { floor: 0.005 },')).training.balance.floor, 0.005)
})

test('weights of prefixes, the shape of the pooler and the floor of a balance must fit what they belong to', () => {
  const sources = '{ seq: { pooler: transformer }, tags: { kind: pairs, cosentTemperature: 0.1 }, near: { kind: pairs, from: content } }'
  const stages = '[{ name: base, balance: tasks }, { name: late, balance: tasks, sources: [seq] }]'
  const message = refusal(
    `${smallest}training: { prefixWeights: [1, 2], pooler: { width: 10 }, balance: { floor: 0.34 }, sources: ${sources}, stages: ${stages} }\n`,
  )
  match(message, /training\.prefixWeights: must be one for each of head\.prefixes, 32, 64, 128 \(got 2\)/)
  match(message, /training\.pooler\.heads: must divide the width, which is 10 \(got 4\)/)
  match(message, /training\.stages\.0\.balance: needs a smaller training\.balance\.floor: 3 sources/)
  match(message, /training\.sources\.tags\.cosentTemperature: belongs to a source with `scored: true`/)
  ok(!message.includes('stages.1.'), message)
  match(refusal(`${smallest}training: { prefixWeights: [0, 0, 0] }\n`), /must have a weight above 0/)
  // Nobody pools by a transformer here.
  strictEqual(parseConfig(`${smallest}training: { pooler: { width: 10 } }\n`).training.pooler.width, 10)
})

test('a pattern names modalities that there are, or all of them together against one', () => {
  const yaml = (kind: string, patterns: string): string =>
    `${smallest}training: { sources: { tags: { kind: ${kind}, patterns: ${patterns} } } }\n`
  const [modality] = Object.keys(parseConfig(smallest).content.modalities)
  const fine = `[{ query: ${modality}, target: fused }, { query: fused, target: ${modality} }]`
  strictEqual(parseConfig(yaml('pairs', fine)).training.sources['tags']!.patterns.length, 2)
  match(refusal(yaml('sequences', fine)), /tags\.patterns: belongs to a source of kind pairs/)
  match(refusal(yaml('pairs', `[{ query: ${modality}, target: sound }]`)), /patterns\.0: must name modalities, .*, or fused \(got sound\)/)
  match(refusal(yaml('pairs', '[{ query: fused, target: fused }]')), /patterns\.0: is what every source trains/)
  match(refusal(yaml('pairs', fine.replace(']', `, { query: fused, target: ${modality} }]`))), /patterns\.2: must not be there twice/)
  const named = `content: { modalities: { fused: { dim: 4 } } }\ninteractions: { positiveBehaviors: [click] }\n`
  match(refusal(`${named}${yaml('pairs', '[{ query: fused, target: fused }]').slice(smallest.length)}`), /cannot tell the modality fused/)
})

test('the cut of content comes from a source of unscored pairs, or is given', () => {
  const sources = '{ seq: {}, tags: { kind: pairs }, graded: { kind: pairs, scored: true } }'
  const yaml = (from: string, more = ''): string =>
    `${smallest}sequences: { contentCutFrom: ${from}${more} }\ntraining: { sources: ${sources} }\n`
  strictEqual(parseConfig(yaml('tags')).sequences.contentCutFrom, 'tags')
  for (const other of ['seq', 'graded', 'gone'])
    match(refusal(yaml(other)), new RegExp(`contentCutFrom: must name a source of pairs without scores.*got ${other}`))
  match(refusal(yaml('tags', ', contentCut: 0.5')), /contentCutFrom: excludes `contentCut`/)
})

test('a learned temperature begins within its bounds, wherever it comes from', () => {
  const yaml = (temperature: number, own: string): string =>
    `${smallest}training: { temperature: ${temperature}, sources: { tags: { kind: pairs, learnTemperature: true${own} } } }\n`
  match(
    refusal(yaml(2, '')),
    /sources\.tags\.learnTemperature: needs a temperature from 0\.01 to 1 to begin at \(got 2, of training\.temperature\)/,
  )
  match(refusal(yaml(0.005, '')), /got 0\.005/)
  strictEqual(parseConfig(yaml(2, ', temperature: 0.5')).training.sources['tags']!.temperature, 0.5)
})

test('temperatures and losses of a stage belong to its sources, losses to pairs', () => {
  const yaml = (own: string): string =>
    `${smallest}training:\n  sources: { seq: {}, tags: { kind: pairs }, near: { kind: pairs, from: content } }\n  stages: [{ name: one, sources: [seq, tags], ${own} }]\n`
  match(refusal(yaml('temperatures: { near: 0.1 }')), /stages\.0\.temperatures: must name sources of the stage, seq, tags \(got near\)/)
  match(refusal(yaml('losses: { gone: { cosent: 1 } }')), /stages\.0\.losses: must name sources of the stage, seq, tags \(got gone\)/)
  match(refusal(yaml('losses: { seq: { modality: 1 } }')), /losses\.seq: belongs to a source of kind pairs \(the kind here is sequences\)/)
  match(refusal(yaml('temperatures: { seq: 0 }')), /temperatures\.seq/)
  deepStrictEqual(parseConfig(yaml('losses: { tags: { modality: 0 } }')).training.stages[0]!.losses, {
    tags: { cosent: null, modality: 0, lateFusion: null, patterns: null },
  })
})

test('the page of what the paper leaves open names options that there are, with their defaults', () => {
  const page = readFileSync(new URL('docs/decisions/0025-what-the-paper-leaves-open.md', checkout), 'utf8')
  const rows = [...page.matchAll(/^\| [^|]+ \| `([^`]+)`[^|]* \| `([^`]+)` \|$/gm)]
  ok(rows.length >= 40, `${rows.length} rows`)
  const options = new Map(describeConfig().map(({ path, default: value }) => [path, JSON.stringify(value)]))
  for (const [, value, path] of rows) strictEqual(options.get(path!), JSON.stringify(JSON.parse(value!)), path)
})

test('the reference page is the one made from the schema', () => {
  const page = readFileSync(new URL('docs/reference/configuration.md', checkout), 'utf8')
  strictEqual(page, configReference(), 'run `node --import tsx scripts/config-docs.mjs` and commit the page')
  for (const { path, default: value, required } of describeConfig()) {
    const row = page.split('\n').find((line) => line.startsWith(`| \`${path}\` |`))
    ok(row !== undefined, `${path} is on the page`)
    ok(row.includes(required ? '**required**' : `\`${JSON.stringify(value)}\``), `${path} shows its default`)
  }
  for (const { variable } of configEnvironment) ok(page.includes(variable))
})
