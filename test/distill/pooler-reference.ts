/** The transformer pooler written plainly: loops over numbers in float64, one history at a time. */
import type { PoolerSpec } from '../../distill/index.ts'

/** Numbers of every parameter, row-major. */
export type PoolerNumbers = ReadonlyMap<string, readonly number[]>

/** The pooled vector of one history, oldest item first, padding already left out. */
export function plainPool(history: readonly (readonly number[])[], spec: PoolerSpec, numbers: PoolerNumbers): number[] {
  const { dims, width, layers, heads } = spec
  if (history.length === 0) return Array.from({ length: dims }, () => 0)
  const of = (name: string): readonly number[] => numbers.get(`pooler.${name}`)!
  const tokens = history.map((item, i) => {
    const age = history.length - 1 - i
    return plus(product(item, of('in')), of('age').slice(age * width, (age + 1) * width))
  })
  let state = [[...of('summary')], ...tokens]
  for (let layer = 0; layer < layers; layer++) {
    const by = (name: string): readonly number[] => of(`${layer}.${name}`)
    const normed = state.map(standardized)
    const [queries, keys, values] = ['query', 'key', 'value'].map((name) => normed.map((row) => product(row, by(name))))
    state = state.map((row, t) => {
      const seen: number[] = []
      for (let head = 0; head < heads; head++) {
        const part = (x: readonly number[]): number[] => x.slice((head * width) / heads, ((head + 1) * width) / heads)
        const powers = keys!.map((key) => Math.exp(dot(part(queries![t]!), part(key)) / Math.sqrt(width / heads)))
        const total = powers.reduce((a, b) => a + b, 0)
        seen.push(...part(values![0]!).map((_, j) => powers.reduce((sum, power, k) => sum + (power / total) * part(values![k]!)[j]!, 0)))
      }
      const attended = plus(row, product(seen, by('merge')))
      const raised = plus(product(standardized(attended), by('up')), by('up.b')).map((x) => x * normalDistribution(x))
      return plus(attended, plus(product(raised, by('down')), by('down.b')))
    })
  }
  const length = Math.sqrt(dot(state[0]!, state[0]!))
  const correction = product(
    state[0]!.map((x) => x / length),
    of('out'),
  )
  return plus(
    correction,
    correction.map((_, j) => history.reduce((sum, item) => sum + item[j]! / history.length, 0)),
  )
}

function plus(a: readonly number[], b: readonly number[]): number[] {
  return a.map((x, i) => x + b[i]!)
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0)
}

/** x · w, w row-major [x.length, …]. */
function product(x: readonly number[], w: readonly number[]): number[] {
  const columns = w.length / x.length
  return Array.from({ length: columns }, (_, j) => x.reduce((sum, value, i) => sum + value * w[i * columns + j]!, 0))
}

function standardized(row: readonly number[]): number[] {
  const mean = row.reduce((a, b) => a + b, 0) / row.length
  const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length
  return row.map((x) => (x - mean) / Math.sqrt(variance + 2 ** -17))
}

/** 1 + erf(x / √2) over 2 by its series around 0; exact enough for |x| < 6. */
function normalDistribution(x: number): number {
  let [term, total] = [x, x]
  for (let k = 1; k < 60; k++) total += term *= (x * x) / (2 * k + 1)
  return 0.5 + (total * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)
}
