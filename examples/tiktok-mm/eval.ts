/**
 * `npm run eval:tiktok -- --data DIR [--json FILE] [--ablations]`: the tiktok-mm protocol with the reference figures beside ours. Trained arms
 * run with every seed of theirs. Exits with 1 when a figure of the row to reach stays below its reference by more than the tolerance.
 * `--ablations` prints the table of docs/ablations.md instead; FILE then keeps its figures, and a second run goes on from them.
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { commonAblations, fusionAblations, linearOnly, runAblations, type Ablation } from '../ablations.ts'
import { figuresOf, missed, printFigures, type Figures } from '../figures.ts'
import { arms, concatenated, contentBeside } from './arms.ts'
import { columns, evaluatePopularity, evaluateTikTok, loadTikTok, tolerance } from './protocol.ts'
import type { Column, TikTok, TikTokScores } from './protocol.ts'
import { tiktokSetup } from './setup.ts'

const { values } = parseArgs({
  options: { data: { type: 'string' }, json: { type: 'string' }, ablations: { type: 'boolean' }, seeds: { type: 'string' } },
})
const digits = (column: Column): number => (column === 'recall20' ? 4 : 3)

if (values.data === undefined) {
  console.error('usage: npm run eval:tiktok -- --data DIR [--json FILE] [--ablations [--seeds 0,1,2]]')
  process.exitCode = 2
} else {
  const tiktok = await loadTikTok(values.data)
  if (values.ablations) {
    const setup = tiktokSetup(tiktok)
    const oneLinearMap: Ablation = {
      name: 'no GELU branch and no gate: one linear map of both modalities',
      change: () => linearOnly(concatenated(tiktok)),
    }
    await runAblations({
      setup,
      ablations: [
        ...commonAblations({ tau: 0.5, maskHistory: false }),
        ...fusionAblations,
        oneLinearMap,
        contentBeside(0.3),
        contentBeside(0.5),
      ],
      seeds: (values.seeds ?? '0').split(',').map(Number),
      columns,
      digits,
      evaluate: (set) => evaluateTikTok(tiktok, set, 'test'),
      file: values.json,
    })
  } else await evaluate(tiktok, values.json)
}

async function evaluate(tiktok: TikTok, jsonFile: string | undefined): Promise<void> {
  const toReachFigures: Figures<Column>[] = []
  const results: { name: string; seeds: number; figures: Figures<Column> }[] = []
  const popularity = evaluatePopularity(tiktok, 'test')
  printFigures('train pairs alone, for comparison', 1, figuresOf(columns, [popularity], { tolerance }), digits)
  for (const { name, seeds, reference, toReach, vectors } of arms) {
    const runs: TikTokScores[] = []
    for (const seed of seeds) runs.push(await evaluateTikTok(tiktok, await vectors(tiktok, seed), 'test'))
    const figures = figuresOf(columns, runs, { reference, tolerance })
    results.push({ name, seeds: seeds.length, figures })
    if (toReach) toReachFigures.push(figures)
    printFigures(name, seeds.length, figures, digits)
  }
  if (jsonFile !== undefined) await writeFile(jsonFile, `${JSON.stringify({ popularity, arms: results }, null, 2)}\n`)
  if (missed(toReachFigures)) process.exitCode = 1
}
