/**
 * The figures of semantic IDs that a build measures, by name: what `semanticIds.gate` may set thresholds on. Their formulas stand in
 * `docs/reference/semantic-id-report.md`.
 * Invariant: names are only ever added, and are those of the report.
 */

/** Of whole IDs. */
const ofIds = [
  'uniqueRate',
  'uniquelyIdentified',
  'uniquelyIdentifiedOfAll',
  'maxBucket',
  'p99Bucket',
  'gini',
  'entropy',
  'entropyRatioCapacity',
  'entropyRatioAttainable',
  'distortion',
  'meanSquaredError',
  'fvu',
  'meanCosine',
  'collidingVectors',
  'collidingRate',
  'uniqueRateOverDistinct',
] as const

/** Of the codes of one level, behind `level1.`. */
const ofLevels = ['used', 'coverage', 'dead', 'entropy', 'perplexity', 'headShare', 'residualNorm', 'residualEnergy'] as const

/** Of prefixes of one length, behind `prefix1.`. */
const ofPrefixes = ['purity', 'cohesionPairs', 'cohesionMacro', 'hitPrecision', 'hitRecall'] as const

/** Of what changes in a refresh, behind `churn.`; `prefix` and `level` have a number behind them. */
const ofChurn = ['full', 'firstCode', 'meanCommonPrefix', 'prefix', 'level'] as const

/** Names in words. */
export const sidFigureText = `${ofIds.map((figure) => `\`${figure}\``).join(', ')}; \`levelN.\` with ${ofLevels.join(', ')}; \`prefixN.\` with ${ofPrefixes.join(', ')}; \`churn.\` with full, firstCode, meanCommonPrefix, prefixN, levelN`

/** Every name there is for IDs of so many levels. */
export function sidFigures(levels: number): string[] {
  const numbers = Array.from({ length: levels }, (_, level) => level + 1)
  return [
    ...ofIds,
    ...numbers.flatMap((number) => ofLevels.map((figure) => `level${number}.${figure}`)),
    ...numbers.flatMap((number) => ofPrefixes.map((figure) => `prefix${number}.${figure}`)),
    ...ofChurn.flatMap((figure) =>
      figure === 'prefix' || figure === 'level' ? numbers.map((number) => `churn.${figure}${number}`) : [`churn.${figure}`],
    ),
  ]
}
