/** `sidestream schemas`: our record schemas in the schema registry, for readers of other teams. */

import { Command } from 'commander'
import { checkSchemas, registerSchemas } from '../pipeline/index.ts'
import { SidestreamError, topics } from '../schemas/index.ts'
import type { SubjectFinding, TopicName } from '../schemas/index.ts'
import { once, projectCommand, readConfig } from './options.ts'
import { createOutput, exitCodes, textTable } from './output.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly subjectPrefix?: string
  readonly topic?: TopicName[]
  readonly apply?: boolean
}

export function schemasCommand(): Command {
  const command = new Command('schemas').description('Our record schemas in the schema registry.')
  const own = (name: string, description: string): Command =>
    projectCommand(name, description)
      .option(
        '--subject-prefix <text>',
        'put before `<topic>-value` (default: what the topics are called in the log)',
        once('--subject-prefix'),
      )
      .option('--topic <name...>', 'only of these topics', topicName)
  command.addCommand(
    own('check', 'what the registry has of them, and whether it would take the rest').action(async (options: Options) => {
      const findings = await checkSchemas(await readConfig(options.config), subjectOptions(options))
      report(options, findings, `${count(findings, 'registered')} of ${findings.length} are registered`)
      if (count(findings, 'incompatible') > 0) process.exitCode = exitCodes.refused
    }),
  )
  command.addCommand(
    own('register', 'register what is missing and compatible; shows what it would do unless --apply is given')
      .option('--apply', 'do it', false)
      .action(async (options: Options) => {
        const config = await readConfig(options.config)
        if (options.apply === true) {
          const findings = await registerSchemas(config, subjectOptions(options))
          report(options, findings, `${count(findings, 'registered')} of ${findings.length} are registered`)
          return
        }
        const findings = await checkSchemas(config, subjectOptions(options))
        const refused = count(findings, 'incompatible')
        const open = count(findings, 'new') + count(findings, 'compatible')
        const would =
          refused > 0 ? `nothing would be registered: ${refused} are not compatible` : `would register ${open}; do it with --apply`
        report(options, findings, open + refused === 0 ? 'all are registered' : would)
        if (refused > 0) process.exitCode = exitCodes.refused
      }),
  )
  return command
}

function topicName(text: string, before: TopicName[] = []): TopicName[] {
  const known = topics.map(({ name }) => name)
  const found = known.find((name) => name === text)
  if (found === undefined)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `no topic ${JSON.stringify(text)}; there are ${known.join(', ')}`)
  return [...before, found]
}

function subjectOptions({ subjectPrefix, topic }: Options): { prefix: string | undefined; topics: TopicName[] | undefined } {
  return { prefix: subjectPrefix, topics: topic }
}

function count(findings: readonly SubjectFinding[], wanted: SubjectFinding['state']): number {
  return findings.filter(({ state }) => state === wanted).length
}

function report({ json }: Options, findings: readonly SubjectFinding[], summary: string): void {
  const rows = findings.map(({ subject, record, state, id, version, reasons }) => [
    subject,
    record,
    state,
    id === null ? '-' : String(id),
    version === null ? '-' : String(version),
    reasons.join('; ').slice(0, 200),
  ])
  const table = textTable(['subject', 'record', 'state', 'id', 'version', ''], rows)
  createOutput(json).result({ subjects: findings }, `${table}\n\n${summary}`)
}
