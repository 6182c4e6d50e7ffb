/**
 * The log seam, measured: whichever driver is behind it gives the same spans and metrics (operations.md §1).
 *
 * Owns: a `LogDriver` around another. Sends and commits get a duration and a span, sent and delivered records are counted by topic. Contents,
 * order, errors and headers pass through unchanged: what measures must not be able to lose a record.
 * A `send` span belongs to the trace its records carry; where they carry several, it links to them. Polls are counted, not timed: a fetch
 * waits for records on purpose.
 */
import type { ConsumerEvents, FencedProducer, LogConsumer, LogDriver, LogProducer, OutRecord } from '../../schemas/log.ts'
import type { Attributes, SpanStart, Telemetry } from '../../schemas/ports.ts'
import { attributeNames, metricNames } from '../../schemas/telemetry-names.ts'
import { logicalName } from '../../schemas/topics.ts'

const LINKS_MAX = 32

export interface MeasuredLogOptions {
  readonly telemetry: Telemetry
  /** Left out of the names shown. */
  readonly topicPrefix: string
}

type Carrier = Readonly<Record<string, string>>

/** The distinct trace contexts of the records, at most `LINKS_MAX`. */
function contexts(records: readonly OutRecord[]): Carrier[] {
  const found = new Map<string, Carrier>()
  for (const { headers = [] } of records) {
    const traceparent = headers.find(([name]) => name === 'traceparent')?.[1].toString('latin1')
    if (traceparent === undefined || found.has(traceparent)) continue
    const tracestate = headers.find(([name]) => name === 'tracestate')?.[1].toString('latin1')
    found.set(traceparent, { traceparent, ...(tracestate === undefined ? {} : { tracestate }) })
    if (found.size === LINKS_MAX) break
  }
  return [...found.values()]
}

export function measuredLog(driver: LogDriver, { telemetry, topicPrefix }: MeasuredLogOptions): LogDriver {
  const shown = (topic: string): string => logicalName(topic, topicPrefix)

  /** Times `act` as one operation; its result and its error are its own. */
  const operation = async <T>(what: 'send' | 'commit', start: Omit<SpanStart, 'name'>, name: string, act: () => Promise<T>): Promise<T> => {
    const attributes: Attributes = { [attributeNames.system]: 'kafka', [attributeNames.operation]: what, ...start.attributes }
    const span = telemetry.span({ ...start, name: `${what} ${name}`, attributes })
    const fromMs = performance.now()
    const end = (code?: string): void => {
      span.end(code === undefined ? undefined : { code })
      telemetry.record(metricNames.logOperationDuration, (performance.now() - fromMs) / 1000, {
        ...attributes,
        ...(code === undefined ? {} : { [attributeNames.errorType]: code }),
      })
    }
    try {
      const result = await act()
      end()
      return result
    } catch (error) {
      end(codeOf(error))
      throw error
    }
  }

  const sent = async <T>(records: readonly OutRecord[], act: () => Promise<T>): Promise<T> => {
    if (records.length === 0) return act()
    const counts = new Map<string, number>()
    for (const { topic } of records) counts.set(shown(topic), (counts.get(shown(topic)) ?? 0) + 1)
    const [first] = counts.keys()
    const name = counts.size === 1 ? (first as string) : `${counts.size} topics`
    const traces = contexts(records)
    const [parent] = traces
    const result = await operation(
      'send',
      {
        kind: 'producer',
        ...(traces.length === 1 && parent !== undefined ? { parent } : { links: traces }),
        attributes: counts.size === 1 ? { [attributeNames.destination]: name } : {},
      },
      name,
      act,
    )
    for (const [topic, count] of counts) telemetry.count(metricNames.sentMessages, count, { [attributeNames.destination]: topic })
    return result
  }

  const consumer = (options: Parameters<LogDriver['consumer']>[0]): LogConsumer => {
    const inner = driver.consumer(options)
    const group = { [attributeNames.group]: options.group }
    const counting = (events: ConsumerEvents): ConsumerEvents => ({
      assigned: (assignments, begin) => events.assigned(assignments, begin),
      revoked: (partitions, isLost) => events.revoked(partitions, isLost),
      records: (tp, epoch, records, readTo) => {
        if (records.length > 0) telemetry.count(metricNames.consumedMessages, records.length, { ...group, [attributeNames.destination]: shown(tp.topic) })
        events.records(tp, epoch, records, readTo)
      },
      held: (tp, error) => events.held(tp, error),
      stalled: (tp, error) => events.stalled?.(tp, error),
      troubled: (error) => events.troubled?.(error),
      failed: (error) => events.failed(error),
    })
    return {
      start: (events) => inner.start(counting(events)),
      pause: (partitions) => inner.pause(partitions),
      resume: (partitions) => inner.resume(partitions),
      commit: (entries) => operation('commit', { kind: 'client', attributes: group }, options.group, () => inner.commit(entries)),
      endOffset: (tp) => inner.endOffset(tp),
      stop: () => inner.stop(),
    }
  }

  const producer = (inner: LogProducer): LogProducer => ({ send: (records) => sent(records, () => inner.send(records)), close: () => inner.close() })
  const fenced = (inner: FencedProducer): FencedProducer => ({
    transaction: (records, offsets) => sent(records, () => inner.transaction(records, offsets)),
    close: () => inner.close(),
  })

  return {
    name: driver.name,
    capabilities: driver.capabilities,
    consumer,
    producer: () => producer(driver.producer()),
    fencedProducer: async (name) => fenced(await driver.fencedProducer(name)),
    reader: () => driver.reader(),
    admin: () => driver.admin(),
    close: () => driver.close(),
  }
}

function codeOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' ? error.code : '_OTHER'
}
