/**
 * What we use of kafkajs 2.2.4, typed, with its six repairs (docs/adr/0001): with those named below the only file that reaches into its internals.
 *
 * Owns: the protocol layer (Cluster, subscriptions, assignments) as small interfaces; the request queue's timer repair; connection settings. The version is pinned exactly: no exports map hides these files, and the library is frozen.
 * Repairs, each on a prototype so that the order of loading does not matter:
 * - The request queue re-arms a 1 ms timer for ever (upstream #1751): ours is armed only while something waits or throttling is on.
 *   Idle cost of a member: 44 → 7 ms of CPU per second.
 * - Two requests that both find a connection closed open it twice, and one socket is never closed (tails share a connection): one attempt serves both.
 * - Looking for a coordinator drops what the brokers answered, a lacking right among it: the last answer becomes the cause.
 * - An address that accepts a connection and closes it, or never answers, as a proxy does whose broker is away, is asked again and again, and no
 *   other of the bootstrap list: only a connection *error* makes it look elsewhere. What fails while connecting is one here.
 * - One topic whose settings we may not see fails the whole question for settings: its answer stays beside the others'.
 * - An answer that comes whole is copied, behind the empty rest of the one before: it is taken as it is.
 * Under it `socket.ts`: whole answers, and an error for what is none of Kafka's.
 * Beside them, `produce-request.ts`: what is sent; `crc32c.ts`: its checksum, by native code; `codecs.ts`: what batches are compressed with; `fetch-response.ts`: the answer to
 * a fetch, partition by partition; `record.ts`: the records in it; `metadata.ts`: the metadata, without a topic that is gone.
 * Over 300 lines because nothing else may reach in there.
 * Not checked by kafkajs: the CRC of fetched batches. TCP and the broker's own check on append stand for it.
 */
// Before kafkajs itself.
import './crc32c.ts'
import './codecs.ts'
import './produce-request.ts'
import './record.ts'
import { createRequire } from 'node:module'
import kafkajs from 'kafkajs'
import type { ICustomPartitioner, Kafka as KafkaClient, KafkaConfig, Message } from 'kafkajs'
import { withoutGoneTopics } from './metadata.ts'
import type { FetchedRecord } from './record.ts'
import { connectSocket } from './socket.ts'

const require = createRequire(import.meta.url)

export interface FetchedPartition {
  readonly partition: number
  /** 0 = it answered. */
  readonly errorCode?: number
  readonly highWatermark: string
  readonly lastStableOffset: string
  /** Of those that reach into what was fetched, in the order in which they ended; null where uncommitted records were asked for. */
  readonly abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[] | null
  readonly messages: readonly FetchedRecord[]
}

export interface FetchRequest {
  readonly maxWaitTime: number
  readonly minBytes: number
  readonly maxBytes: number
  /** 1 = committed only. */
  readonly isolationLevel: 0 | 1
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly { readonly partition: number; readonly fetchOffset: string; readonly maxBytes: number }[] }[]
}

export interface GroupResponse {
  readonly memberId: string
  readonly leaderId: string
  readonly generationId: number
  /** Of whom all else is empty but for the leader. */
  readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[]
}

/** One broker of the protocol layer. Every method rejects with a kafkajs error whose `type` is the protocol's error name. */
export interface Broker {
  readonly nodeId: number
  fetch(request: FetchRequest): Promise<{ readonly responses: readonly { readonly topicName: string; readonly partitions: readonly FetchedPartition[] }[] }>
  joinGroup(request: { groupId: string; sessionTimeout: number; rebalanceTimeout: number; memberId: string; groupProtocols: readonly unknown[] }): Promise<GroupResponse>
  syncGroup(request: { groupId: string; generationId: number; memberId: string; groupAssignment: readonly unknown[] }): Promise<{ readonly memberAssignment: Buffer }>
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>
  offsetFetch(request: { groupId: string; topics: readonly { readonly topic: string; readonly partitions: readonly { readonly partition: number }[] }[] }): Promise<{
    readonly responses: readonly {
      readonly topic: string
      readonly partitions: readonly { readonly partition: number; readonly offset: string; readonly metadata: string | null }[]
    }[]
  }>
  produce(request: {
    acks: number
    timeout: number
    topicData: readonly { readonly topic: string; readonly partitions: readonly { readonly partition: number; readonly messages: readonly Message[] }[] }[]
  }): Promise<unknown>
  offsetCommit(request: {
    groupId: string
    groupGenerationId: number
    memberId: string
    topics: readonly { readonly topic: string; readonly partitions: readonly { readonly partition: number; readonly offset: string; readonly metadata: string }[] }[]
  }): Promise<unknown>
}

export interface Cluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  refreshMetadata(): Promise<void>
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>
  findBroker(options: { nodeId: number }): Promise<Broker>
  findGroupCoordinator(options: { groupId: string }): Promise<Broker>
  findTopicPartitionMetadata(topic: string): readonly { readonly partitionId: number; readonly leader: number }[]
  fetchTopicsOffset(
    topics: readonly { topic: string; partitions: readonly { partition: number }[]; fromBeginning: boolean }[],
  ): Promise<readonly { readonly topic: string; readonly partitions: readonly { readonly partition: number; readonly offset: string }[] }[]>
}

const ClusterClass = require('kafkajs/src/cluster') as new (options: Record<string, unknown>) => Cluster
const { MemberAssignment, MemberMetadata } = require('kafkajs/src/consumer/assignerProtocol') as {
  MemberAssignment: {
    encode(given: { version: number; assignment: Readonly<Record<string, readonly number[]>> }): Buffer
    decode(bytes: Buffer): { readonly assignment: Readonly<Record<string, readonly number[]>> } | null
  }
  MemberMetadata: {
    encode(given: { version: number; topics: readonly string[] }): Buffer
    decode(bytes: Buffer): { readonly topics: readonly string[] }
  }
}
const { createLogger } = require('kafkajs/src/loggers') as { createLogger(options: { level: number; logCreator: () => () => void }): unknown }
const ConnectionClass = require('kafkajs/src/network/connection') as { prototype: { connect(): Promise<unknown>; processData(this: object, answer: Buffer): void } }
const RequestQueue = require('kafkajs/src/network/requestQueue') as { prototype: { scheduleCheckPendingRequests(): void } }
const { KafkaJSGroupCoordinatorNotFound: GroupCoordinatorNotFound } = require('kafkajs/src/errors') as { KafkaJSGroupCoordinatorNotFound: new (message: string) => Error }

const THROTTLE_CHECK_MS = 10

interface Queue {
  throttledUntil: number
  throttleCheckTimeoutId: NodeJS.Timeout | null
  readonly pending: readonly unknown[]
  checkPendingRequests(): void
}

RequestQueue.prototype.scheduleCheckPendingRequests = function scheduleOnlyWhenNeeded(this: Queue): void {
  const throttledMs = this.throttledUntil - Date.now()
  if (this.throttleCheckTimeoutId !== null || (this.pending.length === 0 && throttledMs <= 0)) return
  this.throttleCheckTimeoutId = setTimeout(
    () => {
      this.throttleCheckTimeoutId = null
      this.checkPendingRequests()
    },
    throttledMs > 0 ? throttledMs : THROTTLE_CHECK_MS,
  )
}

interface Collecting {
  bytesBuffered: number
  readonly chunks: Buffer[]
}
const { processData } = ConnectionClass.prototype

/** As upstream, which keeps an empty rest of the answer before and makes one buffer of the two. */
ConnectionClass.prototype.processData = function processAlone(this: Collecting, answer: Buffer): void {
  if (this.bytesBuffered === 0) this.chunks.length = 0
  processData.call(this, answer)
}

const connecting = new WeakMap<object, Promise<unknown>>()
const { connect } = ConnectionClass.prototype

ConnectionClass.prototype.connect = function connectOnce(this: object) {
  const known = connecting.get(this)
  if (known !== undefined) return known
  const attempt = connect.call(this as never).finally(() => connecting.delete(this))
  connecting.set(this, attempt)
  return attempt
}

interface CoordinatorAsked {
  readonly groupId: string
  readonly coordinatorType: number
}
interface CoordinatorSeeker {
  readonly brokerPool: { withBroker<T>(ask: (one: { readonly broker: { findGroupCoordinator(asked: CoordinatorAsked): Promise<T> } }) => Promise<T>): Promise<T | null> }
  retrier<T>(attempt: (bail: (error: unknown) => void) => Promise<T>): Promise<T>
}

/** As upstream, which catches what each broker answers and then knows only that there was none. */
;(ClusterClass.prototype as unknown as { findGroupCoordinatorMetadata: unknown }).findGroupCoordinatorMetadata = async function findOrSayWhy(
  this: CoordinatorSeeker,
  asked: CoordinatorAsked,
) {
  let answer: unknown
  const found = await this.brokerPool.withBroker(({ broker }) =>
    this.retrier(async (bail) => {
      try {
        return await broker.findGroupCoordinator(asked)
      } catch (error) {
        answer = error
        if ((error as { type?: string }).type !== 'GROUP_COORDINATOR_NOT_AVAILABLE') bail(error)
        throw error
      }
    }),
  )
  if (found !== null && found !== undefined) return found
  throw Object.assign(new GroupCoordinatorNotFound('Failed to find group coordinator'), { cause: answer })
}

const BrokerClass = require('kafkajs/src/broker') as { prototype: { brokerAddress: string; connect(): Promise<void> } }
const connectBroker = BrokerClass.prototype.connect

BrokerClass.prototype.connect = async function connectOrSayWhere(this: typeof BrokerClass.prototype) {
  try {
    await connectBroker.call(this)
  } catch (error) {
    const { name, message } = error as Error
    if (name !== 'KafkaJSConnectionClosedError' && name !== 'KafkaJSRequestTimeoutError') throw error
    throw new kafkajs.KafkaJSConnectionError(`${message} while connecting`, { broker: this.brokerAddress })
  }
}

interface DescribedConfigs {
  readonly resources: readonly { readonly errorCode: number }[]
}
const { failure, createErrorFromCode } = require('kafkajs/src/protocol/error') as { failure(code: number): boolean; createErrorFromCode(code: number): Error }
const TOPIC_AUTHORIZATION_FAILED = 29

for (const version of [0, 1, 2]) {
  const response = require(`kafkajs/src/protocol/requests/describeConfigs/v${version}/response`) as { parse(data: DescribedConfigs): Promise<DescribedConfigs> }
  response.parse = async function parseBesideRefused(data) {
    const failed = data.resources.find(({ errorCode }) => failure(errorCode) && errorCode !== TOPIC_AUTHORIZATION_FAILED)
    if (failed !== undefined) throw createErrorFromCode(failed.errorCode)
    return data
  }
}

export interface Connection {
  readonly brokers: readonly string[]
  readonly clientId: string
  readonly ssl?: KafkaConfig['ssl']
  readonly sasl?: KafkaConfig['sasl']
  /** Default 3 s. */
  readonly connectionTimeoutMs?: number
}

/** Bounded and quick: a broker that is away is asked again for about four seconds, then the caller decides. */
export const RETRY = { initialRetryTime: 100, maxRetryTime: 500, retries: 10 } as const
/** Back-to-back transactions meet CONCURRENT_TRANSACTIONS and would otherwise wait 260–300 ms. */
export const TRANSACTION_RETRY = { initialRetryTime: 20, maxRetryTime: 500, retries: 20 } as const

const CONNECTION_TIMEOUT_MS = 3000
const REQUEST_TIMEOUT_MS = 30_000

/** kafkajs' public client, silent: what matters reaches the caller as an error. */
export function createClient(connection: Connection): KafkaClient {
  return new kafkajs.Kafka({
    brokers: [...connection.brokers],
    clientId: connection.clientId,
    connectionTimeout: connection.connectionTimeoutMs ?? CONNECTION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    logLevel: kafkajs.logLevel.NOTHING,
    socketFactory: connectSocket,
    retry: RETRY,
    ...(connection.ssl === undefined ? {} : { ssl: connection.ssl }),
    ...(connection.sasl === undefined ? {} : { sasl: connection.sasl }),
  })
}

/** kafkajs' protocol layer, for the group member and readers. */
export function createCluster(connection: Connection, isolationLevel: 0 | 1): Cluster {
  const cluster = new ClusterClass({
    logger: createLogger({ level: 0, logCreator: () => () => {} }),
    retry: RETRY,
    offsets: new Map(),
    socketFactory: connectSocket,
    brokers: connection.brokers,
    ssl: connection.ssl,
    sasl: connection.sasl,
    clientId: connection.clientId,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    authenticationTimeout: CONNECTION_TIMEOUT_MS,
    reauthenticationThreshold: 10_000,
    requestTimeout: REQUEST_TIMEOUT_MS,
    enforceRequestTimeout: true,
    metadataMaxAge: 300_000,
    allowAutoTopicCreation: false,
    maxInFlightRequests: null,
    isolationLevel,
  })
  return withoutGoneTopics(cluster)
}

/** Of kafkajs' round robin, whose members may be in the group still. */
const PROTOCOL = { name: 'RoundRobinAssigner', version: 0 } as const

/** What a member says of itself when it joins. */
export const encodeSubscription = (topics: readonly string[]) => ({ name: PROTOCOL.name, metadata: MemberMetadata.encode({ version: PROTOCOL.version, topics }) })

export const decodeSubscription = (metadata: Buffer): readonly string[] => MemberMetadata.decode(metadata).topics

export const encodeAssignment = (share: ReadonlyMap<string, readonly number[]>): Buffer =>
  MemberAssignment.encode({ version: PROTOCOL.version, assignment: Object.fromEntries(share) })

/** Topic to partitions of one member; empty when it got none. */
export function decodeAssignment(bytes: Buffer): Readonly<Record<string, readonly number[]>> {
  return (bytes.length === 0 ? null : MemberAssignment.decode(bytes))?.assignment ?? {}
}

export const { CompressionTypes, ConfigResourceTypes } = kafkajs

export type { ICustomPartitioner, KafkaClient, Message }
