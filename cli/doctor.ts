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
    const failed = findings.filter(({ ok }) => !ok).map(({ check }) => check)
    const lines = findings.map(({ ok, check, message }) => `${ok ? 'ok    ' : 'FAILED'} ${check}: ${message}`)
    createOutput(options.json).result({ ok: failed.length === 0, findings }, lines.join('\n'))
    if (failed.length > 0) process.exitCode = failed.includes('configuration') ? exitCodes.usage : exitCodes.failed
  })
}
