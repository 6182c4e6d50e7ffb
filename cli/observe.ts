/**
 * Watches a running site through its own topics, as any reader could: requests, results, verdicts, receipts. `sluice start` only: it reads prompts
 * and answers, which a process that runs one function, egress above all, must not.
 *
 * Owns: the tails and the counts of the report and the live screen. It decides nothing and is no part of the pipeline.
 */
import { createHistogram } from 'node:perf_hooks'
import type { Codecs } from '../schemas/codec.ts'
import { inferenceResultFromJson } from '../schemas/inference-json.ts'
import type { LogDriver, LogRecord, LogTail } from '../schemas/log.ts'
import type { HealthEvent, InferenceResult } from '../schemas/records.ts'
import { HEADER_CODE } from '../streams/dead-letter.ts'
import { RequestTally, type RequestCounts } from './request-tally.ts'

export interface VerdictSeen {
  readonly device: string
  readonly rule: string
  readonly verdict: string
  /** Endpoints that stand on the device. */
  readonly endpoints: readonly string[]
  /** When the record that caused it was published. */
  readonly recordMs: number
  /** When the last new request was sent to those endpoints; null = none since the start. */
  readonly lastRequestMs: number | null
}

export interface Observed extends RequestCounts {
  readonly ok: number
  readonly failed: number
  readonly byPool: Readonly<Record<string, number>>
  readonly byCode: Readonly<Record<string, number>>
  readonly latencyMs: { readonly p50: number; readonly p99: number }
  readonly verdicts: readonly VerdictSeen[]
  readonly egress: { readonly released: number; readonly withheld: number; readonly denied: number; readonly bytes: number }
}

/** Before anything was seen. */
export const NOTHING_OBSERVED: Observed = {
  ...new RequestTally().counts(),
  ok: 0,
  failed: 0,
  byPool: {},
  byCode: {},
  latencyMs: { p50: 0, p99: 0 },
  verdicts: [],
  egress: { released: 0, withheld: 0, denied: 0, bytes: 0 },
}

interface ObserverOptions {
  readonly log: LogDriver
  readonly prefix: string
  readonly codecs: Codecs
  /** Endpoints per device pseudonym. */
  readonly endpointsOf: ReadonlyMap<string, readonly string[]>
  readonly onProblem: (error: unknown) => void
}

const VERDICTS_MAX = 10_000

export class SiteObserver {
  readonly #options: ObserverOptions
  readonly #tails: LogTail[] = []
  readonly #reading: Promise<void>[] = []
  readonly #tally = new RequestTally()
  readonly #byPool = new Map<string, number>()
  readonly #byCode = new Map<string, number>()
  readonly #latency = createHistogram({ lowest: 1, highest: 3_600_000_000, figures: 3 })
  readonly #verdicts: Omit<VerdictSeen, 'lastRequestMs'>[] = []
  readonly #lastAttemptMs = new Map<string, number>()
  readonly #egress = { released: 0, withheld: 0, denied: 0, bytes: 0 }
  #ok = 0
  #failed = 0

  constructor(options: ObserverOptions) {
    this.#options = options
  }

  /** Watches from the present ends on. */
  async start(): Promise<void> {
    await Promise.all([
      this.#watch('inference.requests', (r) => this.#request(r)),
      this.#watch('inference.results', (r) => this.#result(r)),
      this.#watch('inference.requests.dlq', (r) => this.#parked(r)),
      this.#watch('hardware.health', (r) => this.#verdict(r)),
      this.#watch('egress.receipts', (r) => this.#receipt(r)),
    ])
  }

  async #watch(topic: string, take: (record: LogRecord) => void): Promise<void> {
    const tail = await this.#options.log.reader().open({ topic: this.#options.prefix + topic, partitions: 'all', from: 'end', committedOnly: true, untilEnd: false })
    this.#tails.push(tail)
    const read = async (): Promise<void> => {
      for await (const batch of tail)
        for (const record of batch.records)
          try {
            take(record)
          } catch (error) {
            // What cannot be read here is dead-lettered by the function that owns the topic; the count leaves it out.
            this.#options.onProblem(error)
          }
    }
    this.#reading.push(read().catch(this.#options.onProblem))
  }

  #request(record: LogRecord): void {
    if (record.key !== null && record.value !== null) this.#tally.asked(record.key.toString('utf8'))
  }

  /** Another body under an id that is taken is parked beside the request that took it: that one is still to be answered (R1). */
  #parked(record: LogRecord): void {
    const code = record.headers.find(([name]) => name === HEADER_CODE)?.[1].toString('utf8')
    if (record.key !== null && code !== 'SLU_ROUTE_ID_REUSED') this.#tally.parked(record.key.toString('utf8'))
  }

  #result(record: LogRecord): void {
    if (record.value === null || record.key === null) return
    const result: InferenceResult = record.value[0] === 0x7b ? inferenceResultFromJson(record.value) : this.#options.codecs.decode('InferenceResult', record.value)
    this.#tally.answered(result.id)
    if (result.status < 400) this.#ok++
    else this.#failed++
    if (result.code !== null) this.#byCode.set(result.code, (this.#byCode.get(result.code) ?? 0) + 1)
    if (result.pool !== null) this.#byPool.set(result.pool, (this.#byPool.get(result.pool) ?? 0) + 1)
    this.#latency.record(Math.max(1, Math.round(result.timings.totalMs * 1000)))
    for (const attempt of result.evidence?.attempts ?? []) this.#lastAttemptMs.set(attempt.endpoint, Math.max(attempt.startMs, this.#lastAttemptMs.get(attempt.endpoint) ?? 0))
  }

  #verdict(record: LogRecord): void {
    if (record.value === null) return
    const event: HealthEvent = this.#options.codecs.decode('HealthEvent', record.value)
    if (event.isHealthy || event.verdict === 'ROUTE_OK' || this.#verdicts.length >= VERDICTS_MAX) return
    this.#verdicts.push({
      device: event.device,
      rule: event.ruleId,
      verdict: event.verdict,
      endpoints: this.#options.endpointsOf.get(event.device) ?? [],
      recordMs: event.detectedMs,
    })
  }

  #receipt(record: LogRecord): void {
    if (record.value === null) return
    const receipt = this.#options.codecs.decode('EgressReceipt', record.value)
    if (receipt.decision === 'released') this.#egress.released++
    else if (receipt.decision === 'withheld') this.#egress.withheld++
    else this.#egress.denied++
    this.#egress.bytes += receipt.bytes
  }

  /** Requests seen that have not ended yet. */
  unanswered(): number {
    return this.#tally.openCount
  }

  observed(): Observed {
    const last = (endpoints: readonly string[]): number | null => {
      const times = endpoints.flatMap((e) => this.#lastAttemptMs.get(e) ?? [])
      return times.length === 0 ? null : Math.max(...times)
    }
    const ms = (percentile: number): number => (this.#latency.count === 0 ? 0 : Math.round(this.#latency.percentile(percentile) / 10) / 100)
    return {
      ...this.#tally.counts(),
      ok: this.#ok,
      failed: this.#failed,
      byPool: Object.fromEntries(this.#byPool),
      byCode: Object.fromEntries(this.#byCode),
      latencyMs: { p50: ms(50), p99: ms(99) },
      verdicts: this.#verdicts.map((v) => ({ ...v, lastRequestMs: last(v.endpoints) })),
      egress: { ...this.#egress },
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#tails.map((t) => t.close()))
    await Promise.all(this.#reading)
  }
}
