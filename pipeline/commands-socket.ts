/**
 * Commands through the control socket of the daemon that owns the data directory. Invariant: a failure of the connection is told
 * apart from an answer; what the daemon refused comes back with its own code.
 */

import { resolve } from 'node:path'
import { Client, credentials, Metadata, status } from '@grpc/grpc-js'
import type { CallOptions, MethodDefinition, ServiceError } from '@grpc/grpc-js'
import { SidestreamError } from '../schemas/index.ts'
import {
  changeOfMessage,
  controlMethods,
  errorOf,
  featuresOf,
  letterOf,
  messageBytes,
  retryOf,
  taskOf,
  versionLineOf,
} from './control-wire.ts'
import type {
  ChangeMessage,
  ControlMethods,
  CountsMessage,
  FeatureChunkMessage,
  ImportEventMessage,
  ImportMessage,
  LetterMessage,
  RefreshEventMessage,
  RetryMessage,
  VersionLineMessage,
} from './control-wire.ts'
import type { VersionRecord } from '../features/index.ts'
import type { DaemonStatus } from './daemon.ts'
import type { ImportReport } from './import.ts'
import type { ImportRequest, ProjectCommands } from './project-commands.ts'

/** How long a question that only looks may take, milliseconds. */
const lookMs = 120_000

/**
 * @param readyMs - how long the daemon may take to answer at all, milliseconds
 * @throws SIDESTREAM_OWNER_UNAVAILABLE when it does not
 */
export async function commandsOverSocket(path: string, readyMs: number): Promise<ProjectCommands> {
  const caller = new Caller(path)
  await caller.ready(readyMs)
  return {
    importFiles: async (request, events, signal) => {
      let report: ImportReport | undefined
      const asked = importMessage(request)
      for await (const { progress, refused, note, done } of caller.stream<ImportEventMessage>('Import', asked, signal)) {
        if (progress !== undefined) events?.onProgress?.(countsOf(progress))
        if (refused !== undefined) events?.onRefused?.(refused)
        if (note !== undefined) events?.onNote?.(note)
        if (done !== undefined) report = countsOf(done)
      }
      return answered(report)
    },
    refresh: async (id, events, signal) => {
      let result: RefreshEventMessage['done']
      for await (const { round, task, done } of caller.stream<RefreshEventMessage>('Refresh', { id }, signal)) {
        if (round !== undefined) events?.onRound?.(Number(round.round), Number(round.rows), round.loss ?? null)
        if (task !== undefined) events?.onTask?.(task)
        if (done !== undefined) result = done
      }
      return taskOf(answered(result))
    },
    listVersions: async () => {
      const { versions } = await caller.unary<{ versions: VersionLineMessage[] }>('ListVersions', {}, lookMs)
      return versions.map(versionLineOf)
    },
    showVersion: async (version) => {
      const { recordJson } = await caller.unary<{ recordJson: string }>('ShowVersion', { version }, lookMs)
      return JSON.parse(recordJson) as VersionRecord
    },
    activateVersion: async (version) => changeOfMessage(await caller.unary<ChangeMessage>('Activate', { version })),
    rollbackVersion: async () => changeOfMessage(await caller.unary<ChangeMessage>('Rollback', {})),
    collectVersions: async () => (await caller.unary<{ versions: string[] }>('Collect', {})).versions.map(Number),
    readFeatures: async (request) => {
      const chunks: FeatureChunkMessage[] = []
      for await (const chunk of caller.stream<FeatureChunkMessage>('ReadFeatures', request)) chunks.push(chunk)
      return { version: Number(answered(chunks[0]).version), features: chunks.flatMap(featuresOf) }
    },
    listDeadLetters: async (filter) => {
      const letters = []
      for await (const letter of caller.stream<LetterMessage>('ListDeadLetters', filter)) letters.push(letterOf(letter))
      return letters
    },
    retryDeadLetters: async (filter) => retryOf(await caller.unary<RetryMessage>('RetryDeadLetters', filter)),
    status: async () => {
      const { statusJson } = await caller.unary<{ statusJson: string }>('Status', {}, lookMs)
      return (JSON.parse(statusJson) as DaemonStatus | null) ?? undefined
    },
    close: async () => caller.close(),
  }
}

/** Calls of the service by name. */
class Caller {
  readonly #client: Client
  readonly #methods: ControlMethods = controlMethods()

  constructor(path: string) {
    this.#client = new Client(`unix:${path}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': messageBytes,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      // A daemon whose process hangs is noticed; one that is busy for a while is not given up.
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 60_000,
    })
  }

  ready(readyMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(Date.now() + readyMs, (cause) => {
        if (cause === undefined) return resolve()
        this.close()
        const message = `a daemon owns the data directory, but does not answer within ${readyMs / 1000} s: look at its log, or stop it`
        reject(new SidestreamError('SIDESTREAM_OWNER_UNAVAILABLE', message, { cause }))
      })
    })
  }

  unary<Response>(name: keyof ControlMethods, request: object, deadlineMs?: number): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = this.#method<Response>(name)
    const options: CallOptions = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs }
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), options, (error, response) => {
        if (error !== null) reject(failureOf(error))
        else resolve(response!)
      })
    })
  }

  /** The messages of a call. Aborted, the call is cancelled, and SIDESTREAM_CLOSED is thrown. */
  async *stream<Response>(name: keyof ControlMethods, request: object, signal?: AbortSignal): AsyncGenerator<Response> {
    const { path, requestSerialize, responseDeserialize } = this.#method<Response>(name)
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, new Metadata())
    const cancel = (): void => call.cancel()
    signal?.addEventListener('abort', cancel)
    if (signal?.aborted === true) cancel()
    try {
      for await (const message of call) yield message as Response
    } catch (error) {
      if (signal?.aborted === true) {
        throw new SidestreamError('SIDESTREAM_CLOSED', 'stopped: what the daemon has begun is whole; ask again to go on', { cause: error })
      }
      throw failureOf(error as ServiceError)
    } finally {
      signal?.removeEventListener('abort', cancel)
      call.cancel()
    }
  }

  close(): void {
    this.#client.close()
  }

  #method<Response>(name: keyof ControlMethods): MethodDefinition<object, Response> {
    return this.#methods[name] as unknown as MethodDefinition<object, Response>
  }
}

/** What the daemon said, or what became of it. */
function failureOf(error: ServiceError): SidestreamError {
  const answer = errorOf(error)
  if (answer !== undefined) return answer
  switch (error.code) {
    case status.UNIMPLEMENTED:
      return failed('the daemon is of another release and does not know this command: start it again with this one', error)
    case status.DEADLINE_EXCEEDED:
      return failed('the daemon did not answer in time: look at its log', error)
    case status.RESOURCE_EXHAUSTED:
      return new SidestreamError('SIDESTREAM_USAGE_INVALID', `too much for one call, ask for less at once: ${error.details}`, {
        cause: error,
      })
    case status.INTERNAL:
    case status.UNKNOWN:
      return failed(`the daemon failed to answer: ${error.details}`, error)
    default:
      return failed('the daemon ended before it answered: start it again, and look what was done (versions list) before you repeat', error)
  }
}

function failed(message: string, cause: unknown): SidestreamError {
  return new SidestreamError('SIDESTREAM_CLOSED', message, { cause })
}

function answered<T>(value: T | undefined): T {
  if (value === undefined) throw failed('the daemon ended the call without an answer: look at its log', undefined)
  return value
}

/** The daemon has another working directory. */
function importMessage({ interactions, content, idEmbeddings, pairs, recipe, end }: ImportRequest): ImportMessage {
  return {
    end,
    ...(interactions !== undefined && { interactions: resolve(interactions) }),
    ...(content !== undefined && { content: resolve(content) }),
    ...(idEmbeddings !== undefined && { idEmbeddings: resolve(idEmbeddings) }),
    ...(pairs !== undefined && { pairs: resolve(pairs) }),
    ...(recipe !== undefined && { recipe: resolve(recipe.file), data: resolve(recipe.data) }),
  }
}

function countsOf({ appended, skipped, refused }: CountsMessage): ImportReport {
  return { appended: Number(appended), skipped: Number(skipped), refused: Number(refused) }
}
