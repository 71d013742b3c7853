/**
 * The control socket of a running daemon: gRPC on a unix socket in its data directory, for commands on the same machine.
 * Invariants: only the user who runs the daemon can connect; a caller that leaves or a daemon that stops ends an import between
 * two batches and nothing else half-way; a failure is the caller's to hear, never the daemon's.
 */

import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { handleServerStreamingCall, handleUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js'
import { SidestreamError } from '../schemas/index.ts'
import type { ControlMethods } from './control-wire.ts'
import {
  controlMethods,
  featureChunks,
  letterMessage,
  messageBytes,
  taskMessage,
  versionLineMessage,
  wireError,
  type ChangeMessage,
  type FeatureChunkMessage,
  type FeatureRequestMessage,
  type ImportEventMessage,
  type ImportMessage,
  type LetterMessage,
  type RefreshEventMessage,
  type RetryMessage,
  type VersionLineMessage,
} from './control-wire.ts'
import type { LetterFilter, ProjectCommands } from './project-commands.ts'
import { socketPlace } from './socket-path.ts'
import type { SocketPlace } from './socket-path.ts'

export interface ControlSocket {
  /** Where it listens. */
  readonly path: string
  /** Ends what runs, each with its answer, then the socket. */
  close(): Promise<void>
}

/** How long answers may take to leave when the daemon stops, milliseconds. */
const drainMs = 2000
/** Progress of an import is sent at most this often, milliseconds. */
const progressMs = 250

/**
 * Listens for commands.
 * @param dataDir - a directory that this process owns
 * @throws SIDESTREAM_ADDRESS_IN_USE when the socket cannot be made
 */
export async function listenForCommands(dataDir: string, commands: ProjectCommands): Promise<ControlSocket> {
  const stopping = new AbortController()
  const server = new Server({ 'grpc.max_send_message_length': messageBytes })
  const running = new Set<Promise<unknown>>()
  server.addService({ ...controlMethods() }, implementation(commands, stopping.signal, running))
  let place: SocketPlace | undefined
  try {
    const made = await socketPlace(dataDir)
    place = made
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix:${made.draft}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error))),
    )
    const path = await made.publish()
    const close = async (): Promise<void> => {
      stopping.abort()
      await Promise.all(running)
      await shutDown(server)
      await made.remove()
    }
    return { path, close }
  } catch (cause) {
    server.forceShutdown()
    await place?.remove()
    throw new SidestreamError('SIDESTREAM_ADDRESS_IN_USE', `cannot listen for commands in ${dataDir}: ${(cause as Error).message}`, {
      cause,
    })
  }
}

async function shutDown(server: Server): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, drainMs)
  })
  await Promise.race([late, new Promise<void>((resolve) => server.tryShutdown(() => resolve()))])
  clearTimeout(timer)
  server.forceShutdown()
}

/** Sends one message; resolves when there is room for the next. */
type Send<Response> = (message: Response) => Promise<void>

function implementation(commands: ProjectCommands, stopping: AbortSignal, running: Set<Promise<unknown>>): UntypedServiceImplementation {
  /** Runs a handler to its end, however the caller fares; the signal says that the caller has left or the daemon stops. */
  const run = async (call: { on(event: 'cancelled', listener: () => void): unknown }, body: (signal: AbortSignal) => Promise<void>) => {
    const over = new AbortController()
    const stop = (): void => over.abort()
    call.on('cancelled', stop)
    stopping.addEventListener('abort', stop)
    if (stopping.aborted) stop()
    const done = body(over.signal).finally(() => {
      stopping.removeEventListener('abort', stop)
      running.delete(done)
    })
    running.add(done)
    await done
  }
  const unary =
    <Request, Response>(answer: (request: Request) => Promise<Response>): handleUnaryCall<Request, Response> =>
    (call, callback) => {
      void run(call, async (signal) => {
        try {
          callback(null, await unlessStopped(signal, stopping, answer(call.request)))
        } catch (error) {
          callback(wireError(error))
        }
      })
    }
  const streaming =
    <Request, Response>(
      answer: (request: Request, send: Send<Response>, signal: AbortSignal) => Promise<void>,
    ): handleServerStreamingCall<Request, Response> =>
    (call) => {
      void run(call, async (signal) => {
        const send: Send<Response> = async (message) => {
          if (call.cancelled || call.destroyed || call.write(message)) return
          await new Promise<void>((resolve) => {
            call.once('drain', resolve)
            call.once('close', resolve)
            signal.addEventListener('abort', () => resolve())
          })
        }
        try {
          await answer(call.request, send, signal)
          call.end()
        } catch (error) {
          call.emit('error', wireError(error))
        }
      })
    }
  return {
    Import: streaming<ImportMessage, ImportEventMessage>((request, send, signal) => importFiles(commands, request, send, signal)),
    Refresh: streaming<{ id: string }, RefreshEventMessage>(({ id }, send, signal) =>
      unlessStopped(signal, stopping, refresh(commands, id, send)),
    ),
    ListVersions: unary<object, { versions: VersionLineMessage[] }>(async () => ({
      versions: (await commands.listVersions()).map(versionLineMessage),
    })),
    ShowVersion: unary<{ version: string }, { recordJson: string }>(async ({ version }) => ({
      recordJson: JSON.stringify(await commands.showVersion(Number(version))),
    })),
    Activate: unary<{ version: string }, ChangeMessage>(({ version }) => commands.activateVersion(Number(version))),
    Rollback: unary<object, ChangeMessage>(() => commands.rollbackVersion()),
    Collect: unary<object, { versions: number[] }>(async () => ({ versions: await commands.collectVersions() })),
    ReadFeatures: streaming<FeatureRequestMessage, FeatureChunkMessage>(async ({ view, items, version }, send, signal) => {
      const asked = { items, ...(view !== undefined && { view }), ...(version !== undefined && { version: Number(version) }) }
      for (const chunk of featureChunks(await unlessStopped(signal, stopping, commands.readFeatures(asked)))) await send(chunk)
    }),
    ListDeadLetters: streaming<LetterFilter, LetterMessage>(async (filter, send, signal) => {
      for (const letter of await unlessStopped(signal, stopping, commands.listDeadLetters(filterOf(filter)))) {
        if (signal.aborted) return
        await send(letterMessage(letter))
      }
    }),
    RetryDeadLetters: unary<LetterFilter, RetryMessage>((filter) => commands.retryDeadLetters(filterOf(filter))),
    Status: unary<object, { statusJson: string }>(async () => ({ statusJson: JSON.stringify((await commands.status()) ?? null) })),
  } satisfies Record<keyof ControlMethods, unknown>
}

/** The answer, unless the daemon stops first or nobody waits for it any more. */
async function unlessStopped<T>(signal: AbortSignal, stopping: AbortSignal, answer: Promise<T>): Promise<T> {
  answer.catch(() => {})
  const stopped = new Promise<never>((_, reject) => {
    const tell = (): void => {
      const why = stopping.aborted ? 'the daemon stops' : 'the caller has left'
      reject(new SidestreamError('SIDESTREAM_CLOSED', `${why} before there is an answer: what was begun goes on when a daemon runs`))
    }
    if (signal.aborted) tell()
    else signal.addEventListener('abort', tell)
  })
  return Promise.race([answer, stopped])
}

async function importFiles(
  commands: ProjectCommands,
  { recipe, data, interactions, content, idEmbeddings, pairs, end }: ImportMessage,
  send: Send<ImportEventMessage>,
  signal: AbortSignal,
): Promise<void> {
  let toldTs = 0
  const tell = (event: ImportEventMessage): void => void send(event)
  const report = await commands.importFiles(
    {
      end,
      ...(interactions !== undefined && { interactions }),
      ...(content !== undefined && { content }),
      ...(idEmbeddings !== undefined && { idEmbeddings }),
      ...(pairs !== undefined && { pairs }),
      ...(recipe !== undefined && data !== undefined && { recipe: { file: recipe, data } }),
    },
    {
      onProgress: ({ appended, skipped }) => {
        if (Date.now() - toldTs < progressMs) return
        toldTs = Date.now()
        tell({ progress: { appended, skipped, refused: 0 } })
      },
      onRefused: (refused) => tell({ refused }),
      onNote: (note) => tell({ note }),
    },
    signal,
  )
  await send({ done: report })
}

async function refresh(commands: ProjectCommands, id: string, send: Send<RefreshEventMessage>): Promise<void> {
  const tell = (event: RefreshEventMessage): void => void send(event)
  const result = await commands.refresh(id, {
    onRound: (round, rows, loss) => tell({ round: { round, rows, ...(loss !== null && { loss }) } }),
    onTask: (message) => tell({ task: message }),
  })
  await send({ done: taskMessage(result) })
}

function filterOf({ topic, code }: LetterFilter): LetterFilter {
  return { ...(topic !== undefined && { topic }), ...(code !== undefined && { code }) }
}
