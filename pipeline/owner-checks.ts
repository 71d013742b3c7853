/**
 * Whether log, store and control still belong together, looked at when an owner starts: what was decided must be there still.
 * Invariant: nothing is repaired here; an owner that finds a topic emptied, or another project's store, stops and says so.
 */

import { SidestreamError } from '../schemas/index.ts'
import type { Config } from '../schemas/index.ts'
import type { ControlLog } from './control.ts'
import { pairSources } from './pair-state.ts'
import { positionName } from './positions.ts'
import type { Project } from './project.ts'

export type OwnerTopic = 'item-content' | 'distill-samples' | 'id-embeddings' | 'item-pairs'

/** Topics that make the owner's state. Nobody reads ID embeddings unless some kind of them teaches, nor pairs without a source of them. */
export function ownerTopics(config: Config): OwnerTopic[] {
  const teaches = Object.keys(config.training.teachers).length > 0
  const pairs = pairSources(config).length > 0
  return ['item-content', 'distill-samples', ...(teaches ? (['id-embeddings'] as const) : []), ...(pairs ? (['item-pairs'] as const) : [])]
}

/**
 * What the last cut and the last build were decided on, by position name: the state of an owner that takes over on another machine
 * must hold it before anything else is done.
 * @throws SIDESTREAM_STATE_GAP when the log does not reach as far
 */
export async function decidedPositions(
  { log, config }: Pick<Project, 'log' | 'config'>,
  control: ControlLog,
): Promise<Map<string, bigint>> {
  const positions = new Map<string, bigint>()
  for (const { body } of [...control.all('cut').slice(-1), ...control.all('build').slice(-1)]) {
    for (const { topic, partition, next } of body.positions) {
      const name = positionName(topic, partition)
      const known = positions.get(name) ?? 0n
      positions.set(name, BigInt(next) > known ? BigInt(next) : known)
    }
  }
  const admin = await log.admin()
  for (const topic of ownerTopics(config)) {
    for (const [partition, end] of (await admin.describe(topic)).end.entries()) {
      const name = positionName(topic, partition)
      if ((positions.get(name) ?? 0n) > end) throw emptied(name, positions.get(name)!, end)
    }
  }
  return positions
}

/** @throws SIDESTREAM_STORE_CORRUPT when something is live that no owner of this project has built */
export async function refuseStrangeStore({ store, config }: Pick<Project, 'store' | 'config'>, control: ControlLog): Promise<void> {
  const live = await store.live(config.project)
  if (live === undefined || control.all('build').some(({ body }) => body.version === live.version)) return
  throw unknownToControl(config.project, live.version)
}

/** The error for a version that was live and that control does not know. */
export function unknownToControl(project: string, version: number): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_STORE_CORRUPT',
    `version ${version} of project ${project} was live, but the control log knows no build of it: the topic control was emptied, or another ` +
      'project uses this name with the same store; restore the topic, or choose another project name',
    { project, version },
  )
}

function emptied(name: string, next: bigint, end: bigint): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_STATE_GAP',
    `rounds and versions were made of ${name} up to ${next}, but the topic ends at ${end}: it was emptied or created anew; restore it, or ` +
      'start over with another project name',
    { position: name },
  )
}
