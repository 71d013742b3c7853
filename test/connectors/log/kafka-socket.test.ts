import { deepStrictEqual, match, strictEqual } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import fc from 'fast-check'

import { openSocket, tlsWanted } from '../../../connectors/log/kafka-socket.ts'

const answer = (text: string): Buffer => {
  const bytes = Buffer.alloc(4 + text.length)
  bytes.writeInt32BE(text.length, 0)
  bytes.write(text, 4)
  return bytes
}

/** A connection to a peer that a test writes with. */
async function connected(t: TestContext | undefined): Promise<{ socket: Socket; peer: Socket; close(): void }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const { port } = server.address() as AddressInfo
  const socket = openSocket({ host: '127.0.0.1', port, ssl: undefined, onConnect: () => {} })
  const [peer] = await accepted
  const close = (): void => {
    socket.destroy()
    peer.destroy()
    server.close()
  }
  t?.after(close)
  return { socket, peer, close }
}

test('answers come whole, in order, however the bytes were cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: 'grapheme-ascii', maxLength: 40 }), { maxLength: 12 }),
      fc.array(fc.nat(9), { maxLength: 60 }),
      async (texts, cuts) => {
        const { socket, peer, close } = await connected(undefined)
        const seen: string[] = []
        socket.on('data', (bytes: Buffer) => {
          strictEqual(bytes.readInt32BE(0), bytes.length - 4)
          seen.push(bytes.toString('utf8', 4))
        })
        const all = Buffer.concat([...texts.map(answer), Buffer.from([0, 0])])
        peer.setNoDelay(true)
        let at = 0
        for (const cut of cuts) {
          peer.write(all.subarray(at, at + cut + 1))
          at += cut + 1
          if (cut === 0) await new Promise(setImmediate)
        }
        peer.end(all.subarray(at))
        await once(socket, 'close')
        close()
        deepStrictEqual(seen, texts)
      },
    ),
    { numRuns: 40 },
  )
})

test('what is no broker, and a listener that throws, end the connection and not the process', async (t) => {
  const other = await connected(t)
  other.socket.on('data', () => {})
  other.peer.write('HTTP/1.1 400 Bad Request\r\n')
  const [error] = (await once(other.socket, 'error')) as [Error]
  match(error.message, /does not come from a Kafka broker/)
  const encrypted = await connected(t)
  encrypted.socket.on('data', () => {})
  encrypted.peer.write(Buffer.from('15030300020250', 'hex')) // how a TLS server answers to what it cannot read
  strictEqual(((await once(encrypted.socket, 'error')) as [{ code?: string }])[0].code, tlsWanted)
  const { socket, peer } = await connected(t)
  socket.on('data', () => {
    throw new RangeError('kafkajs could not read it')
  })
  peer.write(answer('anything'))
  const [thrown] = (await once(socket, 'error')) as [Error]
  strictEqual(thrown.message, 'kafkajs could not read it')
})
