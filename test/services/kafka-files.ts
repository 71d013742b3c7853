/**
 * What a broker needs, prepared once in the cache: Kafka's jars by their Maven coordinates, a formatted data directory to copy and
 * an archive of loaded classes that halves the start.
 * Invariant: a prepared thing belongs to one Kafka version, the archive to one Java too; a newer one is prepared beside it.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { brokerProperties, propertiesText } from './broker-properties.ts'
import { cacheDirectory, prepared } from './cache.ts'
import { missing } from './missing.ts'
import type { Missing } from './missing.ts'

const run = promisify(execFile)

/** Newest release whose artifacts are all published. */
export const kafkaVersion = '4.3.1'
/** Fetches artifacts by their coordinates. */
export const dependencyPlugin = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1'

/** Java and Kafka, ready to be started. */
export interface KafkaFiles {
  readonly java: string
  /** What `java -version` says, for keys of what depends on it. */
  readonly javaVersion: string
  /** Folder of this Kafka version in the cache. */
  readonly directory: string
  /** Absolute jar paths in a fixed order: the class archive depends on it. */
  readonly classpath: string
}

let found: Promise<KafkaFiles | Missing> | undefined

/** Finds Java and fetches Kafka's jars, the first time through Maven. The answer is kept. @throws Error when missing with `CI=true` */
export function kafkaFiles(): Promise<KafkaFiles | Missing> {
  found ??= find()
  return found
}

async function find(): Promise<KafkaFiles | Missing> {
  const java = process.env['JAVA_HOME'] ? join(process.env['JAVA_HOME'], 'bin', 'java') : 'java'
  const version = await run(java, ['-version']).then(
    ({ stderr, stdout }) => `${stderr}${stdout}`,
    () => '',
  )
  const major = Number(/version "(\d+)/.exec(version)?.[1] ?? 0)
  if (major < 17) {
    const there = major === 0 ? 'there is no Java' : `Java is ${major}`
    return missing(`Kafka: ${there}; install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)`)
  }
  const directory = join(cacheDirectory(), `kafka-${kafkaVersion}`)
  try {
    const jars = await prepared(join(directory, 'libs'), (draft) => fetchJars(draft))
    return { java, javaVersion: version, directory, classpath: await classpathOf(jars) }
  } catch (error) {
    return missing(`Kafka: its jars could not be fetched: ${reasonOf(error)}`)
  }
}

/**
 * The jars with Kafka's command line tools beside them (`org.apache.kafka.tools.ProducerPerformance` and the like), fetched on demand.
 * @returns folder for a class path `folder/*`
 */
export async function kafkaToolsDirectory(): Promise<string | Missing> {
  const files = await kafkaFiles()
  if ('missing' in files) return files
  try {
    return await prepared(join(files.directory, 'tools'), async (draft) => {
      // Its other dependencies serve Connect; what the console clients load is among the broker's jars.
      await fetchJars(
        draft,
        '<artifactId>kafka-tools</artifactId>',
        '<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>',
      )
      for (const jar of files.classpath.split(':')) await copyFile(jar, join(draft, jar.slice(jar.lastIndexOf('/') + 1)))
    })
  } catch (error) {
    return missing(`Kafka's tools could not be fetched: ${reasonOf(error)}`)
  }
}

/** Runs a class of Kafka's tools to its end; resolves with what it printed. @throws Error with what it complained about */
export async function runKafkaTool(mainClass: string, args: readonly string[], input = ''): Promise<string> {
  const [files, tools] = [await kafkaFiles(), await kafkaToolsDirectory()]
  if ('missing' in files) throw new Error(files.missing)
  if (typeof tools !== 'string') throw new Error(tools.missing)
  const running = run(files.java, ['-Xmx256m', ...quickStart, '-cp', `${tools}/*`, mainClass, ...args], { maxBuffer: 64 << 20 })
  running.child.stdin!.end(input)
  return (await running).stdout
}

/** Flags for a process that lives for seconds on a small machine. */
export const quickStart = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'] as const

async function fetchJars(draft: string, artifact = '<artifactId>kafka_2.13</artifactId>', exclusions = ''): Promise<void> {
  const dependencies = [
    `<dependency><groupId>org.apache.kafka</groupId>${artifact}<version>${kafkaVersion}</version>${exclusions}</dependency>`,
    '<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>', // else it fails in silence
  ]
  const pom = join(draft, 'pom.xml')
  await writeFile(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>sidestream.test</groupId>
<artifactId>kafka</artifactId><version>1</version><dependencies>${dependencies.join('')}</dependencies></project>\n`,
  )
  await run('mvn', ['-B', '-q', '-f', pom, `${dependencyPlugin}:copy-dependencies`, `-DoutputDirectory=${draft}`], {
    timeout: 300_000,
    maxBuffer: 16 << 20,
  })
}

function reasonOf(error: unknown): string {
  const { code, message, stdout } = error as { code?: unknown; message?: string; stdout?: string }
  if (code === 'ENOENT') return 'there is no Maven (Debian: apt-get install maven)'
  const line = (stdout ?? '').split('\n').find((text) => text.startsWith('[ERROR]'))
  return `Maven said: ${line ?? message ?? 'nothing'}`
}

async function classpathOf(directory: string): Promise<string> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.jar')).sort()
  return names.map((name) => join(directory, name)).join(':')
}

/** Formats an empty data directory for one combined node. @param scram - users as `SCRAM-SHA-256=[name=…,password=…]` */
export async function formatStorage(files: KafkaFiles, properties: string, scram: readonly string[] = []): Promise<void> {
  const users = scram.flatMap((user) => ['--add-scram', user])
  const tool = ['kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', properties, ...users]
  await run(files.java, [...quickStart, '-cp', files.classpath, ...tool])
}

const clusterId = 'AAAAAAAAAAAAAAAAAAAAAA'

/** A formatted data directory to copy: formatting takes longer than the copy by a factor of a hundred. */
export function storageTemplate(files: KafkaFiles): Promise<string> {
  return prepared(join(files.directory, 'template'), async (draft) => {
    const properties = join(draft, 'server.properties')
    await mkdir(join(draft, 'data'))
    await writeFile(
      properties,
      propertiesText(brokerProperties({ data: join(draft, 'data'), listeners: [], controllerPort: 9093, clientPort: 9092 })),
    )
    await formatStorage(files, properties)
  })
}

/** Name of the class archive for this Java: another Java cannot use it. */
export function archivePath(files: KafkaFiles): string {
  const key = createHash('sha256').update(`${files.javaVersion}\n${files.classpath}`).digest('hex').slice(0, 12)
  return join(files.directory, `classes-${key}`)
}
