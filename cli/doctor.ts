/** `sidestream doctor`: what is wrong, where, and what to do. */

import type { Command } from 'commander'
import { diagnose } from '../pipeline/index.ts'
import { projectCommand } from './options.ts'
import { createOutput, exitCodes } from './output.ts'

interface Options {
  readonly config: string
  readonly json: boolean
}

export function doctorCommand(): Command {
  return projectCommand('doctor', 'Check the configuration and everything it names.').action(async (options: Options) => {
    const findings = await diagnose(options.config, process.env)
    const failed = findings.filter(({ ok }) => !ok).length
    const lines = findings.map(({ ok, check, message }) => `${ok ? 'ok    ' : 'FAILED'} ${check}: ${message}`)
    createOutput(options.json).result({ ok: failed === 0, findings }, lines.join('\n'))
    if (failed > 0) process.exitCode = exitCodes.failed
  })
}
