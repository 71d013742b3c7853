/** A demo report as a run of a few thousand items gives it, drawn from a seed. */
import type { DemoReport, QualityRow } from '../../cli/demo/demo-report.ts'
import { windowFigures } from '../../schemas/index.ts'
import type { WindowFigure } from '../../schemas/index.ts'

type Level = DemoReport['versions'][number]['levels'][number]

/** A realistic report. */
export function exampleReport(): DemoReport {
  const random = generator(7)
  const losses = Array.from({ length: 1240 }, (_, i) => 3.1 + 2.9 * Math.exp(-i / 260) + 0.25 * (random() + random() - 1))
  const row = (name: string, [allRecall10, warmRecall10, coldRecall10, allPop, warmPop, coldPop]: number[]): QualityRow => ({
    name,
    allPop: allPop!,
    allRecall10: allRecall10!,
    warmPop: warmPop!,
    warmRecall10: warmRecall10!,
    coldPop: coldPop!,
    coldRecall10: coldRecall10!,
  })
  const rates = Object.fromEntries(windowFigures.map((name) => [name, name.includes('ecall') ? 0.1 : 0.6])) as Record<WindowFigure, number>
  const figures = { ...rates, events: 6120, warmEvents: 4080, coldEvents: 2040 }
  const from = Date.UTC(2026, 0, 6, 21)
  return {
    title: 'sidestream demo',
    source: 'generated world',
    seed: 1,
    seconds: 71.4,
    counts: { interactions: 120_000, contents: 6240, idEmbeddings: 14_873, samples: 51_204, deadLetters: 0, late: 12 },
    from: Date.UTC(2026, 0, 4, 18),
    until: Date.UTC(2026, 0, 7),
    losses,
    smallSteps: 0,
    rounds: Array.from({ length: 48 }, (_, i) => ({
      round: 490_992 + i,
      rows: Math.round(1060 * (1 - 0.55 * Math.cos((2 * Math.PI * i) / 24)) + 60 * random()),
      loss: i === 0 ? null : losses[Math.floor((i * losses.length) / 48)]!,
    })),
    versions: [1, 2].map((version) => ({
      version,
      reason: version === 1 ? 'bootstrap' : 'refresh',
      items: version === 1 ? 2496 : 5941,
      buildMs: version === 1 ? 812 : 2340,
      fvu: version === 1 ? 0.412 : 0.298,
      uniqueRate: version === 1 ? 0.9712 : 0.9534,
      digest: `${version}f3a`.repeat(16),
      levels: [0.9, 0.6, 0.4].map((skew, level) => codes(64, skew, version === 1 && level === 2 ? 3 : 0, random)),
    })),
    judgement: {
      verdict: 'pass',
      window: { from, until: from + 10_800_000 },
      events: 6120,
      candidates: 6120,
      gate: [],
      reasons: [],
      warnings: ['cold-recall-10: only 412 events, not judged'],
      notMeasured: {},
      metrics: { candidate: figures, live: figures, raw: figures },
      clauses: [
        ['content-neighbor-recall', 'threshold', 0.55, 0.712, null, 0, 5941, 'pass'],
        ['warm-popularity-auc', 'live', 0.5971, 0.6253, 0.005, 0.003, 4080, 'pass'],
        ['warm-recall-10', 'live', 0.1172, 0.1461, 0.007, 0.006, 4080, 'pass'],
        ['cold-popularity-auc', 'raw', 0.5629, 0.5612, 0.006, 0.003, 2040, 'pass'],
        ['cold-recall-10', 'raw', 0.1033, 0.1381, 0.011, 0.006, 412, 'insufficient'],
        ['warm-uniform-auc', 'live', 0.7421, 0.7671, 0.004, null, 4080, 'reported'],
        ['cold-uniform-auc', 'raw', 0.7212, 0.7253, 0.005, null, 2040, 'reported'],
      ].map((clause) => {
        const [name, against, reference, candidate, margin, tolerance, events, verdict] = clause as [
          'warm-recall-10',
          'raw',
          number,
          number,
          number | null,
          number | null,
          number,
          'pass',
        ]
        const difference = candidate - reference
        const [low, high] = margin === null ? [null, null] : [difference - margin, difference + margin]
        return { name, against, reference, candidate, difference, low, high, tolerance, events, verdict }
      }),
    },
    quality: [
      row('raw content', [0.1122, 0.1166, 0.1033, 0.5857, 0.5971, 0.5629]),
      row('version 1', [0.1131, 0.1172, 0.105, 0.5861, 0.5975, 0.5633]),
      row('version 2', [0.1434, 0.1461, 0.1381, 0.6039, 0.6253, 0.5612]),
    ],
    freshness: {
      count: 5204,
      p50Ms: 21.4,
      p99Ms: 168.2,
      maxMs: 402.9,
      // as the daemon's histogram keeps them: 32 to a doubling, only those that hold anything
      bins: Array.from({ length: 220 }, (_, i) => {
        const at = (step: number): number => 2 ** (2 + Math.floor(step / 32)) * (1 + (step % 32) / 32)
        return {
          fromMs: at(i),
          toMs: at(i + 1),
          count: Math.round(2400 * Math.log(at(i + 1) / at(i)) * Math.exp(-(Math.log(at(i) / 21) ** 2) / 1.6)),
        }
      }).filter(({ count }) => count > 0),
    },
    change: {
      items: 2471,
      churn: 0.0874,
      churnFirstCode: 0.0211,
      churnBudget: 0.1,
      meanCosine: 0.931,
      meanPlainCosine: 0.874,
      cosineBins: Array.from({ length: 40 }, (_, i) => ({
        from: -1 + i / 20,
        to: -1 + (i + 1) / 20,
        count: Math.round(600 * Math.exp(-((i - 36) ** 2) / 9)),
      })),
    },
    history: [
      { seq: 1, version: 1, action: 'activate' },
      { seq: 2, version: 2, action: 'activate' },
      { seq: 3, version: 1, action: 'rollback' },
      { seq: 4, version: 2, action: 'activate' },
    ],
    examples: [17, 905, 4410, 5800].map((item, i) => ({
      item: `i${item}`,
      cold: i > 1,
      sid: [12 + i, 40 - i, 7 * i],
      labels: ['football', 'travel', 'cooking', 'music'].slice(i, i + 2),
      neighbors: [0.943, 0.9, 0.8712].map((cosine, n) => ({
        item: `i${item + 31 * (n + 1)}`,
        cosine: cosine - i / 50,
        labels: ['football', 'travel', 'cooking', 'music'].slice(i, i + 1 + (n % 2)),
      })),
    })),
  }
}

function codes(size: number, skew: number, dead: number, random: () => number): Level {
  const counts = Array.from({ length: size }, (_, i) =>
    i >= size - dead ? 0 : Math.round((3000 / size) * (1 + i / 6) ** -skew * (0.8 + 0.4 * random())),
  )
  const total = counts.reduce((sum, count) => sum + count, 0)
  const entropy = counts.reduce((sum, count) => (count === 0 ? sum : sum - (count / total) * Math.log(count / total)), 0)
  return { size, used: size - dead, dead, perplexity: Math.exp(entropy), counts }
}

function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}
