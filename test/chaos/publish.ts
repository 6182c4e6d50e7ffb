/**
 * Puts the input into the log at its times, whatever the brokers do.
 *
 * Owns: the pace, and that each record is published until it is acknowledged. A send that failed is sent again as a whole: what had landed is then
 * there twice, as with any producer that must not lose anything.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Codecs } from '../../schemas/codec.ts'
import type { LogProducer, OutRecord } from '../../schemas/log.ts'
import { requestRecord, type PlannedRequest } from './requests.ts'
import { pageOf, type ScrapePlan } from './scrapes.ts'

export interface Published {
  scrapes: number
  requests: number
  sendsRepeated: number
}

const TURN_MS = 50
const AGAIN_MS = 200

export interface PublishOptions {
  readonly producer: LogProducer
  readonly codecs: Codecs
  readonly plan: ScrapePlan
  readonly requests: readonly PlannedRequest[]
  readonly startMs: number
  readonly signal: AbortSignal
  /** Kept up to date. */
  readonly published: Published
}

export async function publishAll(options: PublishOptions): Promise<void> {
  const { producer, codecs, plan, requests, startMs, signal, published } = options

  const send = async (records: readonly OutRecord[]): Promise<void> => {
    for (;;) {
      try {
        await producer.send(records)
        return
      } catch {
        // A broker away is no reason to lose input; only the end of the run ends this.
        signal.throwIfAborted()
        published.sendsRepeated++
        await delay(AGAIN_MS, undefined, { signal })
      }
    }
  }

  while (published.scrapes < plan.published.length || published.requests < requests.length) {
    const now = Date.now() - startMs
    const due: OutRecord[] = []
    let { scrapes, requests: requestsAt } = published
    for (let scrape = plan.published[scrapes]; scrape !== undefined && scrape.publishAt <= now; scrape = plan.published[++scrapes]) {
      const host = plan.hosts[scrape.h] as ScrapePlan['hosts'][number]
      due.push({ topic: 'telemetry.dcgm', key: Buffer.from(host.name), value: Buffer.from(pageOf(plan, scrape)), timestampMs: startMs + scrape.eventAt })
    }
    for (let request = requests[requestsAt]; request !== undefined && request.publishAt <= now; request = requests[++requestsAt]) {
      const { key, value } = requestRecord(request, startMs, codecs)
      due.push({ topic: 'inference.requests', key: Buffer.from(key), value })
    }
    if (due.length > 0) await send(due)
    published.scrapes = scrapes
    published.requests = requestsAt
    await delay(TURN_MS, undefined, { signal })
  }
}
