import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import {
  isSidestreamError,
  parseRecipe,
  readRecipe,
  recipeFits,
  writeEmbeddings,
  writeVectorsF32,
  type Recipe,
  type SourceEvent,
} from '../../schemas/index.ts'
import { collect, temporaryDirectory } from './temp.ts'

const config = `
config:
  content: { modalities: { text: { dim: 2 }, image: { dim: 3 } } }
  interactions: { positiveBehaviors: [click] }
`
const head = `
name: shop
title: A shop
detect: [clicks.csv.gz, text.f32]
interactions:
  file: clicks.csv.gz
  columns: { userId: user, itemId: article, ts: at }
  tsUnit: s
  behaviors: { always: [click] }
`
const content = `
content:
  modalities:
    text: { file: text.f32 }
    image: { file: image.parquet }
  table: { file: items.csv, itemId: id, labels: [category], authorId: publisher }
  time:
    earliestOf: [{ column: created, unit: ms }, first-interaction]
    offsetMs: -1
`

/** The message of the refusal of a recipe. */
function refusal(yaml: string): string {
  try {
    parseRecipe(yaml, 'recipe.yaml')
  } catch (error) {
    ok(isSidestreamError(error))
    strictEqual(error.code, 'SIDESTREAM_CONFIG_INVALID')
    return error.message
  }
  throw new Error('was accepted')
}

const clicks = 'user,article,at\nu1,a,10\nu2,b,11\nu1,c,12\nu1,b,13\nu3,a,14\n'

/** A data directory: vectors of text for a, b, c and of image for b, d; a table with a few times. */
async function shop(directory: string, interactions: string = clicks): Promise<void> {
  writeFileSync(join(directory, 'clicks.csv.gz'), gzipSync(interactions))
  writeFileSync(join(directory, 'items.csv'), 'id,category,created,publisher\na,9,15000,p1\nb,,10500,\nzz,1,1,p2\nd,7,12500,p3\n')
  await writeVectorsF32(join(directory, 'text.f32'), [{ dim: 2, ids: ['a', 'b', 'c'], vectors: Float32Array.from([1, 2, 3, 4, 5, 6]) }])
  await writeEmbeddings(join(directory, 'image.parquet'), [{ dim: 3, ids: ['b', 'd'], vectors: Float32Array.from([1, 2, 3, 4, 5, 6]) }])
}

/** `time kind id`, one an event. */
async function story(recipe: Recipe, directory: string): Promise<string[]> {
  const events = await collect<SourceEvent>(readRecipe(recipe, directory))
  return events.map(
    (event) =>
      `${event.eventTs} ${event.topic} ${event.topic === 'item-content' ? event.itemId : event.topic === 'interactions' ? event.record.itemId : event.topic === 'id-embeddings' ? event.record.entityId : ''}`,
  )
}

test('a recipe merges content and interactions in time order', async (t) => {
  const directory = temporaryDirectory(t)
  await shop(directory)
  const recipe = parseRecipe(head + content + config)
  deepStrictEqual(await story(recipe, directory), [
    '9999 item-content a', // first click at 10 s, before its created time
    '10000 interactions a',
    '10499 item-content b', // created before its first click
    '11000 interactions b',
    '11999 item-content c',
    '12000 interactions c',
    '12499 item-content d',
    '13000 interactions b',
    '14000 interactions a',
  ])
  const events = await collect(readRecipe(recipe, directory))
  const contents = events.flatMap((event) => (event.topic === 'item-content' ? [event.record] : []))
  deepStrictEqual(contents, [
    { itemId: 'a', eventTs: 9999, vectors: { text: new Float32Array([1, 2]) }, labels: ['category:9'], authorId: 'p1' },
    { itemId: 'b', eventTs: 10_499, vectors: { text: new Float32Array([3, 4]), image: new Float32Array([1, 2, 3]) } },
    { itemId: 'c', eventTs: 11_999, vectors: { text: new Float32Array([5, 6]) } },
    { itemId: 'd', eventTs: 12_499, vectors: { image: new Float32Array([4, 5, 6]) }, labels: ['category:7'], authorId: 'p3' },
  ])
  deepStrictEqual(
    events.find((event) => event.topic === 'interactions'),
    { topic: 'interactions', eventTs: 10_000, record: { userId: 'u1', itemId: 'a', eventTs: 10_000, behaviors: ['click'] } },
  )
})

test('a window leaves out earlier interactions and all that comes later', async (t) => {
  const directory = temporaryDirectory(t)
  await shop(directory)
  const recipe = parseRecipe(`${head}${content}window: { from: 11000, until: 1970-01-01T00:00:12.499Z }\n${config}`)
  deepStrictEqual(await story(recipe, directory), [
    '9999 item-content a',
    '10499 item-content b',
    '11000 interactions b',
    '11999 item-content c',
    '12000 interactions c',
  ])
})

test('interactions out of order are refused, or sorted when the recipe says so', async (t) => {
  const directory = temporaryDirectory(t)
  await shop(directory, 'user,article,at\nu1,b,13\nu1,a,10\nu2,a,10\nu2,c,12\n')
  await rejects(story(parseRecipe(head + content + config), directory), (error: Error & { code: string }) => {
    strictEqual(error.code, 'SIDESTREAM_FILE_INVALID')
    match(error.message, /clicks\.csv\.gz: is not in time order: record 2 is earlier.*set `order: any` in the recipe/)
    return true
  })
  const sorted = parseRecipe(head.replace('tsUnit: s', 'tsUnit: s\n  order: any') + content + config)
  deepStrictEqual(
    (await story(sorted, directory)).filter((line) => line.includes('interactions')),
    ['10000 interactions a', '10000 interactions a', '12000 interactions c', '13000 interactions b'],
  )
})

test('an item without a known time fails the recipe, or is left out', async (t) => {
  const directory = temporaryDirectory(t)
  await shop(directory, 'user,article,at\nu1,a,10\n')
  await rejects(story(parseRecipe(head + content + config), directory), {
    code: 'SIDESTREAM_FILE_INVALID',
    message: /no time is known for item c; add a bound.*unknown: skip/,
  })
  const skipping = parseRecipe(head + content.replace('offsetMs: -1', 'offsetMs: -1\n    unknown: skip') + config)
  deepStrictEqual(await story(skipping, directory), [
    '9999 item-content a',
    '10000 interactions a',
    '10499 item-content b',
    '12499 item-content d',
  ])
})

test('vectors of another dimension than the configuration says are refused', async (t) => {
  const directory = temporaryDirectory(t)
  await shop(directory)
  const recipe = parseRecipe(head + content + config.replace('dim: 2', 'dim: 5'))
  await rejects(story(recipe, directory), {
    code: 'SIDESTREAM_FILE_INVALID',
    message: /text\.f32: has vectors of 2 dimensions; config\.content\.modalities\.text\.dim says 5/,
  })
})

test('content and ID embeddings in the contracts need no mapping', async (t) => {
  const directory = temporaryDirectory(t)
  await shop(directory)
  writeFileSync(join(directory, 'content.csv'), 'item_id,ts,text,image,deleted\na,9000,1|2,,\nb,10000,,1|2|3,\na,10000,,,true\n')
  writeFileSync(join(directory, 'ids.csv'), 'entity,entity_id,ts,vector,exposures\nitem,a,12000,1|2,9\nitem,b,10000,1|2,9\n')
  const yaml = `${head}content: { file: content.csv }\nidEmbeddings: { file: ids.csv, order: any }\n${config}`
  deepStrictEqual(await story(parseRecipe(yaml), directory), [
    '9000 item-content a',
    '10000 item-content b',
    '10000 item-content a',
    '10000 id-embeddings b',
    '10000 interactions a',
    '11000 interactions b',
    '12000 id-embeddings a',
    '12000 interactions c',
    '13000 interactions b',
    '14000 interactions a',
  ])
})

test('a recipe fits a directory that has all of its files', async (t) => {
  const directory = temporaryDirectory(t)
  const recipe = parseRecipe(head + content + config)
  strictEqual(await recipeFits(recipe, directory), false)
  writeFileSync(join(directory, 'text.f32'), '')
  strictEqual(await recipeFits(recipe, directory), false)
  writeFileSync(join(directory, 'clicks.csv.gz'), '')
  strictEqual(await recipeFits(recipe, directory), true)
})

test('mistakes in a recipe name their path and what was meant', () => {
  match(
    refusal(head + content + config.replace('dim: 2', 'dims: 2')),
    /config\.content\.modalities\.text\.dims: is not an option; did you mean `dim`\?/,
  )
  match(
    refusal(head.replace('tsUnit', 'tsUnits') + content + config),
    /interactions\.tsUnits: is not an option; did you mean `tsUnit`\?, line 8/,
  )
  match(
    refusal(head.replace('file: clicks.csv.gz', 'file: ../clicks.csv.gz') + content + config),
    /interactions\.file: must be a path inside the data directory \(got "\.\.\/clicks\.csv\.gz"\)/,
  )
  match(
    refusal(head + content + config.replace(', image: { dim: 3 }', '')),
    /content\.modalities\.image: has no dimension under config\.content\.modalities/,
  )
  match(
    refusal(head + content.replace(/ {2}table.*\n/, '') + config),
    /content\.time\.earliestOf: names a column, so `content\.table` is needed/,
  )
  match(
    refusal(head + content.replace('publisher }', 'publisher, label: x }') + config),
    /^recipe\.yaml has a problem:\n {2}content\.table\.label: is not an option; did you mean `labels`\?/,
  )
  match(
    refusal(head + content.replace('offsetMs: -1', 'offsetMs: soon') + config),
    /content\.time\.offsetMs: must be a number \(got "soon"\)/,
  )
  match(
    refusal(head.replace('always', 'alway') + content + config),
    /interactions\.behaviors\.alway: is not an option; did you mean `always`\?/,
  )
  match(refusal(`${head}${content}window: { until: yesterday }\n${config}`), /window\.until: must be/)
  match(refusal(`${head}${content}${config}  head: { prefixes: [64, 32, 128] }\n`), /config\.head\.prefixes: must be ascending/)
})

test('the recipes that come with the project are valid', () => {
  const recipe = parseRecipe(readFileSync(new URL('../../examples/globo-news/recipe.yaml', import.meta.url), 'utf8'))
  strictEqual(recipe.name, 'globo-news')
  deepStrictEqual(recipe.config.semanticIds.levels, [64, 64, 64])
  deepStrictEqual(recipe.config.content.modalities, { text: { dim: 250 } })
  deepStrictEqual(recipe.config.interactions.positiveBehaviors, ['click'])
  strictEqual(recipe.config.head.contentDims, 250)
})
