/** The head and its training loss again, in plain float64 loops: slow and obvious, to compare the graphs with. */
import { contentColumns, headLayout, halfWhiten, type Batch, type ContentVectors, type Head } from '../../distill/index.ts'

type Row = number[]

/** Parameters by name as plain numbers, so that a finite difference can move one. */
export type Numbers = Map<string, Float64Array>

export function numbersOf(head: Head): Numbers {
  return new Map([...head.parameters].map(([name, { data }]) => [name, Float64Array.from(data)]))
}

function unit(row: Row): Row {
  const length = Math.hypot(...row)
  return length < 1e-12 ? row.map(() => 0) : row.map((x) => x / length)
}

function times(row: Row, matrix: Float64Array, columns: number): Row {
  const out = new Array<number>(columns).fill(0)
  row.forEach((x, i) => out.forEach((_, j) => (out[j]! += x * matrix[i * columns + j]!)))
  return out
}

/** Abramowitz-free: the series of erf, exact to float64 for the small arguments of a test. */
function erf(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2))

/** Distilled part of one item. */
export function referenceDistilled({ spec }: Head, numbers: Numbers, whitened: readonly (Row | undefined)[]): Row {
  const { modalities, dims, hidden } = spec
  const projections = whitened.map((x, m) => {
    if (x === undefined) return new Array<number>(dims).fill(0)
    const { name } = modalities[m]!
    const linear = times(x, numbers.get(`${name}.P`)!, dims)
    const branch = times(times(x, numbers.get(`${name}.U`)!, hidden).map(gelu), numbers.get(`${name}.V`)!, dims)
    return linear.map((y, i) => y + 0.1 * branch[i]!)
  })
  if (projections.length === 1) return unit(projections[0]!)
  const all = projections.flat()
  const logits = times(all, numbers.get('fusion.W')!, all.length).map((x, i) => x + numbers.get('fusion.b')![i]!)
  const present = whitened.flatMap((x, m) => (x === undefined ? [] : [m]))
  return unit(
    Array.from({ length: dims }, (_, i) => {
      const powers = present.map((m) => Math.exp(logits[m * dims + i]!))
      const total = powers.reduce((a, b) => a + b, 0)
      return present.reduce((sum, m, k) => sum + (powers[k]! / total) * projections[m]![i]!, 0)
    }),
  )
}

export function whitenedOf({ spec, statistics }: Head, item: ContentVectors): (Row | undefined)[] {
  return spec.modalities.map(({ name }, m) => {
    const vector = item[name]
    return vector && [...halfWhiten(statistics[m]!, vector)]
  })
}

/** Published vector of one item for the k-th prefix. */
export function referencePublished(head: Head, item: ContentVectors, k = head.spec.prefixes.length - 1): Row {
  const { spec } = head
  const whitened = whitenedOf(head, item)
  const blocks = headLayout(spec).blocks.slice(0, k + 1)
  const d = unit(referenceDistilled(head, numbersOf(head), whitened).slice(0, blocks.at(-1)!.distilled[1]))
  const columns = contentColumns(spec).slice(0, blocks.at(-1)!.content[1])
  const c = unit(columns.map(({ modality, component }) => whitened[modality]?.[component] ?? 0))
  const zero = (row: Row): boolean => row.every((x) => x === 0)
  const [wd, wc] = [zero(c) ? 1 : Math.sqrt(1 - spec.contentShare), zero(d) ? 1 : Math.sqrt(spec.contentShare)]
  return blocks.flatMap(({ distilled, content }) => [
    ...d.slice(...distilled).map((x) => x * wd),
    ...c.slice(...content).map((x) => x * wc),
  ])
}

/** Loss of a batch at a fixed temperature. */
export function referenceLoss(head: Head, numbers: Numbers, batch: Batch, tau: number): number {
  const { modalities, prefixes } = head.spec
  const items = Array.from({ length: batch.items }, (_, u) => {
    const item = Object.fromEntries(
      modalities.flatMap(({ name, dim }, m) =>
        batch.presence[u * modalities.length + m] ? [[name, batch.vectors[m]!.subarray(u * dim, (u + 1) * dim)] as const] : [],
      ),
    )
    return referenceDistilled(head, numbers, whitenedOf(head, item))
  })
  const dot = (a: Row, b: Row): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
  let loss = 0
  for (const prefix of prefixes) {
    const views = items.map((item) => unit(item.slice(0, prefix)))
    const queries = Array.from({ length: batch.rows }, (_, i) => {
      const shares = batch.pool.subarray(i * batch.items, (i + 1) * batch.items)
      return unit(views[0]!.map((_x, k) => views.reduce((sum, row, u) => sum + shares[u]! * row[k]!, 0)))
    })
    const targets = Array.from(batch.targets, (at) => views[Number(at)]!)
    queries.forEach((query, i) => {
      const logits = targets.flatMap((target, j) => (batch.allowed[i * batch.rows + j] ? [dot(query, target) / tau] : []))
      loss += (Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0)) - dot(query, targets[i]!) / tau) / batch.rows
    })
  }
  return loss
}
