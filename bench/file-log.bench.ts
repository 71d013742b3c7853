/**
 * The file log: appends acknowledged after a group commit, reads from disk with every frame verified, and compaction.
 * Peers, on the same bytes in the same run: plain sequential write + fdatasync, plain sequential read, and a plain copy, of
 * 1 MiB blocks with nothing else done to them. So the ratio is the share of the machine's own limit that is left.
 */
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { openFileLog } from '../connectors/index.ts'
import type { FileLog, ProducerRecord } from '../connectors/index.ts'
import { compare } from './harness.ts'

const totalBytes = Number(process.env['BENCH_BYTES'] ?? 64 << 20)
const sendRecords = 500
const blockBytes = 1 << 20
const directory = fs.mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'sidestream-file-log-'))
let serial = 0

/** Sends everything, eight sends in flight, and waits for all acknowledgments. */
async function append(log: FileLog, topic: string, batch: readonly ProducerRecord[], count: number): Promise<void> {
  await (await log.admin()).createTopics([{ name: topic, partitions: 1 }])
  const producer = await log.producer()
  const sends: Promise<unknown>[] = []
  for (let sent = 0; sent < count; sent += batch.length) {
    sends.push(producer.send(topic, 0, batch))
    if (sends.length >= 8) await sends.shift()
  }
  await Promise.all(sends)
}

/** Reads a whole topic; returns the sum of value bytes so that nothing is skipped. */
async function read(log: FileLog, topic: string, count: number): Promise<number> {
  const consumer = await log.consumer({ group: `g${serial++}`, topics: [topic], start: 'earliest' })
  let [seen, bytes] = [0, 0]
  await new Promise<void>((resolve, reject) => {
    const onBatch = async ({ records }: { records: readonly { value: Uint8Array | null }[] }): Promise<void> => {
      for (const { value } of records) bytes += value!.length
      seen += records.length
      if (seen === count) resolve()
    }
    consumer.run({ onBatch, onFatal: reject }).catch(reject)
  })
  await consumer.stop({ drainMs: 1000 })
  return bytes
}

function plainWrite(bytes: number): void {
  const file = join(directory, `plain-${serial++}`)
  const fd = fs.openSync(file, 'w')
  const block = Buffer.alloc(blockBytes, 7)
  for (let written = 0; written < bytes; written += block.length) {
    fs.writeSync(fd, block, 0, Math.min(block.length, bytes - written))
    fs.fdatasyncSync(fd)
  }
  fs.closeSync(fd)
  fs.rmSync(file)
}

function plainRead(files: readonly string[]): void {
  const block = Buffer.alloc(blockBytes)
  for (const file of files) {
    const fd = fs.openSync(file, 'r')
    while (fs.readSync(fd, block) > 0);
    fs.closeSync(fd)
  }
}

/** Copies the files, as compaction would if it kept everything and looked at nothing. */
function plainCopy(files: readonly string[]): void {
  const block = Buffer.alloc(blockBytes)
  for (const file of files) {
    const [source, target] = [fs.openSync(file, 'r'), fs.openSync(`${file}.copy`, 'w')]
    for (let read = 0; (read = fs.readSync(source, block)) > 0;) fs.writeSync(target, block, 0, read)
    fs.fdatasyncSync(target)
    fs.closeSync(source)
    fs.closeSync(target)
    fs.rmSync(`${file}.copy`)
  }
}

/** Topics that hold `count` records of 1 KiB over `keys` keys; compaction takes one each time. */
async function compaction(log: FileLog, name: string, count: number, keys: number): Promise<void> {
  const value = Buffer.alloc(1024, 7)
  const rounds = 5
  const topics: string[] = []
  const producer = await log.producer()
  for (let i = 0; i < rounds + 1; i++) {
    const topic = `compact-${serial++}`
    await admin.createTopics([{ name: topic, partitions: 1, cleanup: 'compact' }])
    for (let from = 0; from < count; from += sendRecords) {
      const records = Array.from({ length: sendRecords }, (_, k) => ({ key: Buffer.from(`item-${(from + k) % keys}`), value }))
      await producer.send(topic, 0, records)
    }
    topics.push(topic)
  }
  const folder = join(directory, 'log', 'topics', topics[0]!, '0')
  const kept = fs.readdirSync(folder).map((file) => join(folder, file))
  const copies = kept.map((file, i) => {
    const copy = join(directory, `copied-${i}`)
    fs.copyFileSync(file, copy)
    return copy
  })
  await compare<void>({
    name,
    count,
    unit: 'records',
    rounds,
    sidestream: () => log.compact(topics.shift()!),
    peer: () => plainCopy(copies),
    peerName: 'copy of the same bytes in 1 MiB blocks, fdatasync',
    extra: (rate) => ({ 'MB/s': Math.round((rate * 1024) / 1e6) }),
  })
  for (const file of copies) fs.rmSync(file)
}

const log = await openFileLog({ directory: join(directory, 'log'), tailBytes: 1, maintenanceMs: 1 << 30 }) // reads come from files
const admin = await log.admin()
try {
  for (const valueBytes of [1024, 2048]) {
    const count = Math.floor(totalBytes / valueBytes / sendRecords) * sendRecords
    const batch = Array.from({ length: sendRecords }, (_, i) => ({ key: Buffer.from(`item-${i}`), value: Buffer.alloc(valueBytes, i) }))
    const megabytes = (rate: number): Record<string, unknown> => ({ 'MB/s': Math.round((rate * valueBytes) / 1e6) })
    const size = `${valueBytes / 1024} KiB`
    await compare<void>({
      name: `file log append ${size}, group commit`,
      count,
      unit: 'records',
      sidestream: async () => {
        const topic = `append-${serial++}`
        await append(log, topic, batch, count)
        await admin.deleteTopic(topic)
      },
      peer: () => plainWrite(count * valueBytes),
      peerName: 'write + fdatasync of 1 MiB blocks',
      extra: megabytes,
    })
    const topic = `read-${valueBytes}`
    await append(log, topic, batch, count)
    const folder = join(directory, 'log', 'topics', topic, '0')
    const files = fs.readdirSync(folder).map((name) => join(folder, name))
    await compare<number | void>({
      name: `file log read ${size}, verified`,
      count,
      unit: 'records',
      sidestream: () => read(log, topic, count),
      peer: () => plainRead(files),
      peerName: 'read of 1 MiB blocks',
      extra: megabytes,
    })
    await admin.deleteTopic(topic)
  }
  const count = Math.floor(totalBytes / 2 / 1024 / sendRecords) * sendRecords
  await compaction(log, 'file log compaction 1 KiB, every key once', count, count)
  await compaction(log, 'file log compaction 1 KiB, every key ten times', count, count / 10)
} finally {
  await log.close()
  fs.rmSync(directory, { recursive: true, force: true })
}
