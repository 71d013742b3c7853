/** Schema-registry framing (Confluent wire format): byte 0, the id of the writer's schema as big-endian int32, the Avro body. */

/** Bytes before the body. */
export const registryFrameBytes = 5

/** True for bytes that start as this framing does. Single-object framing starts with C3. */
export function isRegistryFramed(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && bytes.length >= registryFrameBytes
}

/** The id of the writer's schema. Registries give ids from 1 on; anything else is rubbish. */
export function schemaIdOf(bytes: Uint8Array): number {
  return (bytes[1]! << 24) | (bytes[2]! << 16) | (bytes[3]! << 8) | bytes[4]!
}
