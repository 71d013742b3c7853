/**
 * What new codebooks make of the items of the cut, beside what readers have, and the thresholds of `semanticIds.gate` on it.
 * Invariant: judged are the codes that will be published; a threshold that nothing stands behind passes, and is told.
 */

import { qualityGate, qualityGateReason, qualityReport, throughNetworkInTurns } from '../semantic-ids/index.ts'
import type { Bundle, QualityGateRow, QualityGateRules, QualityRow } from '../semantic-ids/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import type { BundleInput, LiveIds } from './refresh-bundles.ts'

/** Plain JSON. */
export interface BundleQuality {
  /** By the names of the report, which `semanticIds.gate` has too; before and delta: of the live IDs of the same items, null without. */
  readonly figures: Readonly<Record<string, { readonly value: number; readonly before: number | null; readonly delta: number | null }>>
  readonly gate: readonly QualityGateRow[]
}

/**
 * Measures a bundle and asks the gate.
 * @param codes - that it gives the items of the cut, row-major, shape [items, levels]
 * @param live - left out for first codebooks
 * @throws SIDESTREAM_GUARD_REFUSED with figures and gate as details, unless the guard only reports
 */
export async function judgeBundle(
  input: BundleInput,
  bundle: Bundle,
  codes: Uint16Array,
  live: LiveIds | undefined,
): Promise<BundleQuality> {
  const { project, plan } = input
  const { logger, config } = project
  const rows = await measured(input, bundle, codes, live)
  const { rules, notJudged } = usableRules(config.semanticIds.gate, rows, live !== undefined && isSameSpace(bundle, live.bundle))
  const gate = qualityGate(rules, rows)
  for (const { figure, rule, verdict } of gate) if (verdict === 'insufficient') notJudged.push(`${figure}.${rule}`)
  if (notJudged.length > 0)
    logger.warn({ version: plan.version }, `semanticIds.gate: not judged, as nothing stands behind it: ${notJudged.join(', ')}`)
  const figures = Object.fromEntries(
    rows.flatMap(({ figure, value, before, delta }) =>
      value === null || !Number.isFinite(value) ? [] : [[figure, { value, before, delta }]],
    ),
  )
  const failed = gate.filter(({ verdict }) => verdict === 'fail').map(qualityGateReason)
  if (failed.length > 0) {
    const message = `semanticIds.gate refused the semantic IDs of version ${plan.version}: ${failed.join('; ')}`
    if (config.guard.mode === 'enforce')
      throw new SidestreamError('SIDESTREAM_GUARD_REFUSED', `${message}. ${afterRefusal(live)}`, { figures, gate })
    logger.warn({ version: plan.version }, `${message} (guard.mode is report: it goes on)`)
  }
  return { figures, gate }
}

function afterRefusal(live: LiveIds | undefined): string {
  return live === undefined
    ? 'Change the quantizer or the threshold, restart, and ask for a refresh'
    : 'The live version goes on; change the threshold or the churn budget, or declare a re-base (semanticIds.idSpace)'
}

function isSameSpace(bundle: Bundle, live: Bundle): boolean {
  return bundle.origin.idSpace === live.origin.idSpace
}

async function measured(input: BundleInput, bundle: Bundle, codes: Uint16Array, live: LiveIds | undefined): Promise<readonly QualityRow[]> {
  const { project, content, vectors, dim, labels } = input
  const { threads } = project.config.training
  const wanted = Object.keys(project.config.semanticIds.gate)
  const { sizes } = bundle.codebooks
  const comparable = live !== undefined && live.bundle.codebooks.sizes.join() === sizes.join()
  const report = await qualityReport(
    {
      ...{ codes, sizes, ids: content.ids, vectors, dim },
      ...(await quantizerOf(bundle, vectors)),
      ...(wanted.some((figure) => figure.endsWith('.purity')) && { labels: labels() }),
      ...(comparable && {
        before: {
          ...{ codes: live.codes, ids: content.ids, vectors: live.vectors, dim },
          ...(await quantizerOf(live.bundle, live.vectors)),
        },
      }),
    },
    { neighbors: wanted.some((figure) => figure.includes('.hit')) && { threads } },
  )
  return report.figures
}

async function quantizerOf({ codebooks, settings, network }: Bundle, vectors: Float32Array) {
  return { codebooks, settings, ...(network && { network, quantized: await throughNetworkInTurns(network, vectors) }) }
}

/** The thresholds that can be held against these figures, and those that cannot. */
function usableRules(
  gate: QualityGateRules,
  rows: readonly QualityRow[],
  isSame: boolean,
): { readonly rules: QualityGateRules; readonly notJudged: string[] } {
  const byName = new Map(rows.map((row) => [row.figure, row]))
  const rules: Record<string, QualityGateRules[string]> = {}
  const notJudged: string[] = []
  for (const [figure, rule] of Object.entries(gate)) {
    const row = byName.get(figure)
    if (row === undefined || (row.scope === 'churn' && !isSame)) notJudged.push(figure)
    else if (row.before === null && (rule?.maxLoss ?? null) !== null) {
      notJudged.push(`${figure}.maxLoss`)
      rules[figure] = { ...rule, maxLoss: null }
    } else rules[figure] = rule
  }
  return { rules, notJudged }
}
