/** `sidestream dead-letters`: what could not be processed, and trying it again. */

import { Command } from 'commander'
import { errorClasses, SidestreamError, topics } from '../schemas/index.ts'
import type { LetterFilter, ListedLetter } from '../pipeline/index.ts'
import { projectCommand, withCommands } from './options.ts'
import { createOutput, textTable } from './output.ts'

interface Options {
  readonly config: string
  readonly json: boolean
  readonly topic?: string
  readonly code?: string
}

/** Letters that are shown one by one; `--json` gives all. */
const shown = 50

export function deadLettersCommand(): Command {
  const command = new Command('dead-letters').description('Records that could not be processed, with the reason.')
  const own = (name: string, description: string): Command =>
    projectCommand(name, description).option('--topic <name>', 'only of this topic').option('--code <code>', 'only with this error code')
  command.addCommand(
    own('list', 'what could not be processed, oldest first; --json gives the records whole').action(async (options: Options) => {
      const letters = await withCommands(options.config, (commands) => commands.listDeadLetters(filterOf(options)))
      createOutput(options.json).result({ letters: letters.map(plain) }, listText(letters))
    }),
  )
  command.addCommand(
    own('retry', 'append records that were not retried yet to their topics again').action(async (options: Options) => {
      const output = createOutput(options.json)
      const report = await withCommands(options.config, (commands) => commands.retryDeadLetters(filterOf(options)))
      for (const { place, reason } of report.left.slice(0, shown)) output.note(`left ${place}: ${reason}`)
      const left = report.left.length === 0 ? '' : `, ${report.left.length} left as they are`
      output.result(report, `retried ${report.retried} records${left}; what fails again becomes a new dead letter`)
    }),
  )
  return command
}

/** @throws SIDESTREAM_USAGE_INVALID for a topic or code that there is not: it would look as if all were well */
function filterOf({ topic, code }: Options): LetterFilter {
  if (topic !== undefined && !topics.some(({ name }) => name === topic)) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      `there is no topic ${topic}; topics are ${topics.map(({ name }) => name).join(', ')}`,
    )
  }
  if (code !== undefined && !(code in errorClasses)) {
    const poison = Object.entries(errorClasses).flatMap(([name, kind]) => (kind === 'poison' ? [name] : []))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `there is no error code ${code}; dead letters have ${poison.join(', ')}`)
  }
  return { ...(topic !== undefined && { topic }), ...(code !== undefined && { code }) }
}

function listText(letters: readonly ListedLetter[]): string {
  if (letters.length === 0) return 'no dead letters'
  const rows = letters
    .slice(-shown)
    .map(({ place, code, at, retriedAt, reason }) => [place, code, new Date(at).toISOString(), retriedAt === null ? '' : 'retried', reason])
  const newest = letters.length > shown ? `, the newest ${shown} of them` : ''
  return `${letters.length} dead letters${newest}\n\n${textTable(['place', 'code', 'when', '', 'reason'], rows)}`
}

/** A letter as JSON: the key as text, the bytes of value and headers as base64. */
function plain({ key, value, headers, offset, ...letter }: ListedLetter): object {
  return {
    ...letter,
    offset: String(offset),
    key: key === null ? null : new TextDecoder().decode(key),
    value: value === null ? null : Buffer.from(value).toString('base64'),
    headers: headers.map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]),
  }
}
