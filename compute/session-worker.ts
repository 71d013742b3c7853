/**
 * The thread in which ONNX Runtime runs: its `run` blocks its thread, so it must not be the one that answers Kafka.
 * Imports nothing of ours but types, so that a worker starts fast.
 * Invariant: requests are answered one after another in the order they came; the state of a training session stays
 * here and crosses threads only when asked for.
 */

import { parentPort } from 'node:worker_threads'
import * as ort from 'onnxruntime-node'
import type { DType, Tensor } from './tensor.ts'
import type { Answer, Message, PassedOver, SessionOptions, TensorMap, WorkerResult } from './worker-protocol.ts'

interface OpenSession {
  readonly session: ort.InferenceSession
  readonly outputNames: readonly string[]
  /** Inputs that are states. */
  readonly stateNames: readonly string[]
  /** Fed to `state/<name>` and replaced by `next/<name>` at every run; sessions may share it. */
  readonly state: Record<string, ort.Tensor>
  readonly held: Record<string, ort.Tensor>
  /** ONNX Runtime takes no shared memory: copies of what came in it, by input, written over by the next run. */
  readonly copies: Record<string, Tensor['data']>
}

// What it would write to stderr by itself comes as an error as well, and holds paths of the machine.
ort.env.logLevel = 'fatal'
const statePrefix = 'state/'
const nextPrefix = 'next/'
const sessions = new Map<number, OpenSession>()
const port = parentPort!
let queue: Promise<void> = Promise.resolve()

port.on('message', (message: Message) => {
  queue = queue.then(async () => {
    try {
      const result = await handle(message)
      // A state copy, an output or the feeds of a run are ours alone: move them.
      const moved = [...Object.values(result.tensors), ...Object.values(result.reclaimed ?? {})]
      const buffers = new Set(moved.map(({ data }) => data.buffer as ArrayBuffer))
      port.postMessage({ id: message.id, ok: true, result } satisfies Answer, [...buffers])
    } catch (error) {
      const { message: text, stack } = error instanceof Error ? error : new Error(String(error))
      port.postMessage({ id: message.id, ok: false, message: text, stack } satisfies Answer)
    }
  })
})

async function handle(message: Message): Promise<WorkerResult> {
  if (message.kind === 'try-providers') return tryProviders(message.model, message.providers)
  if (message.kind === 'open') {
    const session = await createSession(message.model, message.options)
    const state = message.sharesStateOf === undefined ? {} : sessions.get(message.sharesStateOf)?.state
    if (state === undefined) throw new Error('the session whose state is shared is closed')
    const stateNames = session.inputNames.filter((name) => name.startsWith(statePrefix))
    sessions.set(message.session, { session, outputNames: session.outputNames, stateNames, state, held: {}, copies: {} })
    return { tensors: {}, inputNames: session.inputNames, outputNames: session.outputNames }
  }
  const open = sessions.get(message.session)
  if (open === undefined) throw new Error('the session is closed')
  switch (message.kind) {
    case 'run':
      return { tensors: await runAll(open, message), ...(message.reclaim ? { reclaimed: message.feeds } : {}) }
    case 'hold':
      for (const [name, tensor] of Object.entries(message.feeds)) open.held[name] = toOrt(tensor)
      return { tensors: {} }
    case 'set-state':
      for (const [name, tensor] of Object.entries(message.state)) open.state[statePrefix + name] = toOrt(tensor)
      return { tensors: {} }
    case 'get-state':
      return {
        tensors: Object.fromEntries(Object.entries(open.state).map(([name, value]) => [name.slice(statePrefix.length), copyOf(value)])),
      }
    case 'close':
      sessions.delete(message.session)
      await open.session.release()
      return { tensors: {} }
  }
}

async function createSession(model: Uint8Array, options: Required<SessionOptions>): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(model, ortOptions(options))
  } catch (error) {
    if (options.providers.join() === 'cpu') throw error
    const known = knownProviders()
    const message = `execution providers ${options.providers.join(', ')}: ${(error as Error).message}`
    const hint = `this build of ONNX Runtime knows ${known.join(', ')}, and some need libraries of their own on the machine`
    throw new Error(`${message}; ${hint}`, { cause: error })
  }
}

async function tryProviders(model: Uint8Array, providers: readonly string[]): Promise<WorkerResult> {
  const known = knownProviders()
  const passedOver: PassedOver[] = []
  for (const provider of providers) {
    const why = known.includes(provider) ? await faultOf(model, provider) : 'this build of ONNX Runtime does not know it'
    if (why !== undefined) passedOver.push({ provider, why })
  }
  return { tensors: {}, passedOver, known }
}

/** Why a provider cannot open a model; undefined when it can. */
async function faultOf(model: Uint8Array, provider: string): Promise<string | undefined> {
  try {
    const session = await ort.InferenceSession.create(model, ortOptions({ threads: 1, optimization: 'all', providers: [provider] }))
    await session.release()
    return undefined
  } catch (error) {
    // ONNX Runtime begins some with where in its own source they arose.
    return (error as Error).message
      .trim()
      .split('\n')[0]!
      .replace(/^.* was false\. /, '')
  }
}

function knownProviders(): string[] {
  return ort.listSupportedBackends().map(({ name }) => name)
}

async function runAll(open: OpenSession, { feeds, outputs, batch }: Extract<Message, { kind: 'run' }>): Promise<TensorMap> {
  const rows = Math.max(...Object.values(feeds).map(({ dims }) => dims[0] ?? 0))
  if (batch === undefined || rows <= batch) return run(open, feeds, outputs)
  const joined: TensorMap = {}
  for (let from = 0; from < rows; from += batch) {
    const to = Math.min(rows, from + batch)
    const cut = Object.entries(feeds).map(([name, tensor]): [string, Tensor] => [name, rowsOf(tensor, from, to)])
    for (const [name, part] of Object.entries(await run(open, Object.fromEntries(cut), outputs))) {
      if (part.dims[0] !== to - from) throw new Error(`output ${name} has no row for each of the input: it cannot be run in batches`)
      const whole = (joined[name] ??= emptyLike(part, rows))
      const width = part.data.length / (to - from)
      whole.data.set(part.data as never, from * width)
    }
  }
  return joined
}

function rowsOf({ dtype, dims, data }: Tensor, from: number, to: number): Tensor {
  const width = data.length / dims[0]!
  return { dtype, dims: [to - from, ...dims.slice(1)], data: data.subarray(from * width, to * width) as Tensor['data'] }
}

function emptyLike({ dtype, dims, data }: Tensor, rows: number): Tensor {
  const all = new (data.constructor as new (length: number) => Tensor['data'])((data.length / dims[0]!) * rows)
  return { dtype, dims: [rows, ...dims.slice(1)], data: all }
}

async function run(open: OpenSession, feeds: TensorMap, outputs: readonly string[] | undefined): Promise<TensorMap> {
  const all: Record<string, ort.Tensor> = { ...open.held }
  for (const name of open.stateNames) all[name] = open.state[name]!
  for (const [name, tensor] of Object.entries(feeds)) all[name] = toOrt(isShared(tensor) ? ownCopy(tensor, name, open.copies) : tensor)
  const steps = open.stateNames.length > 0
  const wanted = outputs ?? open.outputNames.filter((name) => !steps || !name.startsWith(nextPrefix))
  const fetched = steps ? [...wanted, ...open.outputNames.filter((name) => name.startsWith(nextPrefix))] : wanted
  const results = await open.session.run(all, [...fetched])
  const answer: TensorMap = {}
  for (const [name, value] of Object.entries(results)) {
    if (steps && name.startsWith(nextPrefix)) open.state[statePrefix + name.slice(nextPrefix.length)] = value
    else answer[name] = fromOrt(value)
  }
  return answer
}

function ortOptions({ threads, optimization, providers }: Required<SessionOptions>): ort.InferenceSession.SessionOptions {
  return {
    executionProviders: [...providers],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: optimization,
    logSeverityLevel: 3,
    // Denormals are many times slower and mean nothing here; deterministic compute where a kernel offers a choice.
    extra: { session: { set_denormal_as_zero: '1', use_deterministic_compute: '1' } },
  }
}

function toOrt({ dtype, dims, data }: Tensor): ort.Tensor {
  return new ort.Tensor(dtype, data as never, dims)
}

function isShared({ data }: Tensor): boolean {
  return data.buffer instanceof SharedArrayBuffer
}

function ownCopy({ dtype, dims, data }: Tensor, name: string, copies: Record<string, Tensor['data']>): Tensor {
  const known = copies[name]
  const copy = known !== undefined && known.length === data.length ? known : data.slice()
  if (copy === known) copy.set(data as never)
  else copies[name] = copy
  return { dtype, dims, data: copy }
}

function fromOrt(value: ort.Tensor): Tensor {
  const data = value.data as Tensor['data']
  // Memory that this tensor does not own whole cannot be moved; copy it.
  const own = data.byteLength === data.buffer.byteLength
  return { dtype: value.type as DType, dims: [...value.dims], data: own ? data : data.slice() }
}

function copyOf(value: ort.Tensor): Tensor {
  return { dtype: value.type as DType, dims: [...value.dims], data: (value.data as Float32Array).slice() }
}
