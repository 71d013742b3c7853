/**
 * Points at which a process can be killed: every write to a port has a name, and a plan says at which one SIGKILL comes.
 * `during` starts the write and kills before it can answer; the kernel ends the process at once, as a power button would.
 */

import { writeSync } from 'node:fs'
import type { LogProducer, State } from '../../connectors/index.ts'
import type { Project } from '../../pipeline/index.ts'

export interface KillPlan {
  /** The first write of this name, or the n-th write of all. */
  readonly at: string | number
  readonly side: 'before' | 'during' | 'after'
}

/** Told the name of every write, in the order in which they begin. */
export type OnWrite = (name: string) => void

/** The project with every writing call of its ports named, and the kill at its place. */
export function withKillPoints(
  project: Project,
  { plan, onWrite = () => {} }: { plan?: KillPlan | undefined; onWrite?: OnWrite },
): Project {
  let writes = 0
  const write = async <T>(name: string, run: () => Promise<T>): Promise<T> => {
    onWrite(name)
    writes++
    if (plan === undefined || (plan.at !== name && plan.at !== writes)) return run()
    if (plan.side !== 'before') {
      const running = run()
      running.catch(() => {})
      await (plan.side === 'after' ? running : new Promise((resolve) => setImmediate(resolve)))
    }
    writeSync(1, `killed ${plan.side} write ${writes}: ${name}\n`)
    process.kill(process.pid, 'SIGKILL')
    return new Promise(() => {})
  }
  const producer = (real: LogProducer): LogProducer => ({
    send: (topic, partition, records) => write(nameOfSend(project, topic, records), () => real.send(topic, partition, records)),
    flush: () => real.flush(),
    close: () => real.close(),
  })
  const state = (name: string, real: State): State => wrap(real, { commit: (change) => write(`state ${name}`, () => real.commit(change)) })
  const { log, store, artifacts } = project
  return {
    ...project,
    log: wrap(log, { producer: async () => producer(await log.producer()) }),
    store: wrap(store, {
      write: (target, entries) => write(`rows of version ${target.version}`, () => store.write(target, entries)),
      swap: (request) => write(`${request.action} version ${request.version}`, () => store.swap(request)),
      putVersion: (name, version, record) => write(`record of version ${version}`, () => store.putVersion(name, version, record)),
    }),
    artifacts: wrap(artifacts, { write: (name, parts, about) => write(`artifact ${name}`, () => artifacts.write(name, parts, about)) }),
    openState: async (name) => state(name, await project.openState(name)),
  }
}

/** The object with some of its methods replaced; the others keep their `this`, which private fields need. */
function wrap<T extends object>(real: T, replaced: Partial<T>): T {
  return new Proxy(real, {
    get: (target, key) => {
      const value: unknown = key in replaced ? replaced[key as keyof T] : Reflect.get(target, key, target)
      return typeof value === 'function' && !(key in replaced) ? value.bind(target) : value
    },
  })
}

function nameOfSend({ codec }: Project, topic: string, records: readonly { readonly value: Uint8Array | null }[]): string {
  const value = records[0]?.value ?? new Uint8Array()
  if (topic === 'feature-versions') return `move ${codec.decode(topic, value).seq}`
  if (topic !== 'control') return `send ${topic}`
  const { kind, id } = codec.decode(topic, value)
  return `control ${kind} ${id}`
}

/** Steps of training rounds: cut, checkpoint, trained. They come in one order in every run. */
export function isRoundStep(name: string): boolean {
  return /^(control (cut|trained)|artifact heads\/round-)/.test(name)
}

/** Steps of versions, from the decision to build to rollback and outbox. They come in one order in every run. */
export function isVersionStep(name: string): boolean {
  return /^(control (build|judged|done)|artifact (cut-codes|codebooks|heads\/bootstrap)|activate|rollback|record|move) /.test(
    name.replace('/', ' '),
  )
}
