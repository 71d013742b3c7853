/** A Redis of a test's own, until the services of `test/services` are there. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Redis } from 'ioredis'

/** False, or why tests with a Redis are left out. */
export const skipWithoutRedis = spawnSync('redis-server', ['--version']).error === undefined ? false : 'redis-server is not installed'

export async function ownRedis(config: readonly string[] = []): Promise<{ port: number; pid: number; close(): Promise<void> }> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  const dir = await mkdtemp(join(tmpdir(), 'sidestream-redis-'))
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', ...config], {
    stdio: 'ignore',
  })
  const redis = new Redis({ host: '127.0.0.1', port, retryStrategy: () => 20 })
  redis.on('error', () => {})
  await new Promise((done) => redis.once('ready', done))
  redis.disconnect()
  return {
    port,
    pid: child.pid!,
    close: async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      await rm(dir, { recursive: true, force: true })
    },
  }
}
