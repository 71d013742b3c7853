/**
 * The report of `distill` as one HTML file: what was trained on, how it went, and what came of it.
 * Invariant: the page is a function of the report; a part without data says so in a sentence and draws nothing.
 */

import { formatNumber, htmlPage } from '../../replay/index.ts'
import type { Block, Figure, Section } from '../../replay/index.ts'
import type { DistillReport } from '../../pipeline/index.ts'
import { countText, guardText, percentText, timeText } from '../demo/report-text.ts'
import { guardSection } from '../guard-section.ts'
import { idEmbeddingsText, leftOutText, oddText, silentKindsText, unjudgedText } from './left-out.ts'
import { gateSection, mapSection, paretoSection } from './page-judgement.ts'
import { balanceSection, lossSection, miningSection, temperatureSection } from './page-training.ts'

/** HTML of a report: one file that loads nothing and runs nothing. */
export async function distillPage(report: DistillReport): Promise<string> {
  const sections = await Promise.all([
    shortSection(report),
    rowSection(report),
    lossSection(report),
    balanceSection(report),
    miningSection(report),
    temperatureSection(report),
    gateSection(report),
    guardSection(report.judged?.judgement ?? null),
    paretoSection(report),
    mapSection(report),
  ])
  const { head, trainer, seed, trainedUntil } = report
  const modalities = head.modalities.map(({ name, dim }) => `${name} ${dim}`).join(', ')
  return htmlPage({
    title: 'A head, distilled',
    summary: `${countText(report.interactions, 'interaction')} with ${countText(report.items, 'item')} taught a head of ${head.dims} dims in ${countText(report.steps, 'step')} of ${countText(report.stages.length, 'stage')}.`,
    sections,
    footer: `Modalities: ${modalities}. Batch ${trainer.batchSize}, history ${trainer.historyLength}, seed ${seed}. Trained until ${timeText(trainedUntil)}. Times are UTC.`,
  })
}

function shortSection(report: DistillReport): Section {
  const { judged, stages, heldOut, verdict, stopped } = report
  const figures: Figure[] = []
  const ours = judged?.judgement.metrics.candidate
  const raw = judged?.judgement.metrics.raw
  const against = (value: number | null | undefined): string => `raw content: ${percentText(value ?? null)}`
  if (ours) {
    figures.push(
      { label: 'recall@10, all items', value: percentText(ours.recall10), note: against(raw?.recall10) },
      { label: 'recall@10, cold items', value: percentText(ours.coldRecall10), note: against(raw?.coldRecall10) },
      { label: 'popularity AUC, all items', value: percentText(ours.pop), note: `${against(raw?.pop)}; guessing: 50\u00a0%` },
    )
  }
  const taken = stages.filter(({ steps }) => steps > 0).at(-1)
  const losses = taken?.losses ?? []
  if (losses.length > 0) {
    const [first, last] = [losses[0]!, losses.at(-1)!]
    figures.push({
      label: `loss, ${taken!.name}`,
      value: formatNumber(last, 3),
      note: `last pass; ${formatNumber(first, 3)} in the first`,
    })
  }
  const blocks: Block[] = figures.length > 0 ? [{ kind: 'figures', figures }] : []
  if (stopped !== null) {
    blocks.unshift({
      kind: 'note',
      tone: 'neutral',
      text: `Stopped after ${stopped.done} of ${countText(stopped.of, 'step')}, in stage ${stopped.stage}: this is the head of that moment. The same command with --resume goes on.`,
    })
  }
  if (judged === null) {
    blocks.push({
      kind: 'note',
      tone: 'neutral',
      text: 'Not judged: nothing was held out. --hold-out 0.1 keeps the newest tenth for that.',
    })
  } else {
    const { judgement } = judged
    const unjudged = unjudgedText(report)
    blocks.push({
      kind: 'note',
      tone: unjudged !== null ? 'neutral' : judgement.verdict === 'pass' ? 'good' : 'bad',
      text: unjudged === null ? guardText(judgement) : `This head was ${unjudged}.`,
    })
    if (verdict === 'reported')
      blocks.push({ kind: 'text', text: 'The guard only reports (guard.mode), so the head was written all the same.' })
    if (judgement.reasons.length > 0) blocks.push({ kind: 'list', items: judgement.reasons })
  }
  if (heldOut !== null) {
    blocks.push({
      kind: 'text',
      text: `Held out, and never trained on: the newest ${percentText(heldOut.share)} of the interactions, from ${timeText(heldOut.from)} to ${timeText(heldOut.until)}, ${countText(heldOut.samples, 'sample')}.`,
    })
  }
  blocks.push({
    kind: 'text',
    text: report.warmStart ? 'It began from a head that was given.' : 'It began from the principal axes of the content.',
  })
  return { title: 'In short', blocks }
}

function rowSection(report: DistillReport): Section {
  const { sources, sets, idEmbeddings, leftOut } = report
  const blocks: Block[] = [
    {
      kind: 'table',
      caption: 'Rows of each source',
      columns: ['source', 'kind', 'rows', 'without what they need', 'held out', 'steps', 'mean loss'],
      decimals: [null, null, 0, 0, 0, 0, 4],
      rows: Object.entries(sources).map(([name, { kind, rows, unknown, heldOut }]) => {
        const own = report.stages.flatMap((stage) => stage.sources[name] ?? [])
        const steps = own.reduce((sum, one) => sum + one.steps, 0)
        return [
          name,
          kind,
          rows,
          unknown,
          heldOut,
          steps,
          steps === 0 ? null : own.reduce((sum, one) => sum + one.steps * one.loss, 0) / steps,
        ]
      }),
    },
    {
      kind: 'text',
      text: 'Without what they need: items without content; in a source of ids, items that no ID embedding teaches.',
    },
  ]
  const dry = Object.entries(sources).filter(([, { rows }]) => rows === 0)
  if (dry.length > 0)
    blocks.push({ kind: 'note', tone: 'bad', text: `Passed over for want of rows: ${dry.map(([name]) => name).join(', ')}.` })
  const filtered = Object.entries(sets)
  if (filtered.length > 1 || filtered.some(([name]) => name !== 'plain')) {
    blocks.push({
      kind: 'table',
      caption: 'Histories of each sample set',
      columns: ['set', 'histories', 'rows', 'too short', 'items', 'kept'],
      rows: filtered.map(([name, { histories, rows, short, items, kept }]) => [name, histories, rows, short, items, kept]),
    })
  }
  const teachers = Object.entries(sources).flatMap(([name, own]) =>
    Object.entries(own.teachers ?? {}).map(([kind, counts]) => ({ name, kind, ...counts })),
  )
  if (teachers.length > 0) {
    blocks.push({
      kind: 'table',
      caption: `ID embeddings of items (${countText(idEmbeddings.rows, 'row')} read; ${idEmbeddings.refused} refused, ${idEmbeddings.late} later than what is trained on, ${idEmbeddings.other} of kinds that do not teach)`,
      columns: ['source', 'kind', 'present', 'missing', 'stale', 'refused'],
      rows: teachers.map(({ name, kind, present, missing, stale, refused }) => [name, kind, present, missing, stale, refused]),
    })
  }
  const odd = [
    ...Object.entries(report.unusedPairs).map(
      ([name, pairs]) => `${countText(pairs, 'pair')} of ${name}: training.sources has no source of pairs with that name`,
    ),
    ...silentKindsText(report),
    ...(teachers.length > 0 ? [] : idEmbeddingsText(idEmbeddings)),
    ...leftOutText(leftOut),
    ...oddText(report),
    ...(report.duplicates > 0 ? [`${countText(report.duplicates, 'sample')} that were there already`] : []),
  ]
  if (odd.length > 0) blocks.push({ kind: 'list', items: odd })
  return { title: 'What was trained on', blocks }
}
