/** Checks everything a configuration names, one finding each; a failed check says what to do. */

import { access, constants, mkdir, readFile, statfs } from 'node:fs/promises'
import { Graph, Session, tensorOf, toModel } from '../compute/index.ts'
import { fileError, parseConfig } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import { openProject } from './compose.ts'
import { listVersions } from './commands.ts'

export interface Finding {
  readonly check: string
  readonly ok: boolean
  readonly message: string
}

/** @param env - for overrides of the configuration */
export async function diagnose(configPath: string, env: Readonly<Record<string, string | undefined>>): Promise<Finding[]> {
  const findings: Finding[] = []
  const check = async (name: string, body: () => Promise<string>): Promise<boolean> => {
    try {
      findings.push({ check: name, ok: true, message: await body() })
      return true
    } catch (error) {
      findings.push({ check: name, ok: false, message: error instanceof Error ? error.message : String(error) })
      return false
    }
  }
  let config: Config | undefined
  await check('node', async () => `${process.version} on ${process.platform} ${process.arch}`)
  await check('compute', checkCompute)
  const read = await check('configuration', async () => {
    config = parseConfig(await readText(configPath), { env, path: configPath })
    const modalities = Object.entries(config.content.modalities).map(([name, { dim }]) => `${name} ${dim}`)
    return `${configPath}: project ${config.project}, modalities ${modalities.join(', ')}`
  })
  if (!read || config === undefined) return findings
  const { dataDir } = config
  if (!(await check('data directory', () => checkDirectory(dataDir)))) return findings
  await check('log, store, artifacts', () => checkPorts(config!))
  return findings
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw fileError(path, error)
  }
}

async function checkCompute(): Promise<string> {
  const graph = new Graph({ name: 'doctor' })
  graph.output('y', graph.mul(graph.input('x', 'float32', [1]), graph.scalar(2)))
  const session = await Session.create(toModel(graph), { name: 'doctor' })
  try {
    const { y } = await session.run({ x: tensorOf('float32', [1], [21]) })
    if (y?.data[0] !== 42) throw new Error(`ONNX Runtime computed ${String(y?.data[0])} for 2 x 21: reinstall onnxruntime-node`)
    return 'ONNX Runtime computes in a worker thread'
  } finally {
    await session.close()
  }
}

async function checkDirectory(path: string): Promise<string> {
  await mkdir(path, { recursive: true })
  await access(path, constants.W_OK)
  const { bavail, bsize } = await statfs(path)
  const free = bavail * bsize
  if (free < 1_073_741_824) throw new Error(`${path} has only ${(free / 1e6).toFixed(0)} MB free: make room or set dataDir to another disk`)
  return `${path} is writable, ${(free / 1e9).toFixed(0)} GB free`
}

async function checkPorts(config: Config): Promise<string> {
  const project = await openProject(config)
  try {
    const names = await (await project.log.admin()).list()
    const versions = await listVersions(project)
    const live = versions.find(({ state }) => state === 'live')
    return `${config.log.driver} log with ${names.length} topics, ${config.store.driver} store with ${versions.length} versions, ${live === undefined ? 'nothing live yet' : `version ${live.version} live`}`
  } finally {
    await project.close()
  }
}
