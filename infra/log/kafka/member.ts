/**
 * One member of a consumer group, as a state machine over kafkajs' protocol layer; the `LogConsumer` of the Kafka driver.
 *
 * Owns: membership (join, sync, heartbeat, leave), ownership with epochs, and commits. States:
 *
 *   joining ──assigned──▶ owning ──rebalance──▶ revoking ──▶ joining …            any ──stop──▶ revoking ──▶ stopped
 *                            └──thrown out──▶ lost ──▶ joining                    any ──fatal─▶ stopped
 *
 * What each error means stands in `group-protocol.ts`. Invariants: C2 (offset and metadata in one read), C3 (every assignment has a new epoch; a
 * commit names it and is checked again before each try: a broker would accept it from any live member), C4 (revocation is awaited before the
 * group may go on; lost = no commit), C7 (truncated partitions are held, others go on), B6 (a partition that cannot be read, and a topic that is gone, are told and
 * take nothing from the others). A dead coordinator is looked up again while we own: the
 * session decides, not the connection. Membership is dynamic: static membership is beyond kafkajs' JoinGroup.
 * One file over 300 lines because it is one state machine.
 */
import { setTimeout as delay } from 'node:timers/promises'
import {
  COMMIT_METADATA_BYTES_MAX,
  type Assignment,
  type CommitEntry,
  type ConsumerEvents,
  type LogConsumer,
  type LogRecord,
  type StartAt,
  type TopicPartition,
} from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { deal, topicsOf } from './assigner.ts'
import { FATAL_WHILE_READING, kafkaError, typeOf } from './errors.ts'
import { FetchLoop } from './fetch-loop.ts'
import { decide } from './group-protocol.ts'
import { leaderOffsets, partitionsOf } from './leaders.ts'
import { decodeAssignment, decodeSubscription, encodeAssignment, encodeSubscription, type Broker, type Cluster, type GroupResponse } from './kafkajs.ts'
import { keyOf } from './positions.ts'
import { createTroubles, type Troubles } from './troubles.ts'

export interface MemberOptions {
  readonly createCluster: () => Cluster
  readonly bootstrap: readonly string[]
  readonly group: string
  readonly topics: readonly string[]
  readonly sessionMs: number
  readonly bytesInFlightMax: number
  readonly recordsInFlightMax: number
  readonly onClose: () => void
}

export type MemberState = 'idle' | 'joining' | 'owning' | 'revoking' | 'stopped'

interface Owned extends TopicPartition {
  readonly epoch: number
}

/** The coordinator and the metadata of our topics, as sources of troubles. */
const GROUP = 'group'
const TOPICS = 'topics'
/** How often a topic that is gone is looked for. */
const SEEK_EVERY_MS = 2000
const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 1000
const HEARTBEATS_PER_SESSION = 6
/** While others finish their work the group waits this long for us, and we for them. */
const REBALANCE_MIN_MS = 30_000

/** Why the present ownership ended. */
interface Ending {
  readonly decision: 'rejoin' | 'lost' | 'forget' | 'fatal'
  readonly error: unknown
}

export class GroupMember implements LogConsumer {
  readonly #options: MemberOptions
  readonly #cluster: Cluster
  readonly #fetch: FetchLoop
  readonly #owned = new Map<string, Owned>()
  readonly #troubles: Troubles
  /** Of one partition each. */
  readonly #stalls = new Map<string, Troubles>()
  #events: ConsumerEvents | null = null
  /** Topics that were gone when last looked for, and were not assigned since. */
  readonly #gone = new Set<string>()
  #state: MemberState = 'idle'
  #memberId = ''
  #generation = -1
  #epoch = 0
  #coordinator: Broker | null = null
  #end: ((ending: Ending | null) => void) | null = null
  #starting: Promise<void> | null = null
  #running: Promise<void> | null = null
  #opening: Promise<void> = Promise.resolve()
  #isStopping = false
  #wake: (() => void) | null = null
  #hasJoined: { resolve: () => void; reject: (error: unknown) => void } | null = null

  constructor(options: MemberOptions) {
    this.#options = options
    this.#cluster = options.createCluster()
    this.#troubles = createTroubles(
      (error) => {
        if (!this.#isStopping) this.#events?.troubled?.(error)
      },
      () => performance.now(),
    )
    this.#fetch = new FetchLoop({
      cluster: this.#cluster,
      committedOnly: true,
      bytesMax: options.bytesInFlightMax,
      recordsMax: options.recordsInFlightMax,
      onFetched: (tp, records, readTo) => this.#deliver(tp, records, readTo),
      onTruncated: (tp, error) => this.#events?.held(tp, error),
      onStalled: (tp, error) => this.#partitionStalled(tp, error),
      onProblem: (error, source) => this.#problem(error, source),
      onWell: (source) => this.#troubles.well(source),
    })
  }

  get state(): MemberState {
    return this.#state
  }

  start(events: ConsumerEvents): Promise<void> {
    const started = this.#start(events)
    this.#starting = started.catch(() => {})
    return started
  }

  async #start(events: ConsumerEvents): Promise<void> {
    this.#events = events
    try {
      await this.#cluster.connect()
      await this.#cluster.addMultipleTargetTopics(this.#options.topics)
      if (this.#isStopping) throw new SluiceError('SLU_LOG_FAILED', 'stopped while joining')
    } catch (error) {
      this.#state = 'stopped'
      await this.#cluster.disconnect().catch(() => {})
      throw this.#explain(error)
    }
    const joined = new Promise<void>((resolve, reject) => {
      this.#hasJoined = { resolve, reject }
    })
    this.#running = this.#run()
    await joined
  }

  pause(partitions: readonly TopicPartition[]): void {
    for (const tp of partitions) this.#fetch.pause(tp)
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const tp of partitions) this.#fetch.resume(tp)
  }

  endOffset(tp: TopicPartition): bigint | null {
    return this.#fetch.endOffset(tp)
  }

  async stop(): Promise<void> {
    if (this.#state === 'idle') this.#state = 'stopped'
    this.#isStopping = true
    this.#wake?.()
    this.#end?.(null)
    // A member that is still connecting is closed too, not left to find out later.
    await this.#starting
    await this.#running
    this.#options.onClose()
  }

  // ---- ownership

  #deliver(tp: TopicPartition, records: readonly LogRecord[], readTo: bigint): void {
    const owned = this.#owned.get(keyOf(tp))
    if (owned === undefined || this.#state !== 'owning') return
    this.#events?.records({ topic: owned.topic, partition: owned.partition }, owned.epoch, records, readTo)
  }

  #problem(error: unknown, source: string): void {
    const explained = this.#explain(error)
    if (FATAL_WHILE_READING.has(explained.code)) this.#end?.({ decision: 'fatal', error })
    else this.#troubles.failed(source, explained)
  }

  /** B6: it alone does not go on. */
  #partitionStalled({ topic, partition }: TopicPartition, error: unknown): void {
    const key = keyOf({ topic, partition })
    const tell = (told: SluiceError | null): void => {
      if (this.#owned.has(key) && !this.#isStopping) this.#events?.stalled?.({ topic, partition }, told)
    }
    const troubles = this.#stalls.get(key) ?? createTroubles(tell, () => performance.now())
    this.#stalls.set(key, troubles)
    if (error === null) {
      troubles.well(key)
      return
    }
    const explained = kafkaError(error, this.#options.bootstrap, key)
    if (FATAL_WHILE_READING.has(explained.code)) this.#end?.({ decision: 'fatal', error })
    else troubles.failed(key, explained)
  }

  #explain(error: unknown): SluiceError {
    return kafkaError(error, this.#options.bootstrap, `group ${this.#options.group}, topics ${this.#options.topics.join(', ')}`)
  }

  /** C4: intake has stopped when this is called; returns once the runner has let go. */
  async #release(isLost: boolean): Promise<void> {
    const partitions = [...this.#owned.values()].map(({ topic, partition }) => ({ topic, partition }))
    for (const tp of partitions) this.#fetch.remove(tp)
    this.#stalls.clear()
    // Lost: what is owned is void at once; revoked: the epochs hold until the runner has committed.
    if (isLost) this.#owned.clear()
    if (partitions.length > 0) await this.#events?.revoked(partitions, isLost)
    this.#owned.clear()
  }

  // ---- the state machine

  async #run(): Promise<void> {
    let backoffMs = RETRY_MIN_MS
    while (!this.#isStopping) {
      let ending: Ending | null
      try {
        this.#state = 'joining'
        await this.#join()
        void this.#opening.then(
          () => (backoffMs = RETRY_MIN_MS),
          () => {},
        )
        ending = await this.#own()
      } catch (error) {
        // Of the coordinator's certificate no other try will think better.
        const decision = this.#explain(error).code === 'SLU_LOG_CERTIFICATE' ? 'fatal' : decide(typeOf(error))
        if (decision === 'coordinator' || decision === 'again') {
          this.#troubles.failed(GROUP, this.#explain(error))
          // While joining nothing is owned. Where the runner could not open something, the others are let go in order (C4).
          this.#state = 'revoking'
          await this.#release(false)
          // Look the coordinator up again after a while.
          this.#coordinator = null
          await this.#cluster.refreshMetadata().catch(() => {})
          await this.#pauseFor(backoffMs)
          backoffMs = Math.min(RETRY_MAX_MS, backoffMs * 2)
          continue
        }
        ending = { decision, error }
      }
      this.#state = 'revoking'
      const isLost = ending !== null && (ending.decision === 'lost' || ending.decision === 'forget' || ending.decision === 'fatal')
      await this.#release(isLost)
      if (ending?.decision === 'forget') this.#memberId = ''
      if (ending?.decision === 'fatal') {
        await this.#close()
        const error = this.#explain(ending.error)
        if (this.#hasJoined !== null) this.#settle(error)
        else this.#events?.failed(error)
        return
      }
    }
    await this.#leave()
    await this.#close()
    this.#settle(new SluiceError('SLU_LOG_FAILED', 'stopped while joining'))
  }

  #settle(error: SluiceError | null): void {
    if (error === null) this.#hasJoined?.resolve()
    else this.#hasJoined?.reject(error)
    this.#hasJoined = null
  }

  async #findCoordinator(): Promise<Broker> {
    this.#coordinator ??= await this.#cluster.findGroupCoordinator({ groupId: this.#options.group })
    return this.#coordinator
  }

  async #join(): Promise<void> {
    const { group, topics, sessionMs } = this.#options
    const coordinator = await this.#findCoordinator()
    const joined = await coordinator.joinGroup({
      groupId: group,
      sessionTimeout: sessionMs,
      rebalanceTimeout: Math.max(REBALANCE_MIN_MS, sessionMs),
      memberId: this.#memberId,
      groupProtocols: [encodeSubscription(topics)],
    })
    this.#memberId = joined.memberId
    this.#generation = joined.generationId
    const groupAssignment = joined.leaderId === joined.memberId ? await this.#dealOut(joined.members) : []
    const synced = await coordinator.syncGroup({ groupId: group, generationId: this.#generation, memberId: this.#memberId, groupAssignment })
    const tps = Object.entries(decodeAssignment(synced.memberAssignment)).flatMap(([topic, partitions]) => partitions.map((partition) => ({ topic, partition })))
    // A leader of before may deal out what this member never asked for.
    await this.#assign(
      coordinator,
      tps.filter(({ topic }) => topics.includes(topic)),
    )
  }

  /** As the leader: each topic to those that subscribed to it. One that we do not read ourselves may be gone, or not ours to see: it waits. */
  async #dealOut(members: GroupResponse['members']): Promise<readonly unknown[]> {
    const subscribers = members.map(({ memberId, memberMetadata }) => ({ memberId, topics: decodeSubscription(memberMetadata) }))
    for (const topic of topicsOf(subscribers)) if (!this.#options.topics.includes(topic)) await this.#cluster.addMultipleTargetTopics([topic]).catch(() => {})
    await this.#cluster.refreshMetadata()
    const dealt = deal(subscribers, (topic) => partitionsOf(this.#cluster, topic))
    return [...dealt].map(([memberId, share]) => ({ memberId, memberAssignment: encodeAssignment(share) }))
  }

  /** C2: offset and metadata come from one read. The runner opens its partitions while the session is kept alive (T3). */
  async #assign(coordinator: Broker, tps: readonly TopicPartition[]): Promise<void> {
    const epoch = ++this.#epoch
    const topics = [...new Set(tps.map((tp) => tp.topic))].map((topic) => ({ topic, partitions: tps.filter((tp) => tp.topic === topic).map(({ partition }) => ({ partition })) }))
    const committed = new Map<string, Assignment['committed']>()
    if (tps.length > 0)
      for (const { topic, partitions } of (await coordinator.offsetFetch({ groupId: this.#options.group, topics })).responses)
        for (const p of partitions)
          committed.set(keyOf({ topic, partition: p.partition }), BigInt(p.offset) < 0n ? null : { nextOffset: BigInt(p.offset), metadata: p.metadata ?? '' })
    for (const tp of tps) {
      this.#owned.set(keyOf(tp), { ...tp, epoch })
      this.#gone.delete(tp.topic)
    }
    this.#state = 'owning'
    this.#troubles.well(GROUP)
    this.#settle(null)
    this.#opening = this.#open(tps.map((tp) => ({ ...tp, epoch, committed: committed.get(keyOf(tp)) ?? null })))
    // Who owns hears of it; where the ownership has ended before, nobody needs to.
    this.#opening.catch(() => {})
  }

  /** Each partition begins when the runner has opened it, whatever another one waits for (B6). */
  #open(assignments: readonly Assignment[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const epochs = new Map(assignments.map((a) => [keyOf(a), a.epoch]))
    const begin = async (start: StartAt): Promise<void> => {
      const epoch = epochs.get(keyOf(start))
      if (epoch === undefined) return
      epochs.delete(keyOf(start))
      await this.#fetchFrom(start, epoch)
    }
    const opened = this.#events?.assigned(assignments, (start) => void begin(start).catch(reject)) ?? Promise.resolve([])
    opened.then((starts) => Promise.all(starts.map(begin))).then(() => resolve(), reject)
    return promise
  }

  /** Where the start of the log is asked for, it is until its leader says: the others go on meanwhile (B6). */
  async #fetchFrom({ topic, partition, nextOffset }: StartAt, epoch: number): Promise<void> {
    const key = keyOf({ topic, partition })
    const isOurs = (): boolean => this.#owned.get(key)?.epoch === epoch && !this.#isStopping
    for (let backoffMs = RETRY_MIN_MS; isOurs(); backoffMs = Math.min(RETRY_MAX_MS, backoffMs * 2)) {
      try {
        const next = nextOffset === 'start' ? await this.#startOf(topic, partition) : nextOffset
        if (!isOurs()) return
        if (backoffMs > RETRY_MIN_MS) this.#partitionStalled({ topic, partition }, null)
        this.#fetch.add({ topic, partition }, next)
        return
      } catch (error) {
        this.#partitionStalled({ topic, partition }, error)
        await delay(backoffMs)
        await this.#cluster.refreshMetadata().catch(() => {})
      }
    }
  }

  async #startOf(topic: string, partition: number): Promise<bigint> {
    return (await leaderOffsets(this.#cluster, topic, [partition], 'start')).get(partition) ?? 0n
  }

  /** Resolves with why the ownership ended; null = we stop. */
  async #own(): Promise<Ending | null> {
    const { sessionMs } = this.#options
    // Beats end their own ownership: an answer that comes late must not end the next one.
    const { promise: ended, resolve: end } = Promise.withResolvers<Ending | null>()
    this.#end = end
    if (this.#isStopping) return null
    let lastBeatMs = performance.now()
    let isBeating = false
    const isOver = (): boolean => performance.now() - lastBeatMs > sessionMs
    const beat = async (): Promise<void> => {
      if (isBeating) {
        // A broker that neither answers nor closes: the session is over long before the request's own limit.
        if (!isOver()) return
        this.#coordinator = null
        const error = new SluiceError('SLU_LOG_UNREACHABLE', `no heartbeat of group ${this.#options.group} was answered for ${sessionMs} ms`)
        this.#troubles.failed(GROUP, error)
        end({ decision: 'lost', error })
        return
      }
      isBeating = true
      try {
        await this.#heartbeat()
        lastBeatMs = performance.now()
        this.#troubles.well(GROUP)
      } catch (error) {
        const decision = decide(typeOf(error))
        if (decision !== 'coordinator' && decision !== 'again') end({ decision, error })
        else {
          this.#troubles.failed(GROUP, this.#explain(error))
          // A dead coordinator: while the session lasts we own, and look for the new one.
          this.#coordinator = null
          if (isOver()) end({ decision: 'lost', error })
        }
      } finally {
        isBeating = false
      }
    }
    const timer = setInterval(() => void beat(), sessionMs / HEARTBEATS_PER_SESSION)
    const seeking = setInterval(() => void this.#seekGone(end), SEEK_EVERY_MS)
    try {
      // What keeps the runner from opening anything at all ends the ownership.
      return await Promise.race([ended, this.#opening.then(() => ended)])
    } finally {
      clearInterval(timer)
      clearInterval(seeking)
      this.#end = null
    }
  }

  /**
   * A topic that is gone has no partitions to be given to anybody, and its offsets are gone with it: once it is there again the group joins anew, and
   * begins at its start.
   */
  async #seekGone(end: (ending: Ending) => void): Promise<void> {
    const isThere = (topic: string): boolean => partitionsOf(this.#cluster, topic).length > 0
    for (const topic of this.#options.topics) if (!isThere(topic)) this.#gone.add(topic)
    // The partitions that we still have of it say so themselves.
    const unseen = [...this.#gone].filter((topic) => ![...this.#owned.values()].some((one) => one.topic === topic))
    if (unseen.length === 0) this.#troubles.well(TOPICS)
    else this.#troubles.failed(TOPICS, new SluiceError('SLU_LOG_TOPIC_MISSING', unseen.join(', ')))
    if (this.#gone.size === 0) return
    await this.#cluster.refreshMetadata().catch(() => {})
    const back = [...this.#gone].filter(isThere)
    for (const topic of back) this.#gone.delete(topic)
    if (back.length > 0) end({ decision: 'rejoin', error: null })
  }

  async #heartbeat(): Promise<void> {
    const coordinator = await this.#findCoordinator()
    await coordinator.heartbeat({ groupId: this.#options.group, memberId: this.#memberId, groupGenerationId: this.#generation })
  }

  // ---- commits

  async commit(entries: readonly CommitEntry[]): Promise<void> {
    for (const entry of entries)
      if (Buffer.byteLength(entry.metadata) > COMMIT_METADATA_BYTES_MAX)
        throw new SluiceError('SLU_LOG_METADATA_TOO_LARGE', `${keyOf(entry)}: ${Buffer.byteLength(entry.metadata)} bytes`)
    const untilMs = performance.now() + this.#options.sessionMs
    // Of the ownership that the entries name: an answer that comes late must not end the next one.
    const end = this.#end
    for (let backoffMs = RETRY_MIN_MS; ; backoffMs = Math.min(RETRY_MAX_MS, backoffMs * 2)) {
      this.#refuseStale(entries)
      const error = await this.#tryCommit(entries)
      if (error === null) return
      const type = typeOf(error)
      const decision = decide(type)
      if (type === 'OFFSET_METADATA_TOO_LARGE') throw this.#explain(error)
      // Not waited for: what is committed beside it must not wait either (B6).
      if (type === 'UNKNOWN_TOPIC_OR_PARTITION') throw kafkaError(error, this.#options.bootstrap, [...new Set(entries.map((e) => e.topic))].join(', '))
      if (decision === 'rejoin') throw new SluiceError('SLU_LOG_STALE_EPOCH', 'the group is rebalancing', error)
      if (decision === 'lost' || decision === 'forget' || decision === 'fatal') {
        end?.({ decision, error })
        throw decision === 'fatal' ? this.#explain(error) : new SluiceError('SLU_LOG_STALE_EPOCH', 'this member was thrown out', error)
      }
      this.#coordinator = null
      if (performance.now() > untilMs) throw this.#explain(error)
      await new Promise((resolve) => setTimeout(resolve, backoffMs))
    }
  }

  /** C3, before every try. */
  #refuseStale(entries: readonly CommitEntry[]): void {
    for (const entry of entries) if (this.#owned.get(keyOf(entry))?.epoch !== entry.epoch) throw new SluiceError('SLU_LOG_STALE_EPOCH', `${keyOf(entry)} of epoch ${entry.epoch}`)
  }

  /** Null = committed. */
  async #tryCommit(entries: readonly CommitEntry[]): Promise<unknown> {
    try {
      const coordinator = await this.#findCoordinator()
      // Looking the coordinator up took time: still ours?
      this.#refuseStale(entries)
      await coordinator.offsetCommit({
        groupId: this.#options.group,
        groupGenerationId: this.#generation,
        memberId: this.#memberId,
        topics: [...new Set(entries.map((e) => e.topic))].map((topic) => ({
          topic,
          partitions: entries.filter((e) => e.topic === topic).map((e) => ({ partition: e.partition, offset: e.nextOffset.toString(), metadata: e.metadata })),
        })),
      })
      return null
    } catch (error) {
      if (error instanceof SluiceError) throw error
      return error
    }
  }

  // ---- the end

  async #leave(): Promise<void> {
    if (this.#memberId === '') return
    try {
      await (await this.#findCoordinator()).leaveGroup({ groupId: this.#options.group, memberId: this.#memberId })
    } catch {
      // The session ends by itself; leaving only spares the others the wait.
    }
  }

  async #close(): Promise<void> {
    this.#state = 'stopped'
    this.#fetch.stop()
    await this.#cluster.disconnect().catch(() => {})
  }

  #pauseFor(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms)
      function done(): void {
        clearTimeout(timer)
        resolve()
      }
      this.#wake = done
    })
  }
}
