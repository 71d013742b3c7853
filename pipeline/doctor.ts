/** Checks everything a configuration names, one finding each; a failed check says what to do. */

import { access, constants, readFile, statfs } from 'node:fs/promises'
import { ComputeWorker, findProviders, Graph, passedOverText, Session, tensorOf, toModel } from '../compute/index.ts'
import { fileError, parseConfig } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { LogDriver } from '../connectors/index.ts'
import { listVersions } from './commands.ts'
import { lockDataDirectory, makeDataDirectory, openLog, openRegistry, openStore } from './compose.ts'
import type { ComposeOptions, OpenedStore } from './compose.ts'
import { runningDaemon } from './open-commands.ts'
import type { ProjectCommands } from './project-commands.ts'
import { cleanupAdvice, comparisonAdvice, inspectTopics, limitAdvice, refuseDiffering, requireTopics } from './topics.ts'
import type { TopicFinding } from './topics.ts'

export interface Finding {
  readonly check: string
  readonly ok: boolean
  readonly message: string
}

/** What to do about topics: look, show what would be created and let missing ones pass, or create them. */
export type TopicRequest = 'check' | 'plan' | 'create'

export interface Diagnosis {
  readonly findings: readonly Finding[]
  /** Every topic of the project; empty when the log could not be reached. */
  readonly topics: readonly TopicFinding[]
  /** Names of the topics that were created, without prefix. */
  readonly created: readonly string[]
}

type Check = (name: string, body: () => Promise<string>) => Promise<boolean>

/** @param env - for overrides of the configuration */
export async function diagnose(
  configPath: string,
  env: Readonly<Record<string, string | undefined>>,
  topics: TopicRequest = 'check',
  options: Pick<ComposeOptions, 'onWaiting'> = {},
): Promise<Diagnosis> {
  const findings: Finding[] = []
  const check: Check = async (name, body) => {
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
  const read = await check('configuration', async () => {
    config = parseConfig(await readText(configPath), { env, path: configPath })
    const modalities = Object.entries(config.content.modalities).map(([name, { dim }]) => `${name} ${dim}`)
    return `${configPath}: project ${config.project}, modalities ${modalities.join(', ')}`
  })
  await check('compute', () => checkCompute(config?.training.providers ?? ['cpu']))
  if (!read || config === undefined) return { findings, topics: [], created: [] }
  const { dataDir } = config
  const isOnServers = { log: config.log.driver === 'kafka', store: config.store.driver === 'redis' }
  let release = (): void => {}
  let daemon: ProjectCommands | undefined
  const usable = await check('data directory', async () => {
    const text = await checkDirectory(dataDir)
    // Servers are shared; what is in the directory is looked at by one process at a time, or asked of the daemon that has it.
    if (isOnServers.log && isOnServers.store) return text
    daemon = await runningDaemon(config!)
    if (daemon === undefined) release = await lockDataDirectory(dataDir)
    return text
  })
  if (!usable) return { findings, topics: [], created: [] }
  try {
    if (daemon !== undefined) await check('daemon', () => checkDaemon(daemon!))
    const found = daemon === undefined || isOnServers.log ? await checkLog(config, check, topics, options) : { topics: [], created: [] }
    if (daemon === undefined || isOnServers.store) await checkStore(config, check, options)
    if (config.schemaRegistry.url !== null) await check('schema registry', () => checkRegistry(config!))
    return { findings, ...found }
  } finally {
    await daemon?.close()
    release()
  }
}

async function checkDaemon(daemon: ProjectCommands): Promise<string> {
  const status = await daemon.status()
  const versions = await daemon.listVersions()
  const behind = Object.values(status?.lag ?? {}).reduce((sum, records) => sum + records, 0)
  const live = status?.live ?? null
  const control = { owner: ', which decides for the project', standby: ', which stands by' } as const
  const role = status?.control === undefined || status.control === null ? '' : control[status.control]
  return `a daemon has the directory${role}: ${versions.length} versions, ${live === null ? 'nothing live yet' : `version ${live} live`}, ${behind} records behind`
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw fileError(path, error)
  }
}

async function checkCompute(providers: readonly string[]): Promise<string> {
  const graph = new Graph({ name: 'doctor' })
  graph.output('y', graph.mul(graph.input('x', 'float32', [1]), graph.scalar(2)))
  const worker = new ComputeWorker({ name: 'doctor' })
  try {
    const found = await findProviders(worker, providers)
    const session = await Session.create(toModel(graph), { name: 'doctor', providers: found.used, worker })
    const { y } = await session.run({ x: tensorOf('float32', [1], [21]) })
    if (y?.data[0] !== 42) throw new Error(`ONNX Runtime computed ${String(y?.data[0])} for 2 x 21: reinstall onnxruntime-node`)
    if (found.passedOver.length > 0) return `ONNX Runtime computes in a worker thread; ${passedOverText(found)}`
    return `ONNX Runtime computes in a worker thread${providers.join() === 'cpu' ? '' : ` by ${providers.join(', ')}`}`
  } finally {
    await worker.close()
  }
}

async function checkDirectory(path: string): Promise<string> {
  await makeDataDirectory(path)
  await access(path, constants.W_OK)
  const { bavail, bsize } = await statfs(path)
  const free = bavail * bsize
  if (free < 1_073_741_824) throw new Error(`${path} has only ${(free / 1e6).toFixed(0)} MB free: make room or set dataDir to another disk`)
  return `${path} is writable, ${(free / 1e9).toFixed(0)} GB free`
}

/** @returns what was found of the topics and what was created, for `--create-topics` */
async function checkLog(
  config: Config,
  check: Check,
  topics: TopicRequest,
  options: ComposeOptions,
): Promise<Pick<Diagnosis, 'topics' | 'created'>> {
  let log: LogDriver | undefined
  let found: readonly TopicFinding[] = []
  const created: string[] = []
  try {
    const reached = await check('log', async () => {
      log = await openLog(config, options)
      const { length } = await (await log.admin()).list()
      const where = config.log.driver === 'kafka' ? ` at ${config.log.kafka.brokers.join(', ')}` : ''
      return `${config.log.driver} log${where}, ${length} topics`
    })
    if (!reached || log === undefined) return { topics: found, created }
    const admin = await log.admin()
    await check('topics', async () => {
      found = await inspectTopics(admin, config)
      const missing = found.filter(({ state }) => state === 'missing')
      if (topics === 'create' && missing.length > 0) {
        for (const { name, cleanup, partitions } of missing) {
          await admin.createTopics([{ name, cleanup, partitions }])
          created.push(name)
        }
        found = await inspectTopics(admin, config)
      }
      // An embedded log makes its topics when it is first used.
      if (config.log.driver === 'kafka' && topics !== 'plan') await requireTopics(admin, config)
      refuseDiffering(found)
      const advice = [limitAdvice(found, config), cleanupAdvice(found, config)].filter((text) => text !== undefined)
      if (advice.length > 0) throw new Error(advice.join('; '))
      return config.log.driver === 'kafka' || missing.length < found.length ? topicsText(found) : 'made when the log is first used'
    })
    return { topics: found, created }
  } finally {
    await log?.close()
  }
}

function topicsText(found: readonly TopicFinding[]): string {
  const count = (wanted: TopicFinding['state']): number => found.filter(({ state }) => state === wanted).length
  const hidden = comparisonAdvice(found)
  return `${count('there')} of ${found.length} are as they should be, ${count('missing')} missing, ${count('differs')} with another partition count${hidden === undefined ? '' : `; ${hidden}`}`
}

async function checkRegistry(config: Config): Promise<string> {
  const client = (await openRegistry(config))!
  try {
    return `${client.url} answers; its compatibility level is ${await client.level()}`
  } finally {
    client.close()
  }
}

async function checkStore(config: Config, check: Check, options: ComposeOptions): Promise<void> {
  let store: OpenedStore | undefined
  try {
    await check('store', async () => {
      store = await openStore(config, options)
      const versions = await listVersions({ store, config })
      const live = versions.find(({ state }) => state === 'live')
      const where = config.store.driver === 'redis' ? ` at ${config.store.redis.nodes.join(', ')}` : ''
      return `${config.store.driver} store${where}, ${versions.length} versions, ${live === undefined ? 'nothing live yet' : `version ${live.version} live`}`
    })
    if (store?.inspect === undefined) return
    const { inspect } = store
    await check('store server', async () => {
      const found = await inspect.call(store)
      const problems = found.filter(({ level }) => level === 'problem')
      const text = found.map(({ message }) => message).join('; ')
      if (problems.length > 0) throw new Error(text)
      return text || 'set up well'
    })
  } finally {
    await store?.close()
  }
}
