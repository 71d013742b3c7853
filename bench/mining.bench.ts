/**
 * lambda* of a source at N = 2,048 pairs: 2,048 positive and 4,192,256 negative scores. Two lines: both lists sorted by radix, and
 * the sharded form (histograms, then only the bins that may hold the threshold). Peer of both: `Float32Array.sort` of both
 * lists and one walk.
 * Options: `--pairs N` (2,048), `--rounds N` (5).
 */
import { parseArgs } from 'node:util'
import { fillNormal } from '../compute/index.ts'
import { countScores, emptyHistogram, lambdaStar, lambdaStarInBins, openBins, scoresInBins } from '../distill/index.ts'
import { compare } from './harness.ts'

const { values } = parseArgs({ options: { pairs: { type: 'string', default: '2048' }, rounds: { type: 'string', default: '5' } } })
const pairs = Number(values.pairs)

/** Scores around `mean`; those of a real source are as dense around their threshold. */
function scores(count: number, stream: number, mean: number, sd: number): Float32Array {
  const out = new Float32Array(count)
  fillNormal(out, 1, stream)
  return out.map((value) => mean + sd * value)
}

const positives = scores(pairs, 1, 0.55, 0.15)
const negatives = scores(pairs * (pairs - 1), 2, 0.1, 0.13)

interface Answer {
  readonly lambda: number
  readonly f1: number
}

function sharded(): Answer {
  const histogram = emptyHistogram()
  countScores(histogram.positives, positives)
  countScores(histogram.negatives, negatives)
  const open = openBins(histogram)
  const { lambda, f1 } = lambdaStarInBins(histogram, open, scoresInBins(open, positives), scoresInBins(open, negatives))
  return { lambda, f1 }
}

function sorted(): Answer {
  const { lambda, f1 } = lambdaStar(positives, negatives)
  return { lambda, f1 }
}

function plainSort(): Answer {
  const n = positives.length
  const ours = positives.slice().sort()
  const others = negatives.slice().sort()
  let best = { lambda: Infinity, f1: 0 }
  let o = others.length - 1
  for (let i = n - 1; i >= 0;) {
    const lambda = ours[i]!
    while (i >= 0 && ours[i] === lambda) i--
    while (o >= 0 && others[o]! >= lambda) o--
    const truePositives = n - 1 - i
    const f1 = (2 * truePositives) / (n + truePositives + others.length - 1 - o)
    if (f1 > best.f1) best = { lambda, f1 }
  }
  return best
}

for (const [name, run] of [
  ['radix sort', sorted],
  ['histogram and open bins', sharded],
] as const) {
  await compare<Answer>({
    name: `lambda* N ${pairs}, ${name}`,
    count: positives.length + negatives.length,
    unit: 'scores',
    sidestream: run,
    peer: plainSort,
    peerName: 'Float32Array.sort of both and one walk',
    rounds: Number(values.rounds),
  })
}
