/** `sidestream doctor`: what is wrong, where, and what to do. */

import type { Command } from 'commander'
import { SidestreamError } from '../schemas/index.ts'
import { diagnose } from '../pipeline/index.ts'
import type { TopicFinding } from '../pipeline/index.ts'
import { projectCommand } from './options.ts'
import { createOutput, exitCodes } from './output.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly createTopics: boolean
  readonly apply: boolean
}

export function doctorCommand(): Command {
  return projectCommand('doctor', 'Check the configuration and everything it names.')
    .option('--create-topics', 'show which topics would be created, with partitions and cleanup policy; with --apply, create them', false)
    .option('--apply', 'really create what --create-topics shows', false)
    .action(async ({ config, json, createTopics, apply }: Options) => {
      if (apply && !createTopics)
        throw new SidestreamError('SIDESTREAM_USAGE_INVALID', '--apply says that --create-topics is meant: give both')
      const output = createOutput(json)
      const request = createTopics ? (apply ? 'create' : 'plan') : 'check'
      const { findings, topics, created } = await diagnose(config, process.env, request, { onWaiting: output.note })
      const failed = findings.filter(({ ok }) => !ok).map(({ check }) => check)
      const lines = findings.map(({ ok, check, message }) => `${ok ? 'ok    ' : 'FAILED'} ${check}: ${message}`)
      const plan =
        createTopics && topics.length > 0
          ? ['', ...topics.map((topic) => topicLine(topic, created)), '', nextStep(topics, created, apply)]
          : []
      const result = { ok: failed.length === 0, findings, ...(createTopics && { topics, created }) }
      output.result(result, [...lines, ...plan].join('\n'))
      if (failed.length > 0) process.exitCode = failed.includes('configuration') ? exitCodes.usage : exitCodes.failed
    })
}

function topicLine({ name, called, partitions, cleanup, state, has, hasCleanup }: TopicFinding, created: readonly string[]): string {
  if (created.includes(name))
    return `  ${called}: created, ${partitions} ${partitions === 1 ? 'partition' : 'partitions'}, cleanup ${cleanup}`
  const what = {
    missing: `missing: ${partitions} ${partitions === 1 ? 'partition' : 'partitions'}, cleanup ${cleanup}`,
    there: `there, ${has} ${has === 1 ? 'partition' : 'partitions'}${hasCleanup === undefined ? '' : `; its cleanup is ${hasCleanup}, made for ${cleanup}`}`,
    differs: `has ${has} partitions instead of ${partitions}: set log.partitions to what is there, or choose another prefix`,
  }
  return `  ${called}: ${what[state]}`
}

function nextStep(topics: readonly TopicFinding[], created: readonly string[], apply: boolean): string {
  const done = created.length === 0 ? '' : `${created.length} ${created.length === 1 ? 'topic was' : 'topics were'} created. `
  if (topics.every(({ state }) => state === 'there')) return `${done}Every topic is there.`
  if (apply) return `${done}What differs is left as it is.`
  return 'Nothing was created. Add --apply to create what is missing.'
}
