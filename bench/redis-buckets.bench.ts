/**
 * How many buckets a view should have: the same items in Redis with several numbers of buckets, beside a key per item.
 * Prints per number: bytes an item takes, batch reads of 500 and 2,000 random items (median and 99th percentile, and the CPU
 * time of server and client, which says more on a busy machine), guarded writes, the largest bucket, how long one command of a
 * scan holds the server, and collecting: until the call returns and until the memory is free. Starts a Redis of its own for each number, one at a time.
 * Options: `--items N` (50,000), `--buckets LIST` (16,64,256,1024,4096), `--bytes N` (300), `--listpack N` (buckets of at most
 * N items are kept packed, which Redis does not do by default for values above 64 bytes), `--no-keys` (no row of keys).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { Redis } from 'ioredis'

import { murmur2 } from '../compute/index.ts'
import { openRedisStore } from '../connectors/index.ts'
import { ownRedis } from '../test/services/index.ts'
import { median, watchOthers } from './harness.ts'
import { redisItems } from './redis-items.ts'

const { values: options } = parseArgs({
  options: {
    items: { type: 'string', default: '50000' },
    buckets: { type: 'string', default: '16,64,256,1024,4096' },
    bytes: { type: 'string', default: '300' },
    listpack: { type: 'string' },
    'no-keys': { type: 'boolean', default: false },
  },
})
const items = Number(options.items)
const valueBytes = Number(options.bytes)
const { idOf, entriesOf } = redisItems(valueBytes)
const target = { project: 'bench', view: 'items', version: 1 }
const reads = 300
const loadBatch = 10_000

if (!options['no-keys']) await measure('a key per item', measureKeys)
for (const buckets of options.buckets.split(',').map(Number)) {
  await measure(`${buckets} buckets`, (redis, port) => measureBuckets(redis, port, buckets))
}

async function measure(name: string, body: (redis: Redis, port: number) => Promise<Record<string, unknown>>): Promise<void> {
  const config = options.listpack === undefined ? [] : [`hash-max-listpack-entries ${options.listpack}`, 'hash-max-listpack-value 4096']
  const server = await ownRedis({ config })
  const redis = new Redis({ port: server.port })
  const others = watchOthers()
  try {
    const figures = await body(redis, server.port)
    process.stdout.write(`${JSON.stringify({ bench: `${items} items of ${valueBytes} bytes, ${name}`, ...figures, others: others() })}\n`)
  } finally {
    redis.disconnect()
    await server.close()
  }
}

async function measureBuckets(redis: Redis, port: number, buckets: number): Promise<Record<string, unknown>> {
  const store = await openRedisStore({ port, buckets, commandTimeoutMs: 60_000 })
  try {
    const before = await memory(redis)
    await store.write(target, entriesOf(0, 1, 1))
    await load(redis, (first, count) => {
      const groups = new Map<number, (string | Buffer)[]>()
      for (const { id, value } of entriesOf(first, count, 1)) {
        const bucket = (murmur2(Buffer.from(id)) & 0x7fffffff) % buckets
        const group = groups.get(bucket)
        if (group === undefined) groups.set(bucket, [id, value])
        else group.push(id, value)
      }
      const pipeline = redis.pipeline()
      for (const [bucket, group] of groups) pipeline.hset(keyOf(bucket), ...group)
      return pipeline
    })
    const bytes = ((await memory(redis)) - before) / items
    const encoding = String(await redis.object('ENCODING', keyOf(0)))
    const figures: Record<string, unknown> = { 'bytes/item': rounded(bytes), encoding }
    for (const batch of [500, 2_000])
      Object.assign(figures, await timeReads(redis, batch, async (ids) => (await store.read(target, ids)).values))
    Object.assign(
      figures,
      await timeWrites(redis, async (first, offset) => void (await store.write(target, entriesOf(first, 2_000, offset)))),
    )
    figures['largest bucket MB'] = rounded(((await redis.memory('USAGE', keyOf(0))) ?? 0) / 1e6)
    const idle = await serverCpu(redis)
    for (let tried = 0; tried < 5; tried++) await redis.hkeysBuffer(keyOf(0))
    figures['HKEYS ms'] = rounded(((await serverCpu(redis)) - idle) / 5)
    const started = performance.now()
    await store.usage(target.project, target.version)
    figures['usage ms'] = rounded(performance.now() - started)
    return { ...figures, ...(await timeCollect(redis, before, () => store.collect(target.project, target.version))) }
  } finally {
    await store.close()
  }
}

async function measureKeys(redis: Redis): Promise<Record<string, unknown>> {
  const before = await memory(redis)
  await load(redis, (first, count) => {
    const pipeline = redis.pipeline()
    for (const { id, value } of entriesOf(first, count, 1)) pipeline.set(keyOf(id), value)
    return pipeline
  })
  const figures: Record<string, unknown> = { 'bytes/item': rounded(((await memory(redis)) - before) / items) }
  for (const batch of [500, 2_000]) Object.assign(figures, await timeReads(redis, batch, (ids) => redis.mgetBuffer(...ids.map(keyOf))))
  const collect = async (): Promise<void> => {
    for (let first = 0; first < items; first += loadBatch) {
      await redis.unlink(...Array.from({ length: Math.min(loadBatch, items - first) }, (_, i) => keyOf(idOf(first + i))))
    }
  }
  return { ...figures, ...(await timeCollect(redis, before, collect)) }
}

async function load(redis: Redis, pipelineOf: (first: number, count: number) => ReturnType<Redis['pipeline']>): Promise<void> {
  let last: Promise<unknown> = Promise.resolve()
  for (let first = 0; first < items; first += loadBatch) {
    const next = pipelineOf(first, Math.min(loadBatch, items - first))
    await last
    last = next.exec()
  }
  await last
}

async function timeReads(
  redis: Redis,
  batch: number,
  read: (ids: string[]) => Promise<readonly unknown[]>,
): Promise<Record<string, unknown>> {
  const times: number[] = []
  let client = 0
  const before = await serverCpu(redis)
  for (let call = 0; call < reads + 20; call++) {
    const ids = Array.from({ length: batch }, (_, i) => idOf(((call * batch + i) * 104_729) % items))
    const cpu = process.cpuUsage()
    const started = performance.now()
    const values = await read(ids)
    if (call >= 20) times.push(performance.now() - started)
    const { user, system } = process.cpuUsage(cpu)
    client += user + system
    if (values.some((value) => value === undefined || value === null)) throw new Error('an item is missing')
  }
  const server = (await serverCpu(redis)) - before
  return {
    [`read ${batch} ms`]: rounded(median(times)),
    [`read ${batch} p99 ms`]: rounded(times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)]!),
    [`read ${batch} CPU ms server`]: rounded(server / (reads + 20)),
    [`read ${batch} CPU ms client`]: rounded(client / 1_000 / (reads + 20)),
  }
}

async function timeWrites(redis: Redis, write: (first: number, offset: number) => Promise<void>): Promise<Record<string, unknown>> {
  const before = await serverCpu(redis)
  const started = performance.now()
  const rounds = 20
  for (let round = 0; round < rounds; round++) await write((round * 2_000) % Math.max(1, items - 2_000), 10 + round)
  const seconds = (performance.now() - started) / 1_000
  return {
    'guarded writes/s': Math.round((rounds * 2_000) / seconds),
    'write CPU µs server': rounded((((await serverCpu(redis)) - before) * 1_000) / (rounds * 2_000)),
  }
}

async function timeCollect(redis: Redis, before: number, collect: () => Promise<void>): Promise<Record<string, unknown>> {
  const used = await memory(redis)
  const started = performance.now()
  await collect()
  const returned = performance.now() - started
  while ((await memory(redis)) - before > 0.1 * (used - before)) await sleep(2)
  return { 'collect ms': rounded(returned), 'free ms': rounded(performance.now() - started) }
}

function keyOf(part: number | string): string {
  return `ss:{bench/items/${part}}:1`
}

/** CPU time of the server's main thread so far, milliseconds. */
async function serverCpu(redis: Redis): Promise<number> {
  const info = await redis.info('cpu')
  const seconds = (name: string): number => Number(new RegExp(`used_cpu_${name}_main_thread:([\\d.]+)`).exec(info)![1])
  return (seconds('sys') + seconds('user')) * 1_000
}

async function memory(redis: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))![1])
}

function rounded(value: number): number {
  return Number(value.toPrecision(3))
}
