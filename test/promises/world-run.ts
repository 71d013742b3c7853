/** One run of a small world through the daemon, from import to rollback, and what must be equal between runs. */

import { importSources, listDeadLetters, openProject, publishedVersions, startDaemon, versionDigest } from '../../pipeline/index.ts'
import type { Project } from '../../pipeline/index.ts'
import type { PointerChange } from '../../connectors/index.ts'
import type { Config, SourceEvent } from '../../schemas/index.ts'
import { sourceOf } from './small-world.ts'

/** What a run leaves behind, as plain JSON. */
export interface RunOutcome {
  /** Per version: what it was built for, and the digest of everything a reader can see of it. */
  readonly versions: readonly { readonly version: number; readonly reason: string; readonly digest: string }[]
  /** Moves of the live pointer as the store has them, but for its clock. */
  readonly history: readonly Omit<PointerChange, 'at'>[]
  /** The same as feature-versions tells it. */
  readonly published: readonly { readonly seq: number; readonly version: number; readonly action: string }[]
  /** Every training round: rows, and the loss of every step. */
  readonly rounds: readonly {
    readonly round: number
    readonly rows: number
    readonly losses: readonly number[]
    /** What ID embeddings were found for its targets, by kind. */
    readonly teachers: unknown
  }[]
  /** Verdict and figures of every judgment. */
  readonly judged: readonly { readonly checkpoint: string; readonly report: unknown }[]
  /** Imported rows in the log, and moves of the pointer, as they stand there. */
  readonly logged: { readonly rows: number; readonly moves: number }
  readonly late: number
  readonly deadLetters: number
}

export interface RunOptions {
  readonly config: Config
  /** Names the world; an equal name must mean equal events. */
  readonly name: string
  readonly events: readonly SourceEvent[]
  /** Events appended at a time. @default 64 */
  readonly batchRows?: number
  /** Records that the slowest reader may be behind before the import waits. @default 200 */
  readonly mostBehind?: number
  /** Put between the drivers and the daemon. @default nothing */
  readonly wrap?: (project: Project) => Project
}

/** Imports the world, trains and publishes all of it, goes a version back and forward. A second run goes on where one ended. */
export async function runWorld({
  config,
  name,
  events,
  batchRows = 64,
  mostBehind = 200,
  wrap = (it) => it,
}: RunOptions): Promise<RunOutcome> {
  const opened = await openProject(config)
  try {
    const project = wrap(opened)
    const daemon = await startDaemon(project)
    try {
      const behind = async (): Promise<number> => Math.max(...Object.values((await daemon.status()).lag))
      const pace = async (): Promise<void> => {
        while ((await behind()) > mostBehind) await Promise.race([daemon.failed(), new Promise((resolve) => setTimeout(resolve, 2))])
      }
      await Promise.race([daemon.failed(), importSources(project, [sourceOf(name, events, batchRows)], { end: true, pace })])
      await daemon.idle()
      const { version } = await daemon.refresh('last')
      if (version === null) throw new Error('the last refresh gave no version')
      await daemon.versions.rollback('back')
      await daemon.versions.activate(version, 'forward')
      await daemon.idle()
      const { control, lanes } = daemon.owner!
      const versions: RunOutcome['versions'][number][] = []
      for (const { body } of control.all('build')) {
        versions.push({ version: body.version, reason: body.reason, digest: await versionDigest(project, body.version) })
      }
      return {
        versions,
        history: (await project.store.history(config.project, 0)).map(({ at: _at, ...move }) => move),
        published: (await publishedVersions(project)).map(({ seq, version: moved, action }) => ({ seq, version: moved, action })),
        rounds: control.all('trained').map(({ body: { round, rows, losses, teachers } }) => ({ round, rows, losses, teachers })),
        judged: control.all('judged').map(({ body: { checkpoint, report } }) => ({ checkpoint, report })),
        logged: {
          rows: (await countRecords(opened, 'interactions')) + (await countRecords(opened, 'item-content')),
          moves: await countRecords(opened, 'feature-versions'),
        },
        late: lanes.clock.late,
        deadLetters: (await listDeadLetters(project)).length,
      }
    } finally {
      await daemon.stop()
    }
  } finally {
    await opened.close()
  }
}

/** Records of a topic but for marks. */
async function countRecords({ log }: Project, topic: string): Promise<number> {
  let records = 0
  await log.read(topic, (batch) => {
    records += batch.records.filter(({ headers }) => headers.every(([name]) => name !== 'ss-end' && name !== 'ss-done')).length
  })
  return records
}
