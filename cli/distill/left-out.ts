/** What a report of `distill` says of what taught nothing, or cannot be meant. */

import type { DistillReport } from '../../pipeline/index.ts'

/** Lines about content and times that cannot be meant, though every row of them is valid. */
export function oddText({ withVector, items, zeroVectors, trainedUntil }: DistillReport): string[] {
  return [
    ...Object.entries(withVector).flatMap(([name, count]) =>
      count === 0 ? [`no item has a vector of ${name}: is there a column ${name} in the file of content?`] : [],
    ),
    ...(zeroVectors > 0 ? [`${zeroVectors} content vectors of ${items} items have length 0: they say nothing`] : []),
    ...(trainedUntil < firstPlausibleTs
      ? [`the newest interaction trained on is of ${new Date(trainedUntil).toISOString()}: are times in milliseconds?`]
      : []),
  ]
}

/** Seconds since 1970 that are taken for milliseconds stay below it until the year 5138. */
const firstPlausibleTs = 1e11

const leftOutNames: Readonly<Record<string, string>> = {
  content: 'content without any vector',
  pairs: 'pairs',
  idEmbeddings: 'ID embeddings',
}

/** Lines about rows of the files that were left out. */
export function leftOutText(leftOut: DistillReport['leftOut']): string[] {
  return Object.entries(leftOut).map(
    ([what, { rows, first }]) => `${leftOutNames[what] ?? what}: ${rows} row${rows === 1 ? '' : 's'} left out; the first: ${first}`,
  )
}

/** One line when ID embeddings were left out, and why; none otherwise. */
export function idEmbeddingsText({ rows, late, refused, other }: DistillReport['idEmbeddings']): string[] {
  const left = [
    [late, 'later than what is trained on (their `ts`)'],
    [refused, 'refused (another dimension than their kind, not finite, or of no length)'],
    [other, 'of kinds that `training.teachers` does not name'],
  ] as const
  const told = left.filter(([count]) => count > 0).map(([count, why]) => `${count} ${why}`)
  return told.length === 0 ? [] : [`ID embeddings: of ${rows} rows, ${told.join(', ')}: left out`]
}

/** A line per source of ids that learns from some of its kinds alone: those that it was to have beside them. */
export function silentKindsText({ silentKinds, sources }: DistillReport): string[] {
  return Object.entries(silentKinds)
    .filter(([name]) => (sources[name]?.rows ?? 0) > 0)
    .map(([name, kinds]) => `source ${name}: no ID embedding of ${kinds.join(', ')} teaches an item; it learns from its other kinds alone`)
}

/** Why a stage took no step; null when it took some. */
export function idleStageText({ stages, stopped }: DistillReport, at: number): string | null {
  if (stages[at]!.steps > 0) return null
  const reached = stopped === null ? stages.length : stages.findIndex(({ name }) => name === stopped.stage)
  return at < reached ? 'no step: none of its sources has rows and a share' : 'no step: training was stopped before'
}

/** Of a head that was not refused though no held-out event could be scored: that, and what was held against content all the same. */
export function unjudgedText({ judged }: DistillReport): string | null {
  if (judged === null || judged.judgement.events > 0 || judged.judgement.verdict === 'refused') return null
  const passed = judged.judgement.clauses.filter(({ name, verdict }) => name !== 'finite-vectors' && verdict === 'pass')
  return `not judged: no events${passed.length === 0 ? '' : ` (what needs none passed: ${passed.map(({ name }) => name).join(', ')})`}`
}
