/** Settings of a broker for tests: one combined node, small, quick to join, and no topic by accident. */
import { loopback } from './ports.ts'

/** One more way in: a listener beside the plain one. */
export interface BrokerListener {
  readonly name: string
  readonly protocol: 'PLAINTEXT' | 'SASL_PLAINTEXT' | 'SASL_SSL' | 'SSL'
  readonly port: number
  /** Port that clients are told, when they are to come through a proxy. */
  readonly advertisedPort?: number
}

/** Settings of one combined node for tests: small, quick to join, and no topic by accident. */
export function brokerProperties(node: {
  data: string
  clientPort: number
  controllerPort: number
  listeners: readonly BrokerListener[]
}): Record<string, string> {
  const clients: BrokerListener[] = [{ name: 'PLAINTEXT', protocol: 'PLAINTEXT', port: node.clientPort }, ...node.listeners]
  const at = (name: string, port: number): string => `${name}://${loopback}:${port}`
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@${loopback}:${node.controllerPort}`,
    listeners: [...clients.map(({ name, port }) => at(name, port)), at('CONTROLLER', node.controllerPort)].join(','),
    'advertised.listeners': clients.map(({ name, port, advertisedPort }) => at(name, advertisedPort ?? port)).join(','),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': ['CONTROLLER:PLAINTEXT', ...clients.map(({ name, protocol }) => `${name}:${protocol}`)].join(','),
    'log.dirs': node.data,
    'auto.create.topics.enable': 'false',
    'offsets.topic.num.partitions': '1',
    'offsets.topic.replication.factor': '1',
    'transaction.state.log.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.abort.timed.out.transaction.cleanup.interval.ms': '500',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'log.cleaner.dedupe.buffer.size': '8388608',
    'log.cleaner.backoff.ms': '500',
    'log.initial.task.delay.ms': '500',
    'num.network.threads': '2',
    'num.io.threads': '2',
    'background.threads': '2',
    'controlled.shutdown.enable': 'false',
  }
}

/** Java properties, one a line. */
export function propertiesText(properties: Readonly<Record<string, string>>): string {
  return `${Object.entries(properties)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n')}\n`
}
