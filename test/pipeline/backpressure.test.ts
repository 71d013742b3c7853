/** A trainer that is slower than its input: what arrives waits on disk and in the log, never in memory. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { LogConsumer, LogHandlers, State } from '../../connectors/index.ts'
import { InputFeed } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import type { SourceEvent } from '../../schemas/index.ts'
import { clickOf, clicks, hourMs, itemIds, latenessMs, onDisk, startTs, TestProject, tombstoneOf, wantedItems } from './fixture.ts'

const known = itemIds(wantedItems)
/** Most records that a lane is given at once. */
const batchRecords = 4096
const rounds = 9
const perRound = 1000

/** A gate that what is slow waits at. */
class Gate {
  readonly reached: Promise<void>
  #reach!: () => void
  #open!: () => void
  readonly #opened: Promise<void>

  constructor() {
    this.reached = new Promise((resolve) => (this.#reach = resolve))
    this.#opened = new Promise((resolve) => (this.#open = resolve))
  }

  pass(): Promise<void> {
    this.#reach()
    return this.#opened
  }

  open(): void {
    this.#open()
  }
}

/** What the owner has in its hands. */
class Watched {
  /** Samples that a lane was given and has not put on disk, now and at most. */
  inHand = 0
  mostInHand = 0
  samples = 0
  /** Kept rows that were read since the last checkpoint, and the most for one. */
  #read = 0
  mostRead = 0
  checkpoint: Gate | undefined
  commit: Gate | undefined

  readonly wrap = (project: Project): Project => ({
    ...project,
    log: replaced(project.log, {
      consumer: async (options) => {
        const consumer = await project.log.consumer(options)
        return options.topics.includes('distill-samples') ? this.#consumer(consumer) : consumer
      },
    }),
    artifacts: replaced(project.artifacts, {
      write: async (name, parts, about) => {
        if (name.startsWith('heads/round-')) {
          this.mostRead = Math.max(this.mostRead, this.#read)
          this.#read = 0
          await this.checkpoint?.pass()
        }
        return project.artifacts.write(name, parts, about)
      },
    }),
    openState: async (name) => (name === 'owner' ? this.#state(await project.openState(name)) : project.openState(name)),
  })

  #consumer(consumer: LogConsumer): LogConsumer {
    const run = (handlers: LogHandlers): Promise<void> =>
      consumer.run({
        ...handlers,
        onBatch: async (batch, lane) => {
          const count = batch.topic === 'distill-samples' ? batch.records.length : 0
          this.inHand += count
          this.mostInHand = Math.max(this.mostInHand, this.inHand)
          await handlers.onBatch(batch, lane)
          this.inHand -= count
          this.samples += count
        },
      })
    return replaced(consumer, { run })
  }

  #state(state: State): State {
    const read = (): void => void this.#read++
    return replaced(state, {
      commit: async (change) => {
        await this.commit?.pass()
        return state.commit(change)
      },
      *range(start, end) {
        for (const entry of state.range(start, end)) {
          if (entry[0].startsWith('r\u0000')) read()
          yield entry
        }
      },
    })
  }
}

/** The object with some methods replaced; the others keep their `this`. */
function replaced<T extends object>(real: T, methods: Partial<T>): T {
  return new Proxy(real, {
    get: (target, key) => {
      const value: unknown = key in methods ? methods[key as keyof T] : Reflect.get(target, key, target)
      return typeof value === 'function' && !(key in methods) ? value.bind(target) : value
    },
  })
}

async function open(t: TestContext): Promise<{ readonly it: TestProject; readonly watched: Watched }> {
  const watched = new Watched()
  const changes = { ...onDisk, training: { batch: 512, replayShare: 1 } }
  return { it: await TestProject.open(t, { changes, wrap: watched.wrap }), watched }
}

/** Appends without waiting for anything to be done with it. */
async function append(it: TestProject, events: readonly SourceEvent[]): Promise<void> {
  const feed = await InputFeed.open(it.project)
  await feed.append(events)
  await feed.close()
}

const hour = (h: number): SourceEvent[] => clicks(perRound, startTs + h * hourMs, known)
const pacer = (h: number): SourceEvent[] => {
  const at = startTs + h * hourMs + latenessMs
  return [tombstoneOf('pacer', at), clickOf('pacer', 'pacer', at, ['view'])]
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20))
}

test('while a round trains for ever, what arrives is put on disk in bounded pieces; then the rounds are read one by one', async (t) => {
  const { it, watched } = await open(t)
  await it.bootstrap()
  const gate = (watched.checkpoint = new Gate())
  await append(it, [...hour(1), ...pacer(2)])
  await gate.reached
  await append(it, [...Array.from({ length: rounds - 1 }, (_, h) => hour(h + 2)).flat(), ...pacer(rounds + 1)])
  // The trainer stands still, and nothing that came since waits for it in the log or in memory.
  await until(() => watched.samples >= rounds * perRound)
  await until(async () => [...(await it.daemon.owner!.lanes.lag()).values()].every((behind) => behind === 0n))
  strictEqual(watched.inHand, 0)
  ok(watched.mostInHand <= batchRecords, `${watched.mostInHand} samples in hand`)
  strictEqual(await it.live(), 1)
  strictEqual(it.control.all('trained').length, 1)

  watched.checkpoint = undefined
  gate.open()
  await it.daemon.idle()
  const trained = it.control.all('trained').map(({ body }) => body)
  deepStrictEqual(
    trained.map(({ round }) => round - startTs / hourMs),
    Array.from({ length: rounds }, (_, h) => h + 1),
  )
  for (const { rows, replayed } of trained.slice(1))
    ok(rows - replayed === perRound && replayed <= perRound, `${rows}, ${replayed} of them replayed`)
  ok(watched.mostRead >= 2 * perRound && watched.mostRead <= 2 * perRound + 2 * rounds, `${watched.mostRead} rows read for a round`)
})

test('a disk that takes nothing more stops the reading: the rest waits in the log', async (t) => {
  const { it, watched } = await open(t)
  await it.bootstrap()
  const before = watched.samples
  const gate = (watched.commit = new Gate())
  await append(it, Array.from({ length: rounds }, (_, h) => hour(h + 1)).flat())
  await gate.reached
  // Ingest has nothing more to do, and the owner stays with the batches that it has.
  const behind = async (): Promise<bigint> => {
    const lag = await it.daemon.owner!.lanes.lag()
    return lag.get('distill-samples/0') ?? 0n
  }
  await until(async () => (await it.daemon.status()).ingest!.samples >= rounds * perRound)
  await until(async () => (await behind()) >= BigInt(rounds * perRound - batchRecords))
  strictEqual(watched.samples, before)
  ok(watched.inHand > 0 && watched.mostInHand <= batchRecords, `${watched.mostInHand} samples in hand`)
  watched.commit = undefined
  gate.open()
  await it.daemon.idle()
  ok(watched.samples - before >= rounds * perRound)
  strictEqual(await behind(), 0n)
})
