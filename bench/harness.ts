/**
 * Runs one hot path beside its peer and prints one JSON line with both rates and their ratio.
 * Invariant: equal answers first, then interleaved rounds, medians only; a ratio below 1 is printed like any other.
 */
import { deepStrictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'

export interface Comparison<T> {
  /** Says what is measured, with sizes, e.g. `encode d64 3x64`. */
  readonly name: string
  /** Units of work done by one call of `sidestream` (and of `peer`, unless `peerCount` says otherwise). */
  readonly count: number
  /** What is counted, plural: `vectors`, `records`, `bytes`. */
  readonly unit: string
  readonly sidestream: () => T | Promise<T>
  /** The same work by something else. Left out: only the rate is printed. */
  readonly peer?: () => T | Promise<T>
  /** Says what the peer is. */
  readonly peerName?: string
  /** @default count */
  readonly peerCount?: number
  /** Compares the two answers; not called when either is undefined. @default deepStrictEqual */
  readonly equal?: (sidestream: T, peer: T) => void
  /** Timed rounds of each, after one round to warm up. @default 5 */
  readonly rounds?: number
  /** Further figures for the printed line, read after the last round. */
  readonly extra?: (rate: number, peerRate: number | undefined) => Record<string, unknown>
}

export interface ComparisonResult {
  /** Units per second, median of the rounds. */
  readonly rate: number
  readonly peerRate: number | undefined
  /** sidestream / peer; above 1 means faster than the peer. */
  readonly ratio: number | undefined
}

/** Checks that both sides answer alike, times them in turns and prints the line. */
export async function compare<T>(comparison: Comparison<T>): Promise<ComparisonResult> {
  const { name, count, unit, sidestream, peer, peerName, peerCount = count, equal = deepStrictEqual, rounds = 5, extra } = comparison
  const ours = await sidestream()
  const theirs = await peer?.()
  if (ours !== undefined && theirs !== undefined) equal(ours, theirs)
  const seconds: number[] = []
  const peerSeconds: number[] = []
  for (let round = 0; round < rounds; round++) {
    seconds.push(await timed(sidestream))
    if (peer !== undefined) peerSeconds.push(await timed(peer))
  }
  const rate = count / median(seconds)
  const peerRate = peer === undefined ? undefined : peerCount / median(peerSeconds)
  const ratio = peerRate === undefined ? undefined : rate / peerRate
  const line: Record<string, unknown> = { bench: name, [`${unit}/s`]: figure(rate) }
  if (peerRate !== undefined) line[`peer ${unit}/s`] = figure(peerRate)
  if (peerName !== undefined) line['peer'] = peerName
  if (ratio !== undefined) line['ratio'] = figure(ratio)
  process.stdout.write(`${JSON.stringify({ ...line, ...extra?.(rate, peerRate), rounds, node: process.version })}\n`)
  return { rate, peerRate, ratio }
}

/**
 * Watches how much of the machine other processes use: a figure taken beside them says little about the code. Processes that this
 * one started and that have ended are its own (Linux).
 * @returns ends it and gives their share of all cores, 0 to 1
 */
export function watchOthers(): () => number {
  const before = { machine: machineMs(), own: process.cpuUsage(), children: childrenMs() }
  return () => {
    const after = machineMs()
    const { user, system } = process.cpuUsage(before.own)
    const busy = after.busy - before.machine.busy - (user + system) / 1000 - (childrenMs() - before.children)
    return figure(Math.max(0, busy / (after.all - before.machine.all)))
  }
}

/** Processor time of the children that were waited for, in steps of 10 ms. */
function childrenMs(): number {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[13]) + Number(fields[14])) * 10
  } catch {
    return 0
  }
}

function machineMs(): { busy: number; all: number } {
  let [busy, all] = [0, 0]
  for (const { times } of cpus()) {
    const sum = times.user + times.nice + times.sys + times.irq + times.idle
    busy += sum - times.idle
    all += sum
  }
  return { busy, all }
}

/** Middle value; the mean of the two middle ones when the count is even. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

async function timed(run: () => unknown): Promise<number> {
  const start = performance.now()
  await run()
  return (performance.now() - start) / 1000
}

/** Three significant digits below 1000, whole numbers above. */
export function figure(value: number): number {
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(3))
}
