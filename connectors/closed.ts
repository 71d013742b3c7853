/** The error of a driver that was used after `close`. */

import { SidestreamError } from '../schemas/index.ts'

/** @param name - what was closed, as a message says it: `the lmdb store` */
export function closedError(name: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_CLOSED', `${name} is closed: open it again`)
}
