/** Mean, spread and verdict of an evaluation's figures. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { figuresOf, missed, printFigures } from '../../examples/figures.ts'

const columns = ['recall', 'auc'] as const
const runs = [
  { recall: 0.1, auc: 0.6 },
  { recall: 0.3, auc: 0.6 },
]
const tolerance = (column: (typeof columns)[number]): number => (column === 'recall' ? 0.05 : 0.01)

test('a mean passes down to its reference less the tolerance, and misses below that', () => {
  const within = figuresOf(columns, runs, { reference: [0.24, 0.5], tolerance })
  strictEqual(within.recall.mean, 0.2)
  ok(Math.abs(within.recall.sd - Math.SQRT2 / 10) < 1e-12)
  strictEqual(within.recall.ok, true)
  strictEqual(missed([within]), false)
  const below = figuresOf(columns, runs, { reference: [0.24, 0.62], tolerance })
  strictEqual(below.auc.ok, false)
  strictEqual(missed([within, below]), true)
})

test('without a reference there is no verdict, of one run no spread, and neither is printed', (t) => {
  const lines: string[] = []
  t.mock.method(console, 'log', (line: string) => lines.push(line))
  const figures = figuresOf(columns, runs.slice(0, 1), { tolerance })
  deepStrictEqual(figures.auc, { mean: 0.6, sd: 0, reference: null, ok: null })
  strictEqual(missed([figures]), false)
  printFigures('an arm', 1, figures, () => 2)
  strictEqual(lines.length, 3)
  printFigures('an arm', 2, figuresOf(columns, runs, { reference: [0.24, 0.62], tolerance }), () => 2)
  deepStrictEqual(
    lines.slice(3).map((line) => line.trim().split(/\s+/).slice(0, 3)),
    [
      ['an', 'arm', '(2'],
      ['recall', 'auc'],
      ['ours', '0.20', '0.60'],
      ['verdict', 'PASS', 'MISS'],
      ['reference', '0.24', '0.62'],
      ['sd', '0.141', '0.000'],
    ],
  )
})
