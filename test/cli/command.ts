/** Runs the command line as a user does: in a process of its own, judged by exit code and output. */
import { match, strictEqual } from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess, ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

import { nodeOptions, running } from '../checkout.ts'

const runMany = fileURLToPath(running(new URL('./run-many.ts', import.meta.url)))
/** What node is given to be `sidestream`. */
const program = [...nodeOptions, fileURLToPath(running(new URL('../../cli/main.ts', import.meta.url)))]

export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  /** Resolves when the process has ended. */
  readonly ended: Promise<Ended>
  /** Resolves when stderr has held `text`. */
  says(text: string): Promise<void>
}

/**
 * Starts `sidestream ...args` in `cwd`. Nothing of this process's environment that configures sidestream reaches it.
 * @param own - further environment
 */
export function start(args: readonly string[], cwd: string, own: Readonly<Record<string, string>> = {}): Running {
  return startNode([...program, ...args], cwd, own)
}

function startNode(words: readonly string[], cwd: string, own: Readonly<Record<string, string>> = {}): Running {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SIDESTREAM_')))
  return started(spawn(process.execPath, words, { cwd, env: { ...inherited, ...own }, stdio: ['ignore', 'pipe', 'pipe'] }))
}

function started(child: ChildProcessByStdio<null, Readable, Readable>): Running {
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = once(child, 'close').then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as string | null,
    stdout,
    stderr,
  }))
  const says = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => void (stderr.includes(text) && resolve())
      child.stderr.on('data', look)
      child.once('close', () => reject(new Error(`ended without saying "${text}": ${stderr}`)))
      look()
    })
  return { child, ended, says }
}

/** Runs `sidestream ...args` to its end. */
export function run(args: readonly string[], cwd: string, own: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return start(args, cwd, own).ended
}

/** Runs `sidestream ...args` where no file may have more than so many KiB, as on a disk that is full. */
export function runWithSmallFiles(args: readonly string[], cwd: string, kilobytes: number): Promise<Ended> {
  const limited = `ulimit -f ${2 * kilobytes}; exec "$0" "$@"`
  return started(spawn('sh', ['-c', limited, process.execPath, ...program, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })).ended
}

/** False, or why nothing can be run on a terminal here. */
export const noTerminal: string | false =
  process.platform === 'linux' && spawnSync('script', ['--version']).status === 0 ? false : 'needs script of util-linux'

/** Runs `sidestream ...args` on a terminal of its own: `stdout` is all that it shows. */
export function runOnTerminal(args: readonly string[], cwd: string): Promise<Ended> {
  const line = [process.execPath, ...program, ...args].map((word) => `'${word}'`).join(' ')
  const { ended } = started(spawn('script', ['-qefc', line, '/dev/null'], { cwd, stdio: ['ignore', 'pipe', 'pipe'] }))
  return ended
}

/** Runs with `--json`: stdout must be exactly one JSON object, which is the answer. */
export async function runJson(args: readonly string[], cwd: string, code = 0): Promise<Record<string, unknown>> {
  const ended = await run([...args, '--json'], cwd)
  strictEqual(ended.code, code, `${args.join(' ')}: ${ended.stderr}${ended.stdout}`)
  strictEqual(ended.stdout.split('\n').length, 2, `one line, not: ${ended.stdout}`)
  return JSON.parse(ended.stdout) as Record<string, unknown>
}

interface Told {
  readonly code: string | null
  readonly message: string
}

/** Code and message of a command that fails. */
export async function runFailing(args: readonly string[], cwd: string, code: number): Promise<Told> {
  return (await runJson(args, cwd, code))['error'] as Told
}

/**
 * Checks that every command fails with this exit code, and with a message that matches. They run one after another in one process: its
 * start costs more than all of their refusals.
 * @param error - code that all of them tell @default any
 */
export async function refuses(
  cases: readonly (readonly [args: readonly string[], message: RegExp])[],
  cwd: string,
  exit: number,
  error?: string,
): Promise<void> {
  const commands = cases.map(([args]) => [...args, '--json'])
  const { code, stdout, stderr } = await startNode([...nodeOptions, runMany, JSON.stringify(commands)], cwd).ended
  strictEqual(code, 0, stderr)
  const answers = JSON.parse(stdout) as readonly { readonly exit: number; readonly stdout: string }[]
  strictEqual(answers.length, cases.length)
  for (const [i, [args, expected]] of cases.entries()) {
    const answer = answers[i]!
    const where = `${args.join(' ')}: ${answer.stdout}`
    strictEqual(answer.exit, exit, where)
    strictEqual(answer.stdout.split('\n').length, 2, `one line, not: ${where}`)
    const told = (JSON.parse(answer.stdout) as { error: Told }).error
    match(told.message, expected)
    if (error !== undefined) strictEqual(told.code, error, where)
  }
}
