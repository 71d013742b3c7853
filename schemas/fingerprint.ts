/**
 * Single-object framing of Avro records: marker C3 01, then the CRC-64-AVRO fingerprint of the writer schema's canonical form,
 * little-endian, then the body. Invariant: the fingerprint is the one every other Avro implementation computes, so their
 * writers and ours can share a topic.
 */

/** Fingerprint of the empty text, and polynomial of the CRC (Avro specification, "Schema Fingerprints"). */
const empty = 0xc15d213aa4d7a795n

/** Bytes before the body: marker and fingerprint. */
export const frameBytes = 10

let tableOfCrc: BigUint64Array | undefined

function crcTable(): BigUint64Array {
  if (tableOfCrc === undefined) {
    tableOfCrc = new BigUint64Array(256)
    for (let i = 0; i < 256; i++) {
      let crc = BigInt(i)
      for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 0n ? crc >> 1n : (crc >> 1n) ^ empty
      tableOfCrc[i] = crc
    }
  }
  return tableOfCrc
}

/**
 * CRC-64-AVRO of a schema in Parsing Canonical Form.
 * @param canonical - the canonical JSON text, for a primitive with its quotes: `"int"`
 */
export function crc64Avro(canonical: string): bigint {
  const table = crcTable()
  let crc = empty
  for (const byte of Buffer.from(canonical, 'utf8')) crc = (crc >> 8n) ^ table[Number((crc ^ BigInt(byte)) & 0xffn)]!
  return crc
}

/** A fingerprint as 16 hexadecimal digits, most significant first, as schema tools print it. */
export function fingerprintHex(fingerprint: bigint): string {
  return fingerprint.toString(16).padStart(16, '0')
}

/** Writes marker and fingerprint into the first ten bytes of `out`. */
export function writeFrame(out: Buffer, fingerprint: bigint): void {
  out[0] = 0xc3
  out[1] = 0x01
  out.writeBigUInt64LE(fingerprint, 2)
}

/** True when the bytes start with the single-object marker and are long enough to hold a fingerprint. */
export function isFramed(bytes: Uint8Array): boolean {
  return bytes.length >= frameBytes && bytes[0] === 0xc3 && bytes[1] === 0x01
}
