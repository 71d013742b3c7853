/** The `.proto` files of gRPC services. */

import { fileURLToPath } from 'node:url'

/** Path of a service's file, for whatever loads it. */
export function protoFile(name: 'control'): string {
  return fileURLToPath(new URL(`./proto/${name}.proto`, import.meta.url))
}
