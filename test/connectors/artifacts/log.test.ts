/** Artifacts over a log that several processes share: who wins, what a kill or damage leaves, what is kept between starts. */
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { openArtifactLog, openFileLog, openMemoryLog } from '../../../connectors/index.ts'
import type { ArtifactLogOptions, Artifacts, LogDriver, LogRecord, ProducerRecord } from '../../../connectors/index.ts'
import { Codec } from '../../../schemas/index.ts'
import { scratchDirectory } from '../scratch-directory.ts'

const bytes = (length: number, seed = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 0xff)
const parts = (entries: Record<string, Uint8Array>): Map<string, Uint8Array> => new Map(Object.entries(entries))
const text = (key: Uint8Array | null): string => new TextDecoder().decode(key ?? new Uint8Array())

/** A log with the topic, and artifacts over it as any number of processes would open them. */
async function bench(t: TestContext): Promise<{
  log: LogDriver
  open(name: string, options?: Partial<ArtifactLogOptions>): Promise<Artifacts>
  folder(name: string): string
  records(): Promise<LogRecord[]>
  append(...records: ProducerRecord[]): Promise<void>
}> {
  const { directory, remove } = await scratchDirectory()
  const log = await openMemoryLog()
  t.after(async () => {
    await log.close()
    await remove()
  })
  await (await log.admin()).createTopics([{ name: 'artifacts', partitions: 1, cleanup: 'compact' }])
  const folder = (name: string): string => join(directory, name)
  return {
    log,
    folder,
    open: (name, options = {}) => openArtifactLog({ log, directory: folder(name), chunkBytes: 100, ...options }),
    records: () => recordsOf(log),
    append: async (...records) => {
      const producer = await log.producer()
      await producer.send('artifacts', 0, records)
      await producer.close()
    },
  }
}

async function recordsOf(log: LogDriver): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  await log.read('artifacts', (batch) => void records.push(...batch.records))
  return records
}

/** The log between an instance and itself: `before` is awaited ahead of every send. */
function withSends(log: LogDriver, before: (records: readonly ProducerRecord[]) => Promise<void> | void): LogDriver {
  const producer: LogDriver['producer'] = async () => {
    const real = await log.producer()
    return {
      send: async (topic, partition, records) => {
        await before(records)
        return real.send(topic, partition, records)
      },
      flush: () => real.flush(),
      close: () => real.close(),
    }
  }
  return wrapped(log, { producer })
}

function wrapped(log: LogDriver, changes: Partial<LogDriver>): LogDriver {
  return {
    name: log.name,
    caps: log.caps,
    producer: () => log.producer(),
    consumer: (options) => log.consumer(options),
    admin: () => log.admin(),
    read: (topic, onBatch, options) => log.read(topic, onBatch, options),
    close: () => log.close(),
    ...changes,
  }
}

const isManifest = ({ key, value }: ProducerRecord): boolean => value !== null && text(key).includes('/manifest.json/')

test('chunks are bounded, the manifest is last, and another instance reads the same artifact', async (t) => {
  const { open, records } = await bench(t)
  const [first, second] = [await open('a'), await open('b')]
  const content = parts({ 'head.onnx': bytes(250), 'stats.f32': bytes(100, 2), empty: new Uint8Array() })
  const manifest = await first.write('heads/h1', content, { dims: 4 })
  const keys = (await records()).map(({ key }) => text(key).replace(/[0-9a-f]{16}$/, '*'))
  deepStrictEqual(keys, [
    'heads/h1/head.onnx/0/*',
    'heads/h1/head.onnx/1/*',
    'heads/h1/head.onnx/2/*',
    'heads/h1/stats.f32/0/*',
    'heads/h1/manifest.json/0/*',
  ])
  deepStrictEqual(await second.list(''), ['heads/h1'])
  const read = await second.read('heads/h1')
  deepStrictEqual(read.manifest, manifest)
  deepStrictEqual([...read.parts], [...content])
  await second.write('heads/h2', content, {})
  deepStrictEqual(await first.list('heads/'), ['heads/h1', 'heads/h2'])
  await first.remove('heads/h1')
  deepStrictEqual(await second.list(''), ['heads/h2'])
  await rejects(second.read('heads/h1'), { code: 'SIDESTREAM_ARTIFACT_MISSING' })
})

test('the largest chunk fits a record of the default size', async (t) => {
  const { open, records } = await bench(t)
  const artifacts = await open('a', { chunkBytes: 921_600 })
  await artifacts.write('big', parts({ x: bytes(2_000_000) }), {})
  const sizes = (await records()).map(({ key, value }) => (key?.length ?? 0) + (value?.length ?? 0))
  strictEqual(sizes.length, 4)
  ok(Math.max(...sizes) < 1_000_000, String(sizes))
  deepStrictEqual((await (await open('b', {})).read('big')).parts.get('x'), bytes(2_000_000))
  await rejects((await open('c', { artifactBytes: 1000 })).write('bigger', parts({ x: bytes(1001) }), {}), {
    code: 'SIDESTREAM_USAGE_INVALID',
    message: /1001 bytes, more than the 1000/,
  })
})

test('of two writers that race, the first manifest in the log wins; the other is told and leaves nothing', async (t) => {
  const { log, open, records } = await bench(t)
  const winner = await open('winner')
  const racing = (content: Uint8Array): Promise<Artifacts> => {
    let raced = false
    return open(`loser ${content.length}`, {
      log: withSends(log, async (sent) => {
        // Between its chunks and its manifest another process writes the same name.
        if (raced || !sent.some(isManifest)) return
        raced = true
        await winner.write('a', parts({ x: content }), { by: 'winner' })
      }),
    })
  }
  await rejects((await racing(bytes(250))).write('a', parts({ x: bytes(250, 9) }), {}), {
    code: 'SIDESTREAM_ARTIFACT_CORRUPT',
    message: /artifact a exists with other content/,
  })
  deepStrictEqual((await winner.read('a')).parts.get('x'), bytes(250))
  // What a compacted topic keeps is the winner alone.
  const kept = new Map((await records()).map(({ key, value }) => [text(key), value] as const))
  strictEqual([...kept.values()].filter((value) => value !== null).length, 4)
  const late = await open('late')
  deepStrictEqual((await late.read('a')).manifest.about, { by: 'winner' })

  await winner.remove('a')
  const equal = await (await racing(bytes(120))).write('a', parts({ x: bytes(120) }), { by: 'loser' })
  deepStrictEqual(equal.about, { by: 'winner' })
  deepStrictEqual(await (await open('later')).list(''), ['a'])
})

test('a lost or changed chunk is told with its part, a manifest without its chunks is not listed', async (t) => {
  const { open, records, append } = await bench(t)
  const artifacts = await open('a')
  await artifacts.write('heads/h1', parts({ 'head.onnx': bytes(250), 'stats.f32': bytes(90) }), {})
  const written = (await records()).find(({ key }) => text(key).includes('head.onnx/1/'))!
  const chunk = new Codec().decode('artifacts', written.value!)
  const changed = Uint8Array.from(chunk.bytes)
  changed[7]! ^= 1
  const told = { code: 'SIDESTREAM_ARTIFACT_CORRUPT', message: /head\.onnx/, details: { artifact: 'heads/h1', part: 'head.onnx' } }

  await append({ key: written.key, value: new Codec().encode('artifacts', { ...chunk, bytes: changed }) })
  await rejects((await open('b')).read('heads/h1'), told)
  await append({ key: written.key, value: new Uint8Array([1, 2, 3]) })
  await rejects((await open('c')).read('heads/h1'), told)
  ok((await artifacts.read('heads/h1')).parts.has('head.onnx'), 'whoever has it in the cache still reads it')

  await append({ key: written.key, value: null })
  const without = await open('d')
  await rejects(without.read('heads/h1'), told)
  deepStrictEqual(await without.list(''), [])
  // Written again, equal or not, it is there again.
  await without.write('heads/h1', parts({ 'head.onnx': bytes(130), 'stats.f32': bytes(90) }), {})
  deepStrictEqual((await (await open('e')).read('heads/h1')).parts.get('head.onnx'), bytes(130))
})

test('a damaged cache is read from the log again', async (t) => {
  const { open, folder } = await bench(t)
  const artifacts = await open('a')
  await artifacts.write('x', parts({ head: bytes(250) }), {})
  await writeFile(join(folder('a'), 'x.artifact', 'head'), bytes(250, 3))
  deepStrictEqual((await artifacts.read('x')).parts.get('head'), bytes(250))
  await rm(join(folder('a'), 'x.artifact'), { recursive: true })
  deepStrictEqual((await artifacts.read('x')).parts.get('head'), bytes(250))
})

test('a writer killed before its manifest leaves nothing that is listed, and is done again', async (t) => {
  const { log, open } = await bench(t)
  const killed = await open('killed', {
    log: withSends(log, (sent) => {
      if (sent.some(isManifest)) throw new Error('killed')
    }),
  })
  await rejects(killed.write('a', parts({ x: bytes(250) }), {}), /killed/)
  const next = await open('next')
  deepStrictEqual(await next.list(''), [])
  await rejects(next.read('a'), { code: 'SIDESTREAM_ARTIFACT_MISSING' })
  await next.write('a', parts({ x: bytes(250, 4) }), {})
  deepStrictEqual((await next.read('a')).parts.get('x'), bytes(250, 4))
})

test('a name that is removed while it is written is written again', async (t) => {
  const { log, open } = await bench(t)
  const remover = await open('remover')
  let removals = 0
  const writer = await open('writer', {
    log: withSends(log, async (sent) => {
      if (sent.some(isManifest) && removals++ < 2) await remover.remove('a')
    }),
  })
  await writer.write('a', parts({ x: bytes(250) }), {})
  strictEqual(removals, 3)
  deepStrictEqual((await remover.read('a')).parts.get('x'), bytes(250))
})

test('the next start reads only what is new; a stale or foreign index is made again', async (t) => {
  const { directory, remove } = await scratchDirectory()
  const logs: LogDriver[] = []
  t.after(async () => {
    for (const log of logs) await log.close()
    await remove()
  })
  let now = 1_000_000
  const start = async (folder: string, seen: string[] = []): Promise<Artifacts> => {
    const log = await openFileLog({ directory: join(directory, folder), groupCommitMs: 0 })
    logs.push(log)
    await (await log.admin()).createTopics([{ name: 'artifacts', partitions: 1, cleanup: 'compact' }])
    const read: LogDriver['read'] = (topic, onBatch, options) =>
      log.read(
        topic,
        (batch) => {
          seen.push(...batch.records.map(({ offset }) => String(offset)))
          return onBatch(batch)
        },
        options,
      )
    return openArtifactLog({ log: wrapped(log, { read }), directory: join(directory, 'cache'), staleMs: 5000, clock: () => now })
  }
  const stop = async (): Promise<void> => logs.pop()?.close()

  await (await start('log')).write('a', parts({ x: bytes(10) }), {})
  await stop()
  let seen: string[] = []
  const again = await start('log', seen)
  deepStrictEqual([await again.list(''), seen], [['a'], []])
  await again.write('b', parts({ x: bytes(10) }), {})
  deepStrictEqual(seen, ['2', '3'])
  await stop()

  now += 5000
  seen = []
  deepStrictEqual(await (await start('log', seen)).list(''), ['a', 'b'])
  deepStrictEqual(seen, ['0', '1', '2', '3'])
  await stop()

  await writeFile(join(directory, 'cache', 'log-index.json'), '{"format":1,"topic":"artifacts"')
  deepStrictEqual(await (await start('log')).list(''), ['a', 'b'])
  await stop()

  // Another log, shorter than what was read of the first: its artifacts alone are there, in the cache too.
  const other = await start('other')
  deepStrictEqual(await other.list(''), [])
  deepStrictEqual(
    (await readdir(join(directory, 'cache'))).filter((name) => name.endsWith('.artifact')),
    [],
  )
})

test('compaction keeps every artifact, and the winner of a race', async (t) => {
  const { directory, remove } = await scratchDirectory()
  const log = await openFileLog({ directory: join(directory, 'log'), groupCommitMs: 0, segmentBytes: 65_536, deleteRetentionMs: 0 })
  t.after(async () => {
    await log.close()
    await remove()
  })
  await (await log.admin()).createTopics([{ name: 'artifacts', partitions: 1, cleanup: 'compact' }])
  const open = (name: string, over: LogDriver = log): Promise<Artifacts> =>
    openArtifactLog({ log: over, directory: join(directory, name), chunkBytes: 10_000 })
  const first = await open('first')
  await first.write('kept', parts({ x: bytes(95_000) }), { round: 1 })
  for (let round = 0; round < 4; round++) {
    await first.write('again', parts({ x: bytes(45_000, round) }), { round })
    if (round < 3) await first.remove('again')
  }
  // A writer that dies before it can take its manifest back: the first in the log stays the winner.
  let manifests = 0
  const dying = await open(
    'dying',
    withSends(log, async (sent) => {
      if (sent.some(isManifest) && manifests++ === 0) await first.write('raced', parts({ x: bytes(20_000) }), {})
      else if (manifests > 0) throw new Error('killed')
    }),
  )
  await rejects(dying.write('raced', parts({ x: bytes(20_000, 5) }), {}), /killed/)
  const before = (await recordsOf(log)).length
  await log.compact('artifacts')
  ok((await recordsOf(log)).length < before, 'something was compacted')
  for (const artifacts of [first, await open('late')]) {
    deepStrictEqual(await artifacts.list(''), ['again', 'kept', 'raced'])
    deepStrictEqual((await artifacts.read('kept')).parts.get('x'), bytes(95_000))
    deepStrictEqual((await artifacts.read('again')).manifest.about, { round: 3 })
    deepStrictEqual((await artifacts.read('raced')).parts.get('x'), bytes(20_000))
  }
})

test('records of others in the topic are passed over', async (t) => {
  const { open, append } = await bench(t)
  const key = (value: string): Uint8Array => new TextEncoder().encode(value)
  await append(
    { key: null, value: bytes(3) },
    { key: key('noise'), value: bytes(3) },
    { key: key('a/manifest.json/0/0123456789abcdef'), value: bytes(3) },
    { key: key('a/../0/0123456789abcdef'), value: bytes(3) },
    {
      key: key('a/manifest.json/0/0123456789abcdee'),
      value: new Codec().encode('artifacts', {
        artifact: 'a',
        part: 'manifest.json',
        index: 0,
        count: 1,
        bytes: key(JSON.stringify({ format: 1, name: 'another', parts: [], about: {} })),
      }),
    },
  )
  const artifacts = await open('a')
  deepStrictEqual(await artifacts.list(''), [])
  await artifacts.write('a', parts({ x: bytes(3) }), {})
  deepStrictEqual(await artifacts.list(''), ['a'])
})
