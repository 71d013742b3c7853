/**
 * Kafka brokers that a test owns: one combined node each, with its own ports and directory, that can be stopped, killed, frozen and
 * started again. Invariant: a started broker answers describeCluster.
 */
import { appendFile, cp, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { Kafka, logLevel } from 'kafkajs'

import { brokerProperties, propertiesText } from './broker-properties.ts'
import type { BrokerListener } from './broker-properties.ts'
import { prepared } from './cache.ts'
import { certificate } from './certificates.ts'
import type { FaultProxy } from './fault-proxy.ts'
import { archivePath, formatStorage, kafkaFiles, quickStart, storageTemplate } from './kafka-files.ts'
import type { KafkaFiles } from './kafka-files.ts'
import { answers, freePorts, loopback } from './ports.ts'
import { OwnServer, serverDirectory } from './server.ts'

export interface BrokerOptions {
  /** Further lines of server.properties, for example `message.max.bytes`. */
  readonly properties?: Readonly<Record<string, string>>
  /** Largest Java heap. @default 256 */
  readonly heapMb?: number
  /** Adds a listener whose clients are told the proxy's port; the proxy then leads to it. `brokers` stays direct. */
  readonly proxy?: FaultProxy
}

/** A broker of your own; `start`, `stop`, `kill`, `freeze`, `thaw` and `close` come with it. */
export interface Broker {
  /** Plaintext bootstrap addresses. */
  readonly brokers: string[]
  readonly port: number
  readonly server: OwnServer
  /** Ends it and removes its data. */
  close(): Promise<void>
}

/** `false`, or why a test that needs a broker of its own is left out: for `{ skip }`. @throws Error when missing with `CI=true` */
export async function skipWithoutBroker(): Promise<string | false> {
  const files = await kafkaFiles()
  return 'missing' in files ? files.missing : false
}

/** A broker is let in again only when the session of its former life has run out: 9 s by default. */
const quickReturn = { 'broker.session.timeout.ms': '2000', 'broker.heartbeat.interval.ms': '250' } as const

/** Starts a broker of your own. @throws Error when Java or Kafka's jars are missing */
export async function ownBroker(options: BrokerOptions = {}): Promise<Broker> {
  const properties = { ...quickReturn, ...options.properties }
  return startBroker({ ...options, properties, directory: await serverDirectory('kafka'), guarded: true })
}

/** Starts a broker in a directory of the caller's, with or without a guard that ends it with this process. */
export async function startBroker(
  options: BrokerOptions & { directory: string; guarded: boolean; listeners?: readonly BrokerListener[]; scram?: readonly string[] },
): Promise<Broker> {
  const { directory, guarded, proxy, listeners = [], scram = [], heapMb = 256 } = options
  const files = await required()
  const [template, archive] = [await storageTemplate(files), await classArchive(files)]
  const [clientPort, controllerPort, proxied] = (await freePorts(3)) as [number, number, number]
  const all = proxy === undefined ? listeners : [...listeners, proxiedListener(proxied, proxy)]
  proxy?.leadTo(loopback, proxied)
  const data = join(directory, 'data')
  const properties = { ...brokerProperties({ data, clientPort, controllerPort, listeners: all }), ...options.properties }
  const propertiesFile = join(directory, 'server.properties')
  await mkdir(data, { recursive: true })
  await writeFile(propertiesFile, propertiesText(properties))
  if (scram.length > 0) await formatStorage(files, propertiesFile, scram)
  else await cp(join(template, 'data'), data, { recursive: true })
  const flags = [`-Xmx${heapMb}m`, `-XX:SharedArchiveFile=${archive}`, '-Xshare:auto']
  return started({ files, propertiesFile, clientPort, flags }, directory, guarded)
}

/**
 * Starts a broker from settings that are complete, such as those of an example, in a directory formatted for them.
 * @param properties - `log.dirs` is set here
 * @param port - plaintext port that clients are to use
 */
export async function brokerOf(properties: Readonly<Record<string, string>>, port: number): Promise<Broker> {
  const files = await required()
  const directory = await serverDirectory('kafka')
  const propertiesFile = join(directory, 'server.properties')
  await writeFile(propertiesFile, propertiesText({ ...properties, 'log.dirs': join(directory, 'data') }))
  await formatStorage(files, propertiesFile)
  return started({ files, propertiesFile, clientPort: port, flags: ['-Xmx256m'] }, directory, true)
}

async function started(settings: Parameters<typeof brokerKind>[0], directory: string, guarded: boolean): Promise<Broker> {
  const server = new OwnServer(brokerKind(settings), directory, guarded)
  await server.start()
  const { clientPort } = settings
  return { brokers: [`${loopback}:${clientPort}`], port: clientPort, server, close: () => server.close() }
}

function proxiedListener(port: number, proxy: FaultProxy): BrokerListener {
  return { name: 'PROXIED', protocol: 'PLAINTEXT', port, advertisedPort: proxy.port }
}

async function required(): Promise<KafkaFiles> {
  const files = await kafkaFiles()
  if ('missing' in files) throw new Error(files.missing)
  return files
}

function brokerKind(broker: { files: KafkaFiles; propertiesFile: string; clientPort: number; flags: readonly string[] }) {
  const { files, propertiesFile, clientPort, flags } = broker
  return {
    name: 'Kafka broker',
    command: [files.java, ...quickStart, ...flags, '-cp', files.classpath, 'kafka.Kafka', propertiesFile],
    ready: async () => (await answers(loopback, clientPort)) && (await describes(`${loopback}:${clientPort}`)),
    startMs: 90_000,
  }
}

/** True when a broker there says that it is in a cluster. */
export async function describes(broker: string): Promise<boolean> {
  const admin = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING, connectionTimeout: 2000, retry: { retries: 0 } }).admin()
  try {
    await admin.connect()
    return (await admin.describeCluster()).brokers.length > 0
  } finally {
    await admin.disconnect()
  }
}

/** An archive of the classes that a broker loads: made once, by using a broker a little and ending it in peace. */
async function classArchive(files: KafkaFiles): Promise<string> {
  const archive = await prepared(archivePath(files), async (draft) => {
    const directory = await serverDirectory('kafka-classes')
    const [clientPort, controllerPort] = (await freePorts(2)) as [number, number]
    const data = join(directory, 'data')
    const propertiesFile = join(directory, 'server.properties')
    await cp(join(files.directory, 'template', 'data'), data, { recursive: true })
    await writeFile(propertiesFile, propertiesText(brokerProperties({ data, clientPort, controllerPort, listeners: [] })))
    const flags = ['-Xmx256m', `-XX:ArchiveClassesAtExit=${join(draft, 'kafka.jsa')}`]
    const server = new OwnServer(brokerKind({ files, propertiesFile, clientPort, flags }), directory, true)
    await server.start()
    await useALittle(`${loopback}:${clientPort}`)
    await server.stop(60_000)
    await server.close()
  })
  return join(archive, 'kafka.jsa')
}

async function useALittle(broker: string): Promise<void> {
  const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING })
  const [admin, producer, consumer] = [kafka.admin(), kafka.producer({ idempotent: true }), kafka.consumer({ groupId: 'archive' })]
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'archive', numPartitions: 1 }] })
  await producer.connect()
  await producer.send({ topic: 'archive', messages: [{ key: 'a', value: 'b' }] })
  await consumer.connect()
  await consumer.subscribe({ topics: ['archive'], fromBeginning: true })
  await new Promise<void>((seen) => void consumer.run({ eachMessage: () => Promise.resolve(seen()) }))
  await Promise.all([admin.disconnect(), producer.disconnect(), consumer.disconnect()])
}

/** A broker that asks who you are, with the ways in beside the plain one. */
export interface SecuredBroker extends Broker {
  /** Address that speaks TLS and wants SASL. */
  readonly saslSsl: string
  /** Address that wants SASL over plain text. */
  readonly saslPlaintext: string
  /** Certificate of the authority that signed the broker's, PEM. */
  readonly ca: string
  /** Who may come in, by mechanism. */
  readonly users: Readonly<Record<'scram-sha-256' | 'scram-sha-512' | 'plain', { username: string; password: string }>>
}

/** Starts a broker with SASL_SSL and SASL_PLAINTEXT listeners beside the plain one. */
export async function securedBroker(options: BrokerOptions = {}): Promise<SecuredBroker> {
  const directory = await serverDirectory('kafka-secured')
  const tls = await certificate(directory)
  const [sslPort, plainPort] = (await freePorts(2)) as [number, number]
  const users = {
    'scram-sha-256': { username: 'alice', password: 'alice-pw' },
    'scram-sha-512': { username: 'bob', password: 'bob-pw' },
    plain: { username: 'carol', password: 'carol-pw' },
  }
  const chain = join(directory, 'chain.pem')
  await writeFile(chain, '')
  for (const part of [tls.key, tls.cert, tls.ca]) await appendFile(chain, part)
  const mechanisms = (listener: string): Record<string, string> => ({
    [`listener.name.${listener}.scram-sha-256.sasl.jaas.config`]: `${jaas}.scram.ScramLoginModule required;`,
    [`listener.name.${listener}.scram-sha-512.sasl.jaas.config`]: `${jaas}.scram.ScramLoginModule required;`,
    [`listener.name.${listener}.plain.sasl.jaas.config`]: `${jaas}.plain.PlainLoginModule required user_${users.plain.username}="${users.plain.password}";`,
  })
  const broker = await startBroker({
    ...options,
    directory,
    guarded: true,
    listeners: [
      { name: 'SECURED', protocol: 'SASL_SSL', port: sslPort },
      { name: 'NAMED', protocol: 'SASL_PLAINTEXT', port: plainPort },
    ],
    scram: (['scram-sha-256', 'scram-sha-512'] as const).map(
      (mechanism) => `${mechanism.toUpperCase()}=[name=${users[mechanism].username},password=${users[mechanism].password}]`,
    ),
    properties: {
      'sasl.enabled.mechanisms': 'SCRAM-SHA-256,SCRAM-SHA-512,PLAIN',
      ...mechanisms('secured'),
      ...mechanisms('named'),
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': chain,
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': tls.caFile,
      ...quickReturn,
      ...options.properties,
    },
  })
  return { ...broker, saslSsl: `${loopback}:${sslPort}`, saslPlaintext: `${loopback}:${plainPort}`, ca: tls.ca, users }
}

const jaas = 'org.apache.kafka.common.security'
