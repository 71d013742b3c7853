/** The proxy for faults: bytes pass in order and unchanged, or not at all. */
import { deepStrictEqual, fail, rejects, strictEqual } from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'

import { faultProxy, loopback } from './index.ts'
import type { FaultProxy } from './index.ts'

/** A server that sends back what it gets, behind a proxy. */
async function echo(t: { after: (end: () => Promise<void>) => void }): Promise<FaultProxy> {
  const server = createServer((socket) => void socket.on('error', () => {}).pipe(socket)).listen(0, loopback)
  await once(server, 'listening')
  const proxy = await faultProxy({ host: loopback, port: (server.address() as AddressInfo).port })
  t.after(async () => {
    await proxy.close()
    server.close()
  })
  return proxy
}

async function client(proxy: FaultProxy): Promise<Socket> {
  const socket = connect(proxy.port, loopback)
  await once(socket, 'connect')
  socket.on('error', () => {}) // a cut, also that at the end of a test
  return socket
}

/** Reads until `bytes` bytes have come. */
async function read(socket: Socket, bytes: number): Promise<string> {
  let text = ''
  while (text.length < bytes) text += String((await once(socket, 'data'))[0])
  return text
}

test('bytes pass both ways, in order, also when they are late', async (t) => {
  const proxy = await echo(t)
  const socket = await client(proxy)
  proxy.delay(30)
  for (let i = 0; i < 10; i++) {
    socket.write(String(i))
    await new Promise(setImmediate)
  }
  proxy.delay(0)
  socket.write('abc')
  strictEqual(await read(socket, 13), '0123456789abc')
  socket.end()
  await once(socket, 'close')
})

test('a cut resets open connections and lets new ones in', async (t) => {
  const proxy = await echo(t)
  const socket = await client(proxy)
  socket.write('a')
  strictEqual(await read(socket, 1), 'a')
  strictEqual(proxy.connections, 1)
  const failed = once(socket, 'error')
  proxy.cut()
  deepStrictEqual(
    (await failed).map((error: NodeJS.ErrnoException) => error.code),
    ['ECONNRESET'],
  )
  const again = await client(proxy)
  again.write('b')
  strictEqual(await read(again, 1), 'b')
})

test('a refusing proxy answers nobody until it is healed', async (t) => {
  const proxy = await echo(t)
  proxy.refuse()
  const exchange = async (): Promise<string> => {
    const refused = await client(proxy)
    refused.write('a')
    return read(refused, 1)
  }
  await rejects(exchange(), (error: NodeJS.ErrnoException) => error.code === 'ECONNRESET' || error.code === 'EPIPE')
  proxy.heal()
  const again = await client(proxy)
  again.write('b')
  strictEqual(await read(again, 1), 'b')
})

test('a black hole keeps connections open and silent; what was sent arrives after it is healed', async (t) => {
  const proxy = await echo(t)
  const socket = await client(proxy)
  socket.write('a')
  strictEqual(await read(socket, 1), 'a')
  proxy.blackHole()
  let heard = ''
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString()))
  socket.write('b')
  const late = await client(proxy)
  late.write('c')
  const other = await echo(t) // a whole exchange elsewhere, so that there was time to answer
  const witness = await client(other)
  witness.write('d')
  await read(witness, 1)
  strictEqual(heard, '')
  proxy.heal()
  strictEqual(await read(late, 1), 'c')
  if (heard === '') await once(socket, 'data')
  strictEqual(heard, 'b')
})

/** As a Kafka client begins a request: length, api key, and some. */
function request(apiKey: number): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeInt32BE(8)
  bytes.writeInt16BE(apiKey, 4)
  return bytes
}

test('one request is lost, or its answer, and the connection with it; others pass', async (t) => {
  for (const what of ['request', 'answer'] as const) {
    const arrived: Buffer[] = []
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (bytes) => {
        arrived.push(bytes)
        socket.write(bytes)
      })
    }).listen(0, loopback)
    await once(server, 'listening')
    const proxy = await faultProxy({ host: loopback, port: (server.address() as AddressInfo).port })
    t.after(async () => {
      await proxy.close()
      server.close()
    })
    const [first, second] = [await client(proxy), await client(proxy)]
    const lost = proxy.lose(what, 26)
    first.write(request(0))
    strictEqual((await read(first, 12)).length, 12)
    const failed = new Promise((closed) => first.once('close', closed))
    first.on('data', () => fail('an answer came through'))
    first.write(request(26))
    await Promise.all([lost, failed])
    deepStrictEqual(
      arrived.map((bytes) => bytes.readInt16BE(4)),
      what === 'request' ? [0] : [0, 26],
    )
    second.write(request(26))
    strictEqual((await read(second, 12)).length, 12)
  }
})

test('requests are told by their kind, however their bytes are cut', async (t) => {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, loopback)
  await once(server, 'listening')
  const proxy = await faultProxy({ host: loopback, port: (server.address() as AddressInfo).port })
  t.after(async () => {
    await proxy.close()
    server.close()
  })
  const told: string[] = []
  proxy.watchRequests((name) => told.push(name))
  const socket = await client(proxy)
  const bytes = Buffer.concat([request(3), request(1), request(77), request(2)])
  for (const part of [bytes.subarray(0, 5), bytes.subarray(5, 29), bytes.subarray(29)]) {
    socket.write(part)
    await read(socket, part.length)
  }
  deepStrictEqual(told, ['Metadata', 'Fetch', 'request 77', 'ListOffsets'])
})
