/**
 * The log's contract for groups of several members in one process. Nothing here assumes when or how often a driver assigns:
 * it may disturb lanes that stay where they are, and may settle in several steps.
 */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'

import type { Lane, LogBatch, LogConsumer, LogDriver } from '../../connectors/index.ts'
import { behavior, collect, gate, numbered, record, start, text, until, values } from './log-fixture.ts'
import type { Bench, LogContractDriver } from './log-fixture.ts'

export function groupContract(under: LogContractDriver): void {
  sharing(under)
  handovers(under)
  departures(under)
}

type Handler = (batch: LogBatch, lane: Lane) => Promise<void>

interface Member {
  readonly consumer: LogConsumer
  readonly lanes: Lane[]
  readonly fatal: Error[]
}

/** Members of one group that write to one sink, which owns the positions. Lanes and handlers that overlap are noted. */
class Team {
  /** What went against the contract; empty in the end. */
  readonly problems: string[] = []
  /** Values per partition in the order the sink took them, each once. */
  readonly taken = new Map<string, (string | null)[]>()
  readonly members = new Map<string, Member>()
  readonly #driver: LogDriver
  readonly #group: string
  readonly #positions = new Map<string, bigint>()
  readonly #epochs = new Map<string, number>()
  readonly #assigned = new Map<string, string>()
  readonly #running = new Map<string, string>()

  constructor({ driver, name }: Bench) {
    this.#driver = driver
    this.#group = name('team')
  }

  get group(): string {
    return this.#group
  }

  /** @param before - runs in the handler, before the sink takes the batch */
  async join(name: string, topics: readonly string[], before: Handler = async () => {}, batchRecords = 500): Promise<void> {
    const [lanes, fatal]: [Lane[], Error[]] = [[], []]
    const consumer = await this.#driver.consumer({ group: this.#group, topics, start: 'earliest', batchRecords })
    this.members.set(name, { consumer, lanes, fatal })
    await consumer.run({
      onAssigned: async (lane) => {
        const place = placeOf(lane)
        const other = this.#assigned.get(place)
        if (other !== undefined) this.problems.push(`${place} went to ${name} before it was revoked from ${other}`)
        if (lane.epoch <= (this.#epochs.get(`${name} ${place}`) ?? -1)) this.problems.push(`${name} got ${place} with no newer epoch`)
        this.#epochs.set(`${name} ${place}`, lane.epoch)
        this.#assigned.set(place, name)
        lanes.push(lane)
        return this.#positions.get(place) ?? 0n
      },
      onBatch: async (batch, lane) => {
        const place = placeOf(lane)
        const other = this.#running.get(place)
        if (other !== undefined) this.problems.push(`${name} handles ${place} while ${other} does`)
        this.#running.set(place, name)
        try {
          await before(batch, lane)
          this.#take(place, batch)
          await lane.commit(batch.next)
        } finally {
          this.#running.delete(place)
        }
      },
      onRevoked: async (lane) => {
        if (!lane.signal.aborted) this.problems.push(`${placeOf(lane)} was revoked from ${name} before its signal`)
        this.#assigned.delete(placeOf(lane))
      },
      onFatal: (error) => void fatal.push(error),
    })
  }

  /** Partitions whose lanes a member has now. */
  owned(name: string): string[] {
    const lanes = this.members.get(name)?.lanes ?? []
    return [...new Set(lanes.filter(({ signal }) => !signal.aborted).map(placeOf))].sort()
  }

  /** Waits until each member has as many partitions as said, and all of them together have every one once. */
  async shares(counts: Readonly<Record<string, number>>): Promise<void> {
    const names = Object.keys(counts)
    await until(`shares of ${JSON.stringify(counts)}`, () => {
      const owned = names.map((name) => this.owned(name))
      const all = owned.flat()
      return new Set(all).size === all.length && names.every((name, i) => owned[i]!.length === counts[name])
    })
  }

  lane(name: string, place: string): Lane {
    return this.members.get(name)!.lanes.findLast((lane) => placeOf(lane) === place)!
  }

  async leave(name: string, drainMs = 10_000): Promise<void> {
    await this.members.get(name)!.consumer.stop({ drainMs })
  }

  /** Waits until the sink has the values, in their order, from every partition. */
  async took(expected: Readonly<Record<string, readonly string[]>>): Promise<void> {
    const count = (): number => Object.keys(expected).reduce((sum, place) => sum + (this.taken.get(place)?.length ?? 0), 0)
    const wanted = Object.values(expected).flat().length
    await until(`${wanted} records`, () => count() >= wanted)
    for (const [place, those] of Object.entries(expected)) deepStrictEqual(this.taken.get(place) ?? [], those)
  }

  /** Everybody leaves; nothing may have gone wrong. */
  async end(): Promise<void> {
    for (const name of this.members.keys()) await this.leave(name)
    deepStrictEqual(this.problems, [])
  }

  #take(place: string, batch: LogBatch): void {
    const position = this.#positions.get(place) ?? 0n
    const fresh = batch.records.filter(({ offset }) => offset >= position)
    this.taken.set(place, [...(this.taken.get(place) ?? []), ...values(fresh)])
    if (batch.next > position) this.#positions.set(place, batch.next)
  }
}

const placeOf = ({ topic, partition }: Lane): string => `${topic}/${partition}`

/** Sends `prefix.partition.i` to every partition. @returns what was sent, per partition */
async function sendAll({ send }: Bench, topic: string, partitions: number, prefix: string, count = 5): Promise<Record<string, string[]>> {
  const sent: Record<string, string[]> = {}
  for (let p = 0; p < partitions; p++) {
    await send(topic, p, ...numbered(count, `${prefix}.${p}.`))
    sent[`${topic}/${p}`] = Array.from({ length: count }, (_, i) => `${prefix}.${p}.${i}`)
  }
  return sent
}

function join(...parts: Record<string, string[]>[]): Record<string, string[]> {
  const all: Record<string, string[]> = {}
  for (const part of parts) for (const [place, sent] of Object.entries(part)) all[place] = [...(all[place] ?? []), ...sent]
  return all
}

const aborted = (lane: Lane): Promise<void> =>
  new Promise((resolve) => {
    if (lane.signal.aborted) resolve()
    else lane.signal.addEventListener('abort', () => resolve(), { once: true })
  })

function sharing(under: LogContractDriver): void {
  behavior(under, 'two members share the partitions, and one has them all again when the other leaves', async (bench) => {
    const orders = await bench.topic(4)
    const team = new Team(bench)
    await team.join('ann', [orders])
    await team.shares({ ann: 4 })
    const first = await sendAll(bench, orders, 4, 'one')
    await team.took(first)
    await team.join('bob', [orders])
    await team.shares({ ann: 2, bob: 2 })
    const second = await sendAll(bench, orders, 4, 'two')
    await team.took(join(first, second))
    await team.leave('bob')
    await team.shares({ ann: 4 })
    const third = await sendAll(bench, orders, 4, 'three')
    await team.took(join(first, second, third))
    await team.end()
  })

  behavior(under, 'a third member joins and leaves under load: every record is taken once, in order', async (bench) => {
    const orders = await bench.topic(6)
    const team = new Team(bench)
    const sent: Record<string, string[]>[] = []
    let writing = true
    const writer = (async () => {
      for (let i = 0; writing; i++) sent.push(await sendAll(bench, orders, 6, `${i}`, 3))
    })()
    await team.join('ann', [orders])
    await team.join('bob', [orders])
    await team.shares({ ann: 3, bob: 3 })
    await team.join('cy', [orders])
    await team.shares({ ann: 2, bob: 2, cy: 2 })
    const before = team.taken.get(team.owned('cy')[0]!)?.length ?? 0
    await until('records for the third', () => (team.taken.get(team.owned('cy')[0]!)?.length ?? 0) > before)
    await team.leave('cy')
    await team.shares({ ann: 3, bob: 3 })
    writing = false
    await writer
    await team.took(join(...sent))
    await team.end()
  })

  behavior(under, 'members of one group may want different topics: a topic goes to those that want it', async (bench) => {
    const [orders, items] = [await bench.topic(2, 'orders'), await bench.topic(2, 'items')]
    const team = new Team(bench)
    await team.join('ann', [orders, items])
    await team.shares({ ann: 4 })
    await team.join('bob', [items])
    await until('a share for bob', () => team.owned('bob').length > 0 && team.owned('ann').length + team.owned('bob').length === 4)
    ok(team.owned('bob').every((place) => place.startsWith(`${items}/`)))
    for (const p of [0, 1]) ok(team.owned('ann').includes(`${orders}/${p}`))
    const sent = join(await sendAll(bench, orders, 2, 'o'), await sendAll(bench, items, 2, 'i'))
    await team.took(sent)
    await team.leave('ann')
    await team.shares({ bob: 2 })
    await team.end()
  })

  behavior(under, 'a member without a partition waits its turn', async (bench) => {
    const orders = await bench.topic(1)
    const team = new Team(bench)
    await team.join('ann', [orders])
    await team.shares({ ann: 1 })
    await team.join('bob', [orders])
    const first = await sendAll(bench, orders, 1, 'one')
    await team.took(first)
    const [holder, spare] = team.owned('ann').length === 1 ? ['ann', 'bob'] : ['bob', 'ann']
    deepStrictEqual([...(await team.members.get(spare)!.consumer.lag()).keys()], [])
    await team.leave(holder)
    await team.shares({ [spare]: 1 })
    await team.took(join(first, await sendAll(bench, orders, 1, 'two')))
    await team.end()
  })

  behavior(under, 'a pattern of several members takes topics that come later', async (bench) => {
    const family = bench.name('family')
    const admin = await bench.driver.admin()
    await admin.createTopics([{ name: `${family}.a`, partitions: 2 }])
    const seen = new Set<string>()
    const consumers: LogConsumer[] = []
    for (let i = 0; i < 2; i++) {
      const onBatch = async ({ topic, partition }: LogBatch): Promise<void> => void seen.add(`${topic}/${partition}`)
      consumers.push(await start(bench.driver, { group: `${family}-g`, topics: [new RegExp(`^${family}\\.`)] }, { onBatch }))
    }
    await admin.createTopics([{ name: `${family}.b`, partitions: 2 }])
    await sendAll(bench, `${family}.a`, 2, 'a')
    await sendAll(bench, `${family}.b`, 2, 'b')
    await until('all four partitions', () => seen.size === 4)
    for (const consumer of consumers) await consumer.stop({ drainMs: 1000 })
  })
}

function handovers(under: LogContractDriver): void {
  behavior(under, 'a lane that goes to another member hears it by its signal; its batch comes again there', async (bench) => {
    const orders = await bench.topic(2)
    const team = new Team(bench)
    const sent = await sendAll(bench, orders, 2, 'v')
    let waiting = 0
    await team.join('ann', [orders], async (_batch, lane) => {
      if (team.members.has('bob')) return
      waiting++
      await aborted(lane)
      throw new Error('given up')
    })
    await until('both handlers', () => waiting === 2)
    await team.join('bob', [orders])
    await until('a lane of ann to end', () => team.owned('ann').length < 2)
    await team.leave('ann', 0) // what it still holds on to
    await team.shares({ bob: 2 })
    await team.took(sent)
    await team.end()
  })

  behavior(under, 'the next lane of a partition waits for a handler that does not listen to its signal', async (bench) => {
    const [orders, other] = [await bench.topic(2), await bench.topic(1, 'other')]
    const team = new Team(bench)
    const sent = await sendAll(bench, orders, 2, 'v')
    const release = gate()
    const held: Lane[] = []
    await team.join('ann', [orders], async (_batch, lane) => {
      held.push(lane)
      await release.opened
    })
    await until('both handlers', () => held.length >= 2)
    const joined = team.join('bob', [orders])
    await until('a lane of ann to end', () => held.some(({ signal }) => signal.aborted))
    await bench.send(other, 0, record('k', 'v'))
    await collect(bench.driver, { group: bench.name('g'), topics: [other] }, 1) // time in which bob could go wrong
    const lost = held.filter(({ signal }) => signal.aborted).map(placeOf)
    for (const place of lost) ok(!team.owned('bob').includes(place), `${place} already has a lane`)
    release.open()
    await joined
    await team.took(sent)
    await team.end()
  })

  behavior(under, 'a commit of a partition that went to another member is lost; of one that stayed it is stored', async (bench) => {
    const orders = await bench.topic(2)
    const team = new Team(bench)
    const sent = await sendAll(bench, orders, 2, 'v', 9)
    await team.join('ann', [orders])
    await team.took(sent)
    const old = team.members.get('ann')!.lanes.slice()
    await team.join('bob', [orders])
    await team.shares({ ann: 1, bob: 1 })
    const [moved] = team.owned('bob')
    strictEqual(await team.lane('bob', moved!).commit(7n), 'ok')
    for (const lane of old.filter((one) => placeOf(one) === moved)) strictEqual(await lane.commit(3n), 'lost')
    const [stayed] = team.owned('ann')
    strictEqual(await team.lane('ann', stayed!).commit(5n), 'ok')
    const committed = await (await bench.driver.admin()).committed(team.group, orders)
    deepStrictEqual([committed[Number(moved!.at(-1))], committed[Number(stayed!.at(-1))]], [7n, 5n])
    await team.end()
  })

  behavior(under, 'a pause ends with its lane: a partition that changes hands flows', async (bench) => {
    const orders = await bench.topic(2)
    const team = new Team(bench)
    await team.join('ann', [orders])
    await team.shares({ ann: 2 })
    for (const lane of team.members.get('ann')!.lanes) lane.pause()
    await team.join('bob', [orders])
    await team.shares({ ann: 1, bob: 1 })
    const [moved] = team.owned('bob')
    const sent = await sendAll(bench, orders, 2, 'v')
    await until('the moved partition', () => team.taken.get(moved!)?.length === 5)
    team.lane('bob', moved!).pause()
    await team.leave('bob')
    await team.shares({ ann: 2 })
    for (const place of team.owned('ann')) if (place !== moved) team.lane('ann', place).resume()
    const more = await sendAll(bench, orders, 2, 'w')
    await team.took(join(sent, more))
    await team.end()
  })
}

function departures(under: LogContractDriver): void {
  behavior(under, 'a member that stops hands over after its handler has ended, at the position it has committed', async (bench) => {
    const orders = await bench.topic(2)
    const group = bench.name('g')
    for (const p of [0, 1]) await bench.send(orders, p, ...numbered(6, `${p}.`))
    const [entered, release] = [gate(), gate()]
    const firsts = new Map<string, bigint>()
    const reached = new Map<number, bigint>()
    let [busy, overlap] = [false, false]
    const options = { group, topics: [orders], batchRecords: 3 }
    const leaving = await start(bench.driver, options, {
      onBatch: async (batch) => {
        if (batch.partition === 0) {
          busy = true
          entered.open()
          await release.opened
          busy = false
        }
        reached.set(batch.partition, batch.next)
      },
    })
    await entered.opened
    const staying = start(bench.driver, options, {
      onBatch: async (batch) => {
        if (batch.partition === 0) {
          if (busy) overlap = true
          if (!firsts.has('0')) firsts.set('0', batch.first)
        }
        reached.set(batch.partition, batch.next)
      },
    })
    const stopped = leaving.stop({ drainMs: 20_000 })
    release.open()
    await stopped
    await until('both ends', () => reached.get(0) === 6n && reached.get(1) === 6n)
    strictEqual(overlap, false)
    ok(firsts.get('0') === 3n || firsts.get('0') === 0n) // 0: the driver had aborted the handler for the new member first
    await (await staying).stop({ drainMs: 1000 })
    deepStrictEqual(await (await bench.driver.admin()).committed(group, orders), [6n, 6n])
  })

  behavior(under, 'a member that fails for good leaves its partitions to the others', async (bench) => {
    const orders = await bench.topic(2)
    const team = new Team(bench)
    await team.join('ann', [orders])
    await team.join('bob', [orders], async ({ records }) => {
      if (records.some(({ value }) => text(value)?.startsWith('bad'))) throw new TypeError('bob cannot')
    })
    await team.shares({ ann: 1, bob: 1 })
    const [place] = team.owned('bob')
    const sent = await sendAll(bench, orders, 2, 'bad')
    await until('the failure', () => team.members.get('bob')!.fatal.length > 0)
    await team.shares({ ann: 2 })
    await team.took(sent)
    strictEqual(team.members.get('bob')!.fatal.length, 1)
    strictEqual(await team.lane('bob', place!).commit(1n), 'lost')
    await team.end()
  })

  behavior(under, 'members that join and leave at once neither lose nor overlap', async (bench) => {
    const orders = await bench.topic(3)
    const team = new Team(bench)
    const sent = await sendAll(bench, orders, 3, 'v', 40)
    await Promise.all(['ann', 'bob', 'cy'].map((name) => team.join(name, [orders], undefined, 7)))
    await Promise.all([team.leave('bob'), team.join('dora', [orders], undefined, 7), team.leave('ann')])
    await team.took(sent)
    await until('all three partitions', () => new Set([...team.owned('cy'), ...team.owned('dora')]).size === 3)
    await team.end()
  })
}
