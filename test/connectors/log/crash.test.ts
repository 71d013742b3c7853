import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { openFileLog } from '../../../connectors/index.ts'
import type { SidestreamError } from '../../../schemas/index.ts'
import { collect, text } from '../../contract/log-fixture.ts'
import { scratchDirectory } from './scratch.ts'
import { nodeOptions, running } from '../../checkout.ts'

const appends = running(new URL('./append-until-killed.ts', import.meta.url))
const compacts = running(new URL('./compact-until-killed.ts', import.meta.url))

function startChild(script: URL, ...given: string[]): { child: ChildProcess; lines: AsyncIterableIterator<string> } {
  const child = spawn(process.execPath, [...nodeOptions, fileURLToPath(script), ...given], { stdio: ['ignore', 'pipe', 'inherit'] })
  return { child, lines: createInterface({ input: child.stdout! })[Symbol.asyncIterator]() }
}

test(
  'a log whose process was killed while it appended has every acknowledged batch, and only whole ones',
  { timeout: 60_000 },
  async () => {
    const directory = scratchDirectory()
    const { child, lines } = startChild(appends, directory)
    const acked: string[] = []
    let busy: SidestreamError | undefined
    for await (const line of lines) {
      if (line === 'ready') {
        busy = await openFileLog({ directory }).then(
          () => undefined,
          (error: SidestreamError) => error,
        )
        continue
      }
      acked.push(line)
      if (acked.length === 1500) child.kill('SIGKILL')
    }
    strictEqual(busy?.code, 'SIDESTREAM_DIRECTORY_IN_USE')
    ok(busy.message.includes(`process ${child.pid}`), busy.message)
    ok(/stop it|another data directory/.test(busy.message))

    if (child.signalCode === null) await once(child, 'exit')
    const log = await openFileLog({ directory }) // takes the dead owner's lock over
    const { end } = await (await log.admin()).describe('orders')
    const { records } = await collect(log, { group: 'g', topics: ['orders'] }, Number(end[0]! + end[1]!))
    await log.close()
    for (const partition of [0, 1]) {
      const found = records.filter((one) => one.partition === partition).map((one) => text(one.value)!.split(':').slice(0, 2).join(':'))
      const expected: string[] = []
      const bases: number[] = []
      for (let n = 0; expected.length < found.length; n++) {
        bases.push(expected.length)
        for (let i = 0; i < 1 + (n % 7); i++) expected.push(`${n}:${i}`)
      }
      deepStrictEqual(found, expected) // ends with a whole batch, in order, without holes
      const ofPartition = acked.filter((line) => line.startsWith(`${partition} `))
      ok(ofPartition.length > 100)
      for (const line of ofPartition) {
        const [, n, base] = line.split(' ').map(Number)
        strictEqual(bases[n!], base)
      }
    }
  },
)

test(
  'a log whose process was killed while it appended and compacted has the newest acknowledged value of every key',
  { timeout: 60_000 },
  async () => {
    const directory = scratchDirectory()
    const acked = new Map<string, string>()
    for (let life = 0; life < 3; life++) {
      const { child, lines } = startChild(compacts, directory, String(life))
      let count = 0
      for await (const line of lines) {
        if (line === 'ready') continue
        const [key, value] = line.split(' ')
        acked.set(key!, value!)
        if (++count === 700 + life * 171) child.kill('SIGKILL')
      }
      if (child.signalCode === null) await once(child, 'exit')
      const log = await openFileLog({ directory })
      const found = new Map<string, string>()
      let last = -1n
      await log.read('states', ({ records }) => {
        for (const { key, value, offset } of records) {
          ok(offset > last)
          last = offset
          if (value === null) found.set(text(key)!, '-')
          else found.set(text(key)!, text(value)!.replace(/\.+$/, ''))
        }
      })
      for (const [key, value] of acked) {
        const now = found.get(key)
        // What was written after the last line that we read may be there too: it is newer, of this life.
        const newer = now === '-' || (now !== undefined && isNewer(now, value, life))
        ok(now === value || (value === '-' && now === undefined) || newer, `${key} is ${now}, was acknowledged as ${value}`)
      }
      await log.close()
      for (const [key, value] of found) acked.set(key, value)
    }
    ok(acked.size > 30)
  },
)

/** True when value `now` was written in this life, after `value`. */
function isNewer(now: string, value: string, life: number): boolean {
  const [nowLife, nowStep] = now.split('.').map(Number)
  const [valueLife, valueStep] = value === '-' ? [-1, -1] : value.split('.').map(Number)
  return nowLife === life && (valueLife! < life || nowStep! > valueStep!)
}

test('a second process is refused while the first lives, whoever asks', { timeout: 60_000 }, async () => {
  const directory = scratchDirectory()
  const log = await openFileLog({ directory })
  await rejects(openFileLog({ directory }), { code: 'SIDESTREAM_DIRECTORY_IN_USE' })
  const door = running(new URL('../../../connectors/index.ts', import.meta.url)).href
  const code = `import(${JSON.stringify(door)}).then(async ({ openFileLog }) => {
    try { await openFileLog({ directory: process.argv[1] }); console.log('opened') } catch (error) { console.log(error.code, error.details.pid) }
  })`
  const child = spawn(process.execPath, [...nodeOptions, '--eval', code, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  const output: string[] = []
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk.toString()))
  await once(child, 'close')
  strictEqual(output.join('').trim(), `SIDESTREAM_DIRECTORY_IN_USE ${process.pid}`)
  await log.close()
  await (await openFileLog({ directory })).close()
})
