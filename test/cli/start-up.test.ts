/** What a command loads: its own file, and of drivers, formats and pages only those that it uses; starting is most of a short command. */
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { run } from './command.ts'
import { writeConfig } from './shop.ts'

let home = ''

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'sidestream-cli-'))
  await writeConfig(home)
})

after(() => rm(home, { recursive: true, force: true }))

/** Runs a command to its end: names of the files of `cli/` and of the packages that it loaded as modules. */
async function loadedBy(words: readonly string[]): Promise<{ files: string[]; packages: string[]; stdout: string }> {
  const list = join(home, 'loaded.txt')
  await writeFile(list, '')
  const hook = `import { appendFileSync } from 'node:fs'
    export async function load(url, context, next) { appendFileSync(${JSON.stringify(list)}, url + '\\n'); return next(url, context) }`
  const url = (text: string): string => `data:text/javascript,${encodeURIComponent(text)}`
  const registered = url(`import { register } from 'node:module'; register(${JSON.stringify(url(hook))})`)
  const { code, stdout, stderr } = await run(words, home, { NODE_OPTIONS: `--import=${registered}` })
  strictEqual(code, 0, stderr)
  const urls = (await readFile(list, 'utf8')).split('\n')
  const found = (pattern: RegExp): string[] => [...new Set(urls.flatMap((text) => pattern.exec(text)?.[1] ?? []))].sort()
  return { files: found(/\/cli\/([\w-]+)\.[jt]s$/), packages: found(/.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//), stdout }
}

/** Packages that take long to load, and that no command needs to tell how it is used. */
const heavy = [
  ...['kafkajs', 'ioredis', 'lmdb', '@grpc/grpc-js', 'prom-client'],
  ...['csv-parse', 'hyparquet', 'hyparquet-compressors', 'hyparquet-writer', 'echarts', 'onnxruntime-node', 'ml-matrix', 'protobufjs'],
]
const heavyOf = (packages: readonly string[]): string[] => packages.filter((name) => heavy.includes(name))

test('a command is loaded without the others', async () => {
  const get = await loadedBy(['get', '--help'])
  deepStrictEqual(get.files, ['get', 'main', 'options', 'output'])
  deepStrictEqual(heavyOf(get.packages), [])
  const fit = await loadedBy(['sid', 'fit', '--help'])
  deepStrictEqual(
    fit.files.filter((name) => ['auc', 'demo', 'distill', 'get', 'run', 'sid'].includes(name)),
    ['sid'],
  )
  deepStrictEqual(heavyOf(fit.packages), [])
})

test('a help of all commands loads all of them', async () => {
  const { files, stdout } = await loadedBy(['--help'])
  for (const name of ['auc', 'demo', 'distill', 'get', 'run', 'sid']) {
    ok(files.includes(name), name)
    match(stdout, new RegExp(`^  ${name} `, 'm'))
  }
})

test('a driver and a file format are loaded by those who use them', async () => {
  const list = await loadedBy(['versions', 'list'])
  deepStrictEqual(heavyOf(list.packages), ['lmdb'])
  await writeFile(join(home, 'scores.csv'), 'label,score\n1,0.9\n0,0.1\n')
  const auc = await loadedBy(['auc', '--in', 'scores.csv', '--scores', 'score'])
  deepStrictEqual(heavyOf(auc.packages), ['csv-parse'])
})
