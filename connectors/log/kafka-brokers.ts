/**
 * The brokers that kafkajs's consumers and producers talk to, with two requests in our hands: produce, whose body is written in one
 * piece, and fetch, whose records are read when they are wanted. All else of them (connections, retries, groups, sequence numbers,
 * errors) is kafkajs's.
 */
import type { Cluster, Kafka } from 'kafkajs'
import type { FetchAnswer, KafkaBroker, KafkaCluster } from './kafka-cluster.ts'
import { readFetchAnswer } from './kafka-fetch-answer.ts'
import { hideAborted } from './kafka-fetched.ts'
import { OldRecord } from './kafka-fetched-records.ts'
import type { FetchedMessage } from './kafka-fetched-records.ts'
import { encodeProduce } from './kafka-produce-request.ts'
import type { ProduceRequest } from './kafka-produce-request.ts'

/** What kafkajs knows of a request: how it is written, and how its answer is read. */
interface Protocol {
  readonly request: { readonly apiVersion: number; readonly encode: () => Promise<unknown> }
  readonly response: { readonly decode: (raw: Buffer) => Promise<FetchAnswer> }
}

type ProtocolOf<R> = (request: R) => Protocol
type LookUpRequest<R> = (apiKey: number, definitions: unknown) => ProtocolOf<R>

/** A broker of kafkajs's, where it looks up how a request is made for the broker's version. */
interface LookingUp extends KafkaBroker {
  readonly lookupRequest: LookUpRequest<unknown>
  produce(request: unknown): Promise<unknown>
}

/** The name under which kafkajs makes the cluster of a producer or consumer; it gives that of a producer to nobody. */
const createCluster = 'private:Kafka:createCluster'

/** Mends the brokers of all clusters that `kafka` will make. */
export function mendBrokers(kafka: Kafka): void {
  const key = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === createCluster)
  const factory = kafka as unknown as Record<symbol, ((options: object) => Cluster) | undefined>
  const create = key === undefined ? undefined : factory[key]
  if (create === undefined) throw new Error('kafkajs is another one than sidestream was made for: install version 2.2')
  factory[key!] = (options) => {
    const cluster = create(options)
    mendCluster(cluster as unknown as KafkaCluster)
    return cluster
  }
}

function mendCluster(cluster: KafkaCluster): void {
  const findBroker = cluster.findBroker.bind(cluster)
  const mended = new WeakSet<KafkaBroker>()
  cluster.findBroker = async (options) => {
    const broker = (await findBroker(options)) as LookingUp
    if (mended.has(broker)) return broker
    mended.add(broker)
    const { fetch, produce } = broker
    const [fetching, producing] = [withProtocol(broker, fetchProtocol), withProtocol<ProduceRequest>(broker, produceProtocol)]
    broker.produce = (request) => produce.call(producing, request)
    broker.fetch = async (request) => {
      const answer = await fetch.call(fetching, request)
      for (const { partitions } of answer.responses) for (const one of partitions) hideAborted(one)
      return answer
    }
    return broker
  }
}

/** The same broker, with another protocol of the one request that it is asked for. */
function withProtocol<R>(broker: LookingUp, change: (protocol: Protocol, request: R) => Protocol): LookingUp {
  const lookupRequest: LookUpRequest<R> = (...key) => {
    const protocolOf: ProtocolOf<R> = broker.lookupRequest(...key)
    return (request) => change(protocolOf(request), request)
  }
  return Object.create(broker, { lookupRequest: { value: lookupRequest } }) as LookingUp
}

function produceProtocol(protocol: Protocol, request: ProduceRequest): Protocol {
  return { ...protocol, request: { ...protocol.request, encode: () => encodeProduce(request, Date.now()) } }
}

function fetchProtocol(protocol: Protocol): Protocol {
  const { request, response } = protocol
  const decode = async (raw: Buffer): Promise<FetchAnswer> =>
    (await readFetchAnswer(request.apiVersion, raw)) ?? withOldRecords(await response.decode(raw))
  return { ...protocol, response: { ...response, decode } }
}

function withOldRecords(answer: FetchAnswer): FetchAnswer {
  for (const { partitions } of answer.responses)
    for (const one of partitions) one.messages = one.messages.map((message) => new OldRecord(message as FetchedMessage))
  return answer
}
