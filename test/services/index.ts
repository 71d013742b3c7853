/**
 * Real servers for tests: one shared Kafka and Redis, brokers and Redis servers of your own, and a proxy for faults.
 * @module
 */
export { ownRegistry, skipWithoutRegistry } from './apicurio.ts'
export type { OwnRegistry } from './apicurio.ts'
export { certificate } from './certificates.ts'
export type { Certificate } from './certificates.ts'
export { FaultProxy, faultProxy } from './fault-proxy.ts'
export { brokerOf, ownBroker, securedBroker, skipWithoutBroker } from './kafka-broker.ts'
export type { Broker, BrokerOptions, SecuredBroker } from './kafka-broker.ts'
export { kafkaToolsDirectory, runKafkaTool } from './kafka-files.ts'
export { isMissing } from './missing.ts'
export type { Missing } from './missing.ts'
export { freePorts, loopback, until } from './ports.ts'
export { ownRedis, skipWithoutRedisServer } from './redis.ts'
export type { OwnRedis, RedisOptions } from './redis.ts'
export type { OwnServer } from './server.ts'
export {
  kafkaService,
  keepServices,
  keptService,
  redisService,
  service,
  serviceEnvironment,
  serviceNames,
  stopKeptServices,
} from './shared.ts'
export type { ServiceName } from './shared.ts'
