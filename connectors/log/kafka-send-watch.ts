/** How long a send may take: kafkajs would try for ever, and does when a topic of its producer is gone. */
import { setTimeout as sleep } from 'node:timers/promises'
import { SidestreamError } from '../../schemas/index.ts'
import type { KafkaView } from './kafka-view.ts'

/** How often a slow send asks whether its topic is still there. */
const topicCheckMs = 2000

export interface SendWatch {
  readonly view: KafkaView
  /** That is sent to, if it is a send. */
  readonly topic?: string | undefined
  /** All that the kafkajs producer knows. */
  readonly known: ReadonlySet<string>
  readonly limitMs: number
}

/** The send's own end, or an error when it takes too long or a topic of its producer is gone. */
export async function watched<T>(sending: Promise<T>, { view, topic, known, limitMs }: SendWatch): Promise<T> {
  const giveUpTs = Date.now() + limitMs
  sending.catch(() => {}) // told here, or given up
  const watch = new AbortController()
  const watching = (async (): Promise<never> => {
    for (;;) {
      await sleep(Math.min(topicCheckMs, Math.max(1, giveUpTs - Date.now())), undefined, { signal: watch.signal })
      if (Date.now() >= giveUpTs)
        throw new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', `${topic === undefined ? '' : `topic ${topic}: `}the brokers do not answer`)
      for (const one of new Set([...(topic === undefined ? [] : [topic]), ...known])) await checkTopic(view, one, topic)
    }
  })()
  watching.catch(() => {})
  try {
    return await Promise.race([sending, watching])
  } finally {
    watch.abort()
  }
}

/** @throws when the topic is gone: for good when it is the one that is sent to, else so that a new producer is tried */
async function checkTopic(view: KafkaView, topic: string, wanted: string | undefined): Promise<void> {
  await view.leaders(topic).catch((error: unknown) => {
    if (!(error instanceof SidestreamError) || error.code !== 'SIDESTREAM_TOPIC_UNKNOWN') return
    if (topic === wanted) throw error
    throw new SidestreamError('SIDESTREAM_LOG_UNAVAILABLE', `a producer still knows the deleted topic ${topic}`, { cause: error })
  })
}
