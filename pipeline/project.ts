/** What every stage of the pipeline is given: the parsed configuration and the opened ports. */

import type { Artifacts, LogDriver, State, Store } from '../connectors/index.ts'
import type { Codec, Config, WriterSchemas } from '../schemas/index.ts'

/** The part of a structured logger that the pipeline uses (pino fits). Fields never hold secrets or vectors. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export const silentLogger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** What reads and appends need of a project: nothing that one process must have alone. */
export type ProjectPorts = Pick<Project, 'config' | 'log' | 'store' | 'codec' | 'logger' | 'clock' | 'close'>

export interface Project {
  readonly config: Config
  readonly log: LogDriver
  readonly store: Store
  readonly artifacts: Artifacts
  /** Own record schemas and those of other writers that were registered. */
  readonly codec: Codec
  /** Schemas of other teams' producers: prepared for a batch before it is decoded. */
  readonly schemas: WriterSchemas
  readonly logger: Logger
  /** Wall clock, milliseconds since epoch: for append and acknowledgment times, never for what decides content. */
  readonly clock: () => number
  /** Opens one worker's state environment by name; the caller closes it. */
  openState(name: string): Promise<State>
  /** Closes everything that was opened here; states must be closed before. */
  close(): Promise<void>
}
