/** What a Kafka client asks: requests in a stream of bytes, by kind. */

/** Kinds of requests, by api key. */
const names: Readonly<Record<number, string>> = {
  0: 'Produce',
  1: 'Fetch',
  2: 'ListOffsets',
  3: 'Metadata',
  8: 'OffsetCommit',
  9: 'OffsetFetch',
  10: 'FindCoordinator',
  11: 'JoinGroup',
  12: 'Heartbeat',
  13: 'LeaveGroup',
  14: 'SyncGroup',
  18: 'ApiVersions',
  19: 'CreateTopics',
  22: 'InitProducerId',
  32: 'DescribeConfigs',
}

export const requestName = (apiKey: number): string => names[apiKey] ?? `request ${apiKey}`

/** Finds the requests of one connection. Each is its length, then its api key. @returns takes the next bytes */
export function requestScanner(onRequest: (name: string) => void): (chunk: Buffer) => void {
  const head = Buffer.alloc(6)
  let read = 0
  let left = 0
  return (chunk) => {
    for (let at = 0; at < chunk.length;) {
      if (left > 0) {
        const step = Math.min(left, chunk.length - at)
        left -= step
        at += step
        continue
      }
      head[read++] = chunk[at++]!
      if (read < head.length) continue
      read = 0
      left = head.readInt32BE(0) - 2
      onRequest(requestName(head.readInt16BE(4)))
    }
  }
}
