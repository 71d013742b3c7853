/**
 * A project as its daemon uses it: what log and store cannot do now is waited for, so that no stage has to.
 * Invariant: every call that is given again does no harm when it was done before: rows and records are absolute, moves of the
 * pointer have ids, and what is appended twice is told apart by key or sequence.
 */

import type { Artifacts, LogAdmin, LogDriver, LogProducer, Store } from '../connectors/index.ts'
import type { Patience } from './patience.ts'
import type { Project } from './project.ts'
import type { Stalls } from './stalls.ts'

export function patientProject(project: Project, patience: Patience, stalls: Stalls): Project {
  return {
    ...project,
    log: patientLog(project.log, patience, stalls),
    store: patientStore(project.store, patience),
    artifacts: patientArtifacts(project.artifacts, patience),
  }
}

/** Consumers wait by themselves; what reads a topic whole does so before work starts, and fails then. */
function patientLog(log: LogDriver, patience: Patience, stalls: Stalls): LogDriver {
  return {
    name: log.name,
    caps: log.caps,
    consumer: async (options) => stalls.watched(await log.consumer(options), options.group),
    producer: async (options) => {
      const producer = await patience.through(() => log.producer(options))
      return options?.transactionalId === undefined ? patientProducer(producer, patience) : producer // what failed is begun anew as a whole
    },
    admin: async () => patientAdmin(await log.admin(), patience),
    read: (topic, onBatch, options) => log.read(topic, onBatch, options),
    close: () => log.close(),
  }
}

function patientProducer(producer: LogProducer, patience: Patience): LogProducer {
  return {
    send: (topic, partition, records) => patience.through(() => producer.send(topic, partition, records)),
    flush: () => producer.flush(),
    close: () => producer.close(),
  }
}

function patientAdmin(admin: LogAdmin, patience: Patience): LogAdmin {
  return {
    createTopics: (topics) => patience.through(() => admin.createTopics(topics)),
    planTopics: (topics) => patience.through(() => admin.planTopics(topics)),
    describe: (topic) => patience.through(() => admin.describe(topic)),
    list: () => patience.through(() => admin.list()),
    committed: (group, topic) => patience.through(() => admin.committed(group, topic)),
    deleteTopic: (topic) => patience.through(() => admin.deleteTopic(topic)),
  }
}

function patientStore(store: Store, patience: Patience): Store {
  return {
    name: store.name,
    write: (target, entries) => patience.through(() => store.write(target, entries)),
    read: (target, ids) => patience.through(() => store.read(target, ids)),
    scan: (target) => store.scan(target),
    live: (project) => patience.through(() => store.live(project)),
    swap: (request) => patience.through(() => store.swap(request)),
    history: (project, afterSeq) => patience.through(() => store.history(project, afterSeq)),
    putVersion: (project, version, record) => patience.through(() => store.putVersion(project, version, record)),
    getVersion: (project, version) => patience.through(() => store.getVersion(project, version)),
    listVersions: (project) => patience.through(() => store.listVersions(project)),
    pin: (project, version, holder, ttlMs) => patience.through(() => store.pin(project, version, holder, ttlMs)),
    unpin: (project, version, holder) => patience.through(() => store.unpin(project, version, holder)),
    pins: (project, version) => patience.through(() => store.pins(project, version)),
    collect: (project, version) => patience.through(() => store.collect(project, version)),
    usage: (project, version) => patience.through(() => store.usage(project, version)),
    now: () => patience.through(() => store.now()),
    close: () => store.close(),
  }
}

function patientArtifacts(artifacts: Artifacts, patience: Patience): Artifacts {
  return {
    write: (name, parts, about) => patience.through(() => artifacts.write(name, parts, about)),
    read: (name) => patience.through(() => artifacts.read(name)),
    list: (prefix) => patience.through(() => artifacts.list(prefix)),
    remove: (name) => patience.through(() => artifacts.remove(name)),
  }
}
