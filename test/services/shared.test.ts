/** The shared services: found, kept, stopped, and swept when they were left behind. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import {
  isMissing,
  kafkaService,
  keepServices,
  keptService,
  redisService,
  skipWithoutRedisServer,
  stopKeptServices,
  until,
} from './index.ts'
import { answers, loopback } from './ports.ts'
import { keptDirectory } from './shared.ts'
import { checkoutPath, nodeOptions, running } from '../checkout.ts'

const run = promisify(execFile)
const door = running(new URL('./index.ts', import.meta.url)).href
const noRedis = await skipWithoutRedisServer()

/** Gives this process, and those it starts, a cache of its own. */
function ownCache(t: { after: (end: () => Promise<void>) => void }): string {
  const before = process.env['SIDESTREAM_CACHE']
  const cache = mkdtempSync(join(tmpdir(), 'sidestream-cache-'))
  process.env['SIDESTREAM_CACHE'] = cache
  t.after(async () => {
    await stopKeptServices(['redis'])
    rmSync(cache, { recursive: true, force: true })
    if (before === undefined) delete process.env['SIDESTREAM_CACHE']
    else process.env['SIDESTREAM_CACHE'] = before
  })
  return cache
}

/** Starts the kept Redis where it does not run; answers its address. */
async function keepRedis(): Promise<string> {
  const address = (await keepServices(['redis'])).get('redis')
  if (typeof address !== 'string') throw new Error(address?.missing)
  return address
}

const portOf = (address: string): number => Number(address.split(':')[1])

test('the services of this run answer', async () => {
  const [kafka, redis] = [await kafkaService(), await redisService()]
  if (!isMissing(kafka)) ok(await answers(loopback, portOf(kafka.brokers[0]!)))
  if (!isMissing(redis)) ok(await answers(redis.host, redis.port))
})

test('npm run services: start, status and stop', { skip: noRedis }, async (t) => {
  ownCache(t)
  const services = async (...args: string[]): Promise<{ kafka: string | null; redis: string | null }> => {
    const { stdout } = await run(process.execPath, ['scripts/services.mjs', ...args, '--json'], { cwd: checkoutPath })
    return JSON.parse(stdout)
  }
  const started = await services('start', 'redis')
  ok(await answers(loopback, portOf(started.redis!)))
  deepStrictEqual(await services('status'), started)
  deepStrictEqual(await services('stop'), { kafka: null, redis: null })
  strictEqual(await answers(loopback, portOf(started.redis!)), false)
})

test('a kept service is started once, and anew when it has died', { skip: noRedis }, async (t) => {
  ownCache(t)
  const first = await keepRedis()
  strictEqual(await keepRedis(), first)
  const { pid } = JSON.parse(readFileSync(join(keptDirectory(), 'redis', 'process.json'), 'utf8')) as { pid: number }
  process.kill(pid, 'SIGKILL')
  await until('the killed server is gone', async () => (await keptService('redis')) === undefined, 10_000)
  ok(await answers(loopback, portOf(await keepRedis())))
})

test('each checkout keeps servers of its own; those of one that is gone are ended', { skip: noRedis }, async (t) => {
  const cache = ownCache(t)
  const other = join(cache, 'other-checkout')
  mkdirSync(other)
  const mine = await keepRedis()
  const theirs = (await keepServices(['redis'], other)).get('redis')
  ok(typeof theirs === 'string' && theirs !== mine, 'two servers')
  deepStrictEqual([await keptService('redis'), await keptService('redis', other)], [mine, theirs])
  deepStrictEqual(await stopKeptServices(['redis']), ['redis'])
  ok(await answers(loopback, portOf(theirs)), 'that of the other checkout goes on')
  rmSync(other, { recursive: true })
  await keepRedis()
  strictEqual(await answers(loopback, portOf(theirs)), false)
  strictEqual(existsSync(keptDirectory(other)), false)
})

test('a server whose owner and guard were killed is swept by the next start', { skip: noRedis }, async (t) => {
  const cache = ownCache(t)
  const address = await keepRedis()
  const left = join(cache, 'run', '999999999-left') // no system has such a pid
  renameSync(keptDirectory(), left)
  await keepRedis()
  strictEqual(await answers(loopback, portOf(address)), false)
  strictEqual(existsSync(left), false)
})

test('the servers of a killed process go with it', { skip: noRedis }, async (t) => {
  const cache = ownCache(t)
  const script = `import { ownRedis } from ${JSON.stringify(door)}
    const { port } = await ownRedis()
    console.log(port)
    setInterval(() => {}, 1000)`
  const owner = spawn(process.execPath, [...nodeOptions, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const port = Number(String((await once(owner.stdout, 'data'))[0]))
  ok(await answers(loopback, port))
  owner.kill('SIGKILL')
  await until('the server is gone', async () => !(await answers(loopback, port)), 10_000)
  await until('its directory is gone', () => Promise.resolve(readdirSync(join(cache, 'run')).length === 0), 10_000)
})

test('with CI=true a missing service is an error, elsewhere a reason', async () => {
  const script = `import { redisService } from ${JSON.stringify(door)}; console.log(JSON.stringify(await redisService()))`
  const ask = (ci: string) =>
    run(process.execPath, [...nodeOptions, '--input-type=module', '-e', script], {
      env: { ...process.env, CI: ci, SIDESTREAM_TEST_REDIS: 'missing:there is no Redis' },
    })
  deepStrictEqual(JSON.parse((await ask('')).stdout), { missing: 'there is no Redis' })
  match(await ask('true').then(() => '', String), /there is no Redis \(with CI=true every service is required\)/)
})
