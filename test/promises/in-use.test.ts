/** Promise: a data directory or a port that is in use is told with its own code, and nothing is left behind. */
import { ok, rejects, strictEqual } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { openProject, startDaemon, startMetrics } from '../../pipeline/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { smallConfig } from './small-world.ts'
import { nodeOptions, running } from '../checkout.ts'

const cli = fileURLToPath(running(new URL('../../cli/main.ts', import.meta.url)))

const yaml = `
project: promise
dataDir: ./data
content: { modalities: { image: { dim: 12 }, text: { dim: 8 } } }
interactions: { positiveBehaviors: [click, like], otherBehaviors: [view] }
`

async function sidestream(...args: string[]): Promise<{ code: number | null; error: { code: string; message: string } | undefined }> {
  const child = spawn(process.execPath, [...nodeOptions, cli, ...args, '--json'], { stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, error: (JSON.parse(output) as { error?: { code: string; message: string } }).error }
}

test('a second process, or a second project of this one, gets SIDESTREAM_DIRECTORY_IN_USE and changes nothing', async (t) => {
  const { directory, remove } = await scratchDirectory()
  t.after(remove)
  const configPath = join(directory, 'sidestream.yaml')
  await writeFile(configPath, yaml)
  await mkdir(join(directory, 'data'))
  const config = smallConfig({ dataDir: join(directory, 'data') }, { log: { partitions: 4 } })
  const project = await openProject(config)
  const daemon = await startDaemon(project)
  await rejects(openProject(config), { code: 'SIDESTREAM_DIRECTORY_IN_USE' })
  for (const command of [['run'], ['versions', 'list'], ['refresh']]) {
    const { code, error } = await sidestream(...command, '--config', configPath)
    strictEqual(code, 1)
    strictEqual(error?.code, 'SIDESTREAM_DIRECTORY_IN_USE')
    ok(error.message.includes(`process ${process.pid}`) && error.message.includes(join(directory, 'data')), error.message)
  }
  // The refused ones took nothing away: the owner goes on, and gives the directory free at its end.
  strictEqual((await daemon.status()).live, null)
  await daemon.stop()
  await project.close()
  strictEqual((await sidestream('versions', 'list', '--config', configPath)).code, 0)
})

test('a port in use is SIDESTREAM_ADDRESS_IN_USE; the process ends and gives its directory free', async (t) => {
  const { directory, remove } = await scratchDirectory()
  const taken = createServer().listen(0, '127.0.0.1')
  t.after(async () => {
    taken.close()
    await remove()
  })
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const configPath = join(directory, 'sidestream.yaml')
  await writeFile(configPath, `${yaml}metrics: { port: ${port} }\n`)
  const { code, error } = await sidestream('run', '--config', configPath)
  strictEqual(code, 1)
  strictEqual(error?.code, 'SIDESTREAM_ADDRESS_IN_USE')
  ok(error.message.includes(String(port)) && error.message.includes('metrics.port'), error.message)

  const config = smallConfig({ dataDir: join(directory, 'data') }, { log: { partitions: 4 }, metrics: { port } })
  const project = await openProject(config)
  const daemon = await startDaemon(project)
  await rejects(startMetrics(project, daemon), { code: 'SIDESTREAM_ADDRESS_IN_USE' })
  taken.close()
  await once(taken, 'close')
  const metrics = await startMetrics(project, daemon)
  ok((await (await fetch(`${metrics!.url}/metrics`)).text()).includes('sidestream_live_version'))
  await metrics!.close()
  await daemon.stop()
  await project.close()
})
