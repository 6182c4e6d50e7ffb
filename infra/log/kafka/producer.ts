/**
 * Appending to Kafka: the idempotent producer over kafkajs' public API.
 *
 * Owns: order (one request at a time; what is sent meanwhile goes together with the next), the offsets of what was written, and the renewal of a
 * producer that the broker no longer accepts. A record that is too large fails alone: the others of its request are sent again without it; a dead letter
 * is packed first, as the record may have come (D2). So does one whose topic is gone (B6).
 * Two things kafkajs does when a leader moves between its tries are made good here: it asks the partitioner anew (a record's place is kept), and it leaves
 * out what moved to a broker that has answered before, as if it had been written (what came back without an offset is sent again).
 */
import type { Appended, LogHeaders, LogProducer, OutRecord } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { partitionOf } from '../partitioner.ts'
import { kafkaError, typeOf } from './errors.ts'
import { CompressionTypes, createClient, RETRY, type Connection, type ICustomPartitioner, type Message } from './kafkajs.ts'

interface Placed extends Message {
  /** Where our partitioner put it; needed to tell the offset. */
  placed?: number
  /** In their order, with repeats (`produce-request.ts`). */
  readonly headerList?: LogHeaders
}

interface Waiting {
  readonly records: readonly OutRecord[]
  readonly resolve: (appended: Appended[]) => void
  readonly reject: (error: unknown) => void
}

interface RecordMetadata {
  readonly topicName: string
  readonly partition: number
  readonly baseOffset?: string
}

interface TopicMessages {
  readonly topic: string
  readonly messages: Placed[]
}

type Client = ReturnType<ReturnType<typeof createClient>['producer']>

const RECORDS_PER_REQUEST_MAX = 10_000
const REQUEST_BYTES_MAX = 512 * 1024
const RECORD_OVERHEAD_BYTES = 32
/** The broker no longer knows this producer or its sequence: a new one goes on. */
const RENEW = new Set(['OUT_OF_ORDER_SEQUENCE_NUMBER', 'UNKNOWN_PRODUCER_ID', 'INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED', 'INVALID_PRODUCER_ID_MAPPING'])

const TOO_LARGE = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'])

/** Kafka's default: murmur2 of the key; without one, round robin. Asked again for a message, the answer is the same. */
export const createPartitioner: ICustomPartitioner = () => {
  let turn = 0
  return ({ message, partitionMetadata }) => {
    const out = message as Placed
    const key = message.key === null || message.key === undefined ? null : Buffer.from(message.key as Buffer)
    out.placed ??= message.partition ?? (key === null ? turn++ % partitionMetadata.length : partitionOf(key, partitionMetadata.length))
    return out.placed
  }
}

/** Groups by topic, keeping the order within each. */
export function topicMessages(records: readonly OutRecord[]): { readonly topics: TopicMessages[]; readonly placed: Placed[] } {
  const byTopic = new Map<string, Placed[]>()
  const placed = records.map((record): Placed => {
    const message: Placed = {
      key: record.key,
      value: record.value,
      ...(record.headers === undefined ? {} : { headerList: record.headers }),
      ...(record.partition === undefined ? {} : { partition: record.partition }),
      ...(record.timestampMs === undefined ? {} : { timestamp: String(record.timestampMs) }),
    }
    const list = byTopic.get(record.topic)
    if (list === undefined) byTopic.set(record.topic, [message])
    else list.push(message)
    return message
  })
  return { topics: [...byTopic].map(([topic, messages]) => ({ topic, messages })), placed }
}

/**
 * Requests of at most `REQUEST_BYTES_MAX`, in order. A broker measures the whole batch of a partition against max.message.bytes, and a request
 * that it takes in part leaves the client's sequence numbers behind: what follows would be dropped as a duplicate. So batches stay small, and a
 * record that may be refused for its size travels alone.
 */
export function requestsOf(records: readonly OutRecord[]): OutRecord[][] {
  const requests: OutRecord[][] = []
  let bytes = Infinity
  for (const record of records) {
    const size =
      (record.key?.length ?? 0) + (record.value?.length ?? 0) + (record.headers ?? []).reduce((sum, [name, value]) => sum + name.length + value.length, RECORD_OVERHEAD_BYTES)
    if (bytes + size > REQUEST_BYTES_MAX || (requests.at(-1)?.length ?? 0) >= RECORDS_PER_REQUEST_MAX) {
      requests.push([])
      bytes = 0
    }
    requests.at(-1)?.push(record)
    bytes += size
  }
  return requests
}

export const isTooLarge = (error: unknown): boolean => TOO_LARGE.has(typeOf(error) ?? '')

/** What fails one send and none beside it. */
const OF_ITS_OWN = new Set([...TOO_LARGE, 'UNKNOWN_TOPIC_OR_PARTITION'])

/** Sends in which what was left out is sent again. */
const ROUNDS_MAX = 5

/** Writes all of `records`, one batch per partition. Offsets in the order given. Rejects with SLU_LOG_NOT_READY when some are left out again and again. */
export async function writeAll(records: readonly OutRecord[], sendBatch: (topics: TopicMessages[]) => Promise<readonly RecordMetadata[]>): Promise<Appended[]> {
  const appended: Appended[] = []
  let rest = records.map((record, index) => ({ record, index }))
  for (let round = 0; rest.length > 0; round++) {
    const [first] = rest
    if (round === ROUNDS_MAX) throw new SluiceError('SLU_LOG_NOT_READY', `${first?.record.topic}: its leaders keep moving`)
    const { topics, placed } = topicMessages(rest.map((r) => r.record))
    const next = new Map((await sendBatch(topics)).map((w) => [`${w.topicName}/${w.partition}`, BigInt(w.baseOffset ?? '-1')]))
    const left: typeof rest = []
    for (const [i, { record, index }] of rest.entries()) {
      const { topic } = record
      const partition = placed[i]?.placed
      const offset = next.get(`${topic}/${partition}`)
      if (partition === undefined || (offset !== undefined && offset < 0n)) throw new SluiceError('SLU_LOG_FAILED', `no offset for a record of ${topic}`)
      if (offset === undefined) left.push({ record: { ...record, partition }, index })
      else {
        appended[index] = { topic, partition, offset }
        next.set(`${topic}/${partition}`, offset + 1n)
      }
    }
    rest = left
  }
  return appended
}

type SendBatch = (topics: TopicMessages[], compression?: number) => Promise<readonly RecordMetadata[]>

/** As `writeAll`; a record alone that is refused as too large and may be packed is. The broker measures what it is sent. */
export async function writeFitting(records: readonly OutRecord[], sendBatch: SendBatch): Promise<Appended[]> {
  try {
    return await writeAll(records, (topics) => sendBatch(topics))
  } catch (error) {
    if (records.length !== 1 || records[0]?.mayPack !== true || !isTooLarge(error)) throw error
    return writeAll(records, (topics) => sendBatch(topics, CompressionTypes.ZSTD))
  }
}

export class KafkaProducer implements LogProducer {
  readonly #connection: Connection
  readonly #queue: Waiting[] = []
  readonly #onClose: () => void
  #producer: Client | null = null
  #isConnected = false
  #flushing: Promise<void> | null = null
  #isClosed = false

  constructor(connection: Connection, onClose: () => void) {
    this.#connection = connection
    this.#onClose = onClose
  }

  send(records: readonly OutRecord[]): Promise<Appended[]> {
    if (this.#isClosed) return Promise.reject(new SluiceError('SLU_LOG_FAILED', 'the producer is closed'))
    if (records.length === 0) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      this.#queue.push({ records, resolve, reject })
      this.#flushing ??= this.#flush()
    })
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#flushing
    await this.#drop()
    this.#onClose()
  }

  async #flush(): Promise<void> {
    // Not before `send` has kept the promise of this call.
    await Promise.resolve()
    while (this.#queue.length > 0) {
      const group: Waiting[] = []
      let count = 0
      while (this.#queue.length > 0 && (group.length === 0 || count + (this.#queue[0] as Waiting).records.length <= RECORDS_PER_REQUEST_MAX)) {
        const waiting = this.#queue.shift() as Waiting
        group.push(waiting)
        count += waiting.records.length
      }
      await this.#settle(group)
    }
    // Together with the last look at the queue: a send that comes a moment later must start anew, or it would wait for ever.
    this.#flushing = null
  }

  /** Together, in as few requests as may be; if a record is too large or its topic is gone, each send by itself, so that it fails its own only. What was acknowledged stays so. */
  async #settle(group: readonly Waiting[]): Promise<void> {
    const done: Appended[] = []
    let failed: unknown = null
    try {
      await this.#write(
        group.flatMap((w) => w.records),
        done,
      )
    } catch (error) {
      failed = error
    }
    let at = 0
    for (const waiting of group) {
      const written = done.slice(at, at + waiting.records.length)
      at += waiting.records.length
      if (written.length === waiting.records.length) waiting.resolve(written)
      else if (group.length > 1 && OF_ITS_OWN.has(typeOf(failed) ?? '')) await this.#finish(waiting, written)
      else waiting.reject(this.#explain(failed, waiting))
    }
  }

  /** The rest of one send, whose first records are written. */
  async #finish(waiting: Waiting, written: Appended[]): Promise<void> {
    try {
      await this.#write(waiting.records.slice(written.length), written)
      waiting.resolve(written)
    } catch (error) {
      waiting.reject(this.#explain(error, waiting))
    }
  }

  #explain(error: unknown, { records }: Waiting): SluiceError {
    return kafkaError(error, this.#connection.brokers, [...new Set(records.map((r) => r.topic))].join(', '))
  }

  /** In order; `done` grows with each request that is acknowledged. */
  async #write(records: readonly OutRecord[], done: Appended[]): Promise<void> {
    for (const request of requestsOf(records)) for (const one of await this.#request(request)) done.push(one)
  }

  async #request(records: readonly OutRecord[]): Promise<Appended[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        const producer = await this.#connected()
        return await writeFitting(records, (topicMessages, compression) => producer.sendBatch({ acks: -1, topicMessages, ...(compression === undefined ? {} : { compression }) }))
      } catch (error) {
        const isRenewable = RENEW.has(typeOf(error) ?? '')
        // A client that has asked for a topic asks for it with all others from then on: one that is gone would refuse them all.
        if (isRenewable || typeOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION') await this.#drop()
        if (!isRenewable || attempt > 1) throw error
      }
    }
  }

  async #connected(): Promise<Client> {
    this.#producer ??= createClient(this.#connection).producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false, createPartitioner, retry: RETRY })
    if (!this.#isConnected) {
      await this.#producer.connect()
      this.#isConnected = true
    }
    return this.#producer
  }

  async #drop(): Promise<void> {
    const producer = this.#producer
    this.#producer = null
    this.#isConnected = false
    await producer?.disconnect().catch(() => {})
  }
}
