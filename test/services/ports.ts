/** Free ports of the loopback interface, and waiting for a condition of a server. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** Everything listens here and nowhere else. */
export const loopback = '127.0.0.1'

/** Below the ports that systems give to outgoing connections, so that a stopped server finds its port free again. */
const firstPort = 20_000
const portCount = 12_000

/** Ports that nobody listens on now, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = firstPort + randomInt(portCount)
    if (!ports.includes(port) && (await isFree(port))) ports.push(port)
  }
  return ports
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, loopback)
  try {
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/**
 * Polls until `condition` answers true; a throw means not yet.
 * @param hopeless - true ends the waiting early
 * @throws Error naming `what`, with the last failure as cause, after `deadlineMs`
 */
export async function until(
  what: string,
  condition: () => Promise<boolean>,
  deadlineMs: number,
  hopeless: () => boolean = () => false,
): Promise<void> {
  const deadline = Date.now() + deadlineMs
  let cause: unknown
  for (;;) {
    try {
      if (await condition()) return
    } catch (error) {
      cause = error
    }
    if (hopeless() || Date.now() > deadline) throw new Error(`${what}: not within ${deadlineMs} ms`, { cause })
    await pause(25)
  }
}

/** True when something accepts connections there. */
export async function answers(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
