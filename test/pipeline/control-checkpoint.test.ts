/** What a start reads of the control log: what stands behind its checkpoint, or all of it. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import fc from 'fast-check'

import { Codec } from '../../schemas/index.ts'
import type { LogBatch, LogDriver, LogRecord } from '../../connectors/index.ts'
import { ControlView, encodeControl } from '../../pipeline/control-records.ts'
import type { ControlBody, ControlKind } from '../../pipeline/control-records.ts'
import type { Project } from '../../pipeline/index.ts'
import { onDisk, startTs, TestProject } from './fixture.ts'

/** The project with what its control consumer is given, changed on the way if a test wants that. */
function tapped(project: Project, through: (batch: LogBatch) => LogBatch = (batch) => batch): { project: Project; read: bigint[] } {
  const read: bigint[] = []
  const consumer: LogDriver['consumer'] = async (options) => {
    const real = await project.log.consumer(options)
    if (!options.group.endsWith('-control')) return real
    return {
      run: (handlers) =>
        real.run({
          ...handlers,
          onBatch: (batch, lane) => {
            const given = through(batch)
            read.push(...given.records.map(({ offset }) => offset))
            return handlers.onBatch(given, lane)
          },
        }),
      lag: () => real.lag(),
      lastProgress: () => real.lastProgress(),
      stop: (how) => real.stop(how),
    }
  }
  const log = new Proxy(project.log, {
    get: (target, key) => {
      const value: unknown = key === 'consumer' ? consumer : Reflect.get(target, key, target)
      return typeof value === 'function' && key !== 'consumer' ? value.bind(target) : value
    },
  })
  return { project: { ...project, log }, read }
}

/** Stops the daemon, changes its directory, starts it again. @returns control offsets that the start read */
async function again(it: TestProject, change: () => Promise<void> = async () => {}): Promise<bigint[]> {
  let read: bigint[] = []
  await it.stop()
  await change()
  await it.start({
    wrap: (project) => {
      const taps = tapped(project)
      read = taps.read
      return taps.project
    },
  })
  return read
}

test('a start reads what stands behind the checkpoint of the stop before it, and knows all that was decided', async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  await it.daemon.refresh('by hand')
  const builds = it.control.all('build')
  const done = it.control.find('done', 'by hand')
  strictEqual(builds.length, 2)
  const path = join(it.project.config.dataDir, 'control.checkpoint')

  const claim = it.control.all('owner').at(-1)!.offset
  deepStrictEqual((await again(it)).length, 1, 'its own claim')
  deepStrictEqual(it.control.all('build'), builds)
  deepStrictEqual(it.control.find('done', 'by hand'), done)
  deepStrictEqual(await it.daemon.refresh('by hand'), done!.body)

  const whole = [0n, claim]
  const reachesBack = (read: readonly bigint[]): boolean => whole.every((offset) => read.includes(offset))
  const edited = async (edit: (text: string) => string): Promise<bigint[]> =>
    again(it, async () => writeFile(path, edit(await readFile(path, 'utf8'))))
  strictEqual(reachesBack(await edited((text) => text.slice(0, -10))), true, 'damaged')
  strictEqual(reachesBack(await edited((text) => text.replace(/"sha256":"..../, '"sha256":"0000'))), true, 'of another log')
  strictEqual(reachesBack(await edited((text) => text.replace(/"offset":"\d+"/, '"offset":"99999"'))), true, 'of a longer log')
  strictEqual(reachesBack(await edited((text) => text.replace('"format":1', '"format":2'))), true, 'of a newer release')
  deepStrictEqual(it.control.all('build'), builds)
  strictEqual((await again(it)).length, 1)
})

test('a daemon that goes on for long keeps checkpoints, so a crash costs no long start either', async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  const path = join(it.project.config.dataDir, 'control.checkpoint')
  const isKept = (): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    )
  for (let i = 0; !(await isKept()); i++) {
    ok(i < 2000, 'no checkpoint in 2000 records')
    await it.control.append('tick', 's', { source: 's', watermarkTs: startTs })
  }
  const { last, entries } = JSON.parse(await readFile(path, 'utf8')) as { last: { offset: string }; entries: { kind: string }[] }
  ok(Number(last.offset) >= 400, last.offset)
  deepStrictEqual(
    entries.map(({ kind }) => kind),
    ['owner'],
  )
})

test('a control log that has lost its beginning stops the start', async (t) => {
  const it = await TestProject.open(t, { changes: onDisk })
  await it.bootstrap()
  const path = join(it.project.config.dataDir, 'control.checkpoint')
  await it.stop()
  await writeFile(path, '')
  const lost = it.start({
    wrap: (project) =>
      tapped(project, ({ records, ...batch }) => {
        const left = records.filter(({ offset }) => offset > 0n)
        return { ...batch, records: left, first: left[0]?.offset ?? batch.next }
      }).project,
  })
  await rejects(lost, (error: Error & { code?: string }) => {
    strictEqual(error.code, 'SIDESTREAM_STATE_GAP')
    match(error.message, /control log begins at 1.*retention\.ms=-1/)
    return true
  })
})

const codec = new Codec()
const id = fc.constantFrom('a', 'b', 'c', 'd')
const taken = { outcome: 'done', version: null, code: null, message: '' } as const
type Line = { [K in ControlKind]: { readonly kind: K; readonly id: string; readonly body: ControlBody<K> } }[ControlKind]
const line: fc.Arbitrary<Line> = fc.oneof(
  fc.record({ kind: fc.constant('command' as const), id, body: fc.constant({ command: { action: 'refresh' as const }, waitMs: null }) }),
  fc.record({ kind: fc.constant('taken' as const), id, body: fc.constant({}) }),
  fc.record({ kind: fc.constant('withdrawn' as const), id, body: fc.constant({}) }),
  fc.record({ kind: fc.constant('done' as const), id, body: fc.constant(taken) }),
  fc.record({ kind: fc.constant('tick' as const), id, body: fc.constant({ source: 's', watermarkTs: 0 }) }),
  fc.record({
    kind: fc.constant('cut' as const),
    id: fc.constant('r'),
    body: fc.constant({ round: 1, endTs: 1, positions: [] as never[] }),
  }),
  fc.record({
    kind: fc.constant('build' as const),
    id,
    body: fc.constant({ version: 1, reason: 'command' as const, parent: null, head: 'h', cutTs: 0, positions: [] as never[] }),
  }),
)

test('a view that is restored from what another kept and reads on says the same of all it knows, and knows all that is open', () => {
  fc.assert(
    fc.property(fc.array(line, { maxLength: 40 }), fc.nat(40), fc.nat(4), (lines, cut, newest) => {
      const records = lines.map(({ kind, id: name, body }, i): LogRecord => {
        const { key, value, headers = [] } = encodeControl(codec, { kind, id: name, at: i, body }, null)
        return { key, value, headers, timestamp: i, offset: BigInt(i) }
      })
      const whole = new ControlView(codec)
      for (const record of records.slice(0, cut)) whole.apply(record)
      const restored = new ControlView(codec)
      restored.restore(whole.kept(newest))
      for (const name of ['a', 'b', 'c', 'd']) {
        const isHalfKnown = restored.command(name) === undefined && restored.find('done', name) !== undefined
        ok(!isHalfKnown || whole.command(name) === undefined, name)
      }
      for (const record of records.slice(cut)) {
        whole.apply(record)
        restored.apply(record)
      }
      deepStrictEqual(restored.all('build'), whole.all('build'))
      deepStrictEqual(restored.all('cut').at(-1), whole.all('cut').at(-1))
      const reused = new Set(records.slice(cut).map((_, i) => lines[cut + i]!.id))
      for (const name of ['a', 'b', 'c', 'd']) {
        const [mine, theirs] = [restored.command(name), whole.command(name)]
        if (mine === undefined) ok(theirs === undefined || theirs.state === 'done' || reused.has(name))
        else if (!reused.has(name)) {
          deepStrictEqual(mine, theirs)
          deepStrictEqual(restored.find('done', name), whole.find('done', name))
        }
        if (theirs !== undefined && theirs.state !== 'done' && !reused.has(name)) deepStrictEqual(mine, theirs)
      }
    }),
  )
})
