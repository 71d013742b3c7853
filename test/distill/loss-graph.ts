/** Builds a loss in float64, runs it on changed inputs, and compares with golden numbers or central differences. */
import { ok, strictEqual } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { fillNormal, gradients, Graph, Session, tensorOf, toModel, type DType, type Tensor, type Value } from '../../compute/index.ts'

export type Nested = number | readonly Nested[]
export type Inputs = Readonly<Record<string, Nested>>

export const golden = JSON.parse(readFileSync(new URL('../golden/losses.json', import.meta.url), 'utf8'))

export function dimsOf(nested: Nested): number[] {
  return Array.isArray(nested) ? [nested.length, ...dimsOf(nested[0]!)] : []
}

export function flat(nested: Nested): number[] {
  return Array.isArray(nested) ? (nested as readonly Nested[]).flatMap(flat) : [nested as number]
}

export function tensorFrom(nested: Nested, dtype: DType = 'float64'): Tensor {
  return tensorOf(dtype, dimsOf(nested), flat(nested).map(Number))
}

/** Standard normal numbers, shape [rows, columns]. */
export function normalRows(rows: number, columns: number, seed: number): number[][] {
  const data = new Float64Array(rows * columns)
  fillNormal(data, seed, 0)
  return Array.from({ length: rows }, (_, i) => Array.from(data.subarray(i * columns, (i + 1) * columns)))
}

export function close(actual: Tensor, expected: Nested, tolerance = 1e-12, what = ''): void {
  const numbers = flat(expected)
  strictEqual(actual.data.length, numbers.length, what)
  for (const [i, number] of numbers.entries()) {
    const error = Math.abs(Number(actual.data[i]) - number)
    ok(error <= tolerance * Math.max(1, Math.abs(number)), `${what} element ${i}: ${String(actual.data[i])}, expected ${number}`)
  }
}

export type LossRun = (changed?: Inputs) => Promise<Record<string, Tensor>>

/**
 * A session over `build`, closed after the test. `inputs` (float64, or bool when named in `masks`) are what is fed unless a run
 * changes them. A run gives the outputs by name and the gradient of `loss` by each float input and parameter as `d/<name>`.
 */
export async function openLoss(
  t: TestContext,
  inputs: Inputs,
  build: (graph: Graph, values: Readonly<Record<string, Value>>) => Readonly<Record<string, Value>>,
  masks: readonly string[] = [],
): Promise<LossRun> {
  const graph = new Graph({ dtype: 'float64' })
  const typeOf = (name: string): DType => (masks.includes(name) ? 'bool' : 'float64')
  const values = Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, graph.input(name, typeOf(name), dimsOf(x))]))
  const outputs = build(graph, values)
  for (const [name, value] of Object.entries(outputs)) graph.output(name, value)
  const real = Object.keys(inputs).filter((name) => !masks.includes(name))
  const wrt = [...real.map((name) => values[name]!), ...Array.from(graph.states.values(), ({ value }) => value)]
  for (const [i, gradient] of gradients(graph, outputs['loss']!, wrt).entries()) graph.output(`d/${wrt[i]!.name}`, gradient)
  const session = await Session.create(toModel(graph), { optimization: 'basic' })
  t.after(() => session.close())
  return (changed = {}) =>
    session.run(Object.fromEntries(Object.entries({ ...inputs, ...changed }).map(([name, x]) => [name, tensorFrom(x, typeOf(name))])))
}

/** Compares the gradients by `names` with central differences of the loss. */
export async function checkDifferences(run: LossRun, inputs: Inputs, names: readonly string[], tolerance = 1e-6): Promise<void> {
  const found = await run()
  for (const name of names) {
    const numbers = flat(inputs[name]!)
    const lossAt = async (at: number, step: number): Promise<number> => {
      const moved = numbers.with(at, numbers[at]! + step)
      return Number((await run({ [name]: shaped(moved, dimsOf(inputs[name]!)) }))['loss']!.data[0])
    }
    const differences = numbers.map(async (_, at) => ((await lossAt(at, 1e-5)) - (await lossAt(at, -1e-5))) / 2e-5)
    close(found[`d/${name}`]!, await Promise.all(differences), tolerance, `gradient of ${name}`)
  }
}

/** Flat numbers in nested rows of `dims`. */
export function shaped(values: readonly number[], dims: readonly number[]): Nested {
  if (dims.length === 0) return values[0]!
  const size = values.length / dims[0]!
  return Array.from({ length: dims[0]! }, (_, i) => shaped(values.slice(i * size, (i + 1) * size), dims.slice(1)))
}

/** Rows of `x` in the order of `places`. */
export function reordered<T>(x: readonly T[], places: readonly number[]): T[] {
  return places.map((at) => x[at]!)
}
