/** `--wait`: patience with the owner of a project. */

import type { Command } from 'commander'
import { askDefaults } from '../pipeline/index.ts'
import { wholeNumber } from './options.ts'

export interface WaitOption {
  /** Seconds. */
  readonly wait: number
}

/** For commands that the owner of a project does, wherever it runs. */
export function waitOption(command: Command): Command {
  const meaning = 'how long to wait for an owner to take the command (Kafka); one that stands by needs log.kafka.sessionTimeoutMs and more'
  return command.option('--wait <seconds>', meaning, wholeNumber('--wait', 1), askDefaults.deadlineMs / 1000)
}
