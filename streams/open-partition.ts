/**
 * From an assignment to a running partition, by kind.
 *
 * Owns: the order in which a partition is taken over. Folds: fenced producer first, then the state topic to its end, then `begin` (C8). Windows
 * and their combination: what `begin` needs, then `begin` (W6). Tasks: at once; the partition opens itself while records arrive, so that
 * nothing here holds the poll (T3, R1). Transactional delivery of any kind: fenced producer first, then the committed offset as it stands behind
 * the fence; the one that came with the assignment may be older. Parking by key: fenced producer, then what the DLQ says (D4). Rows are read committed-only. What the log refuses meanwhile is tried again until
 * the partition is given up.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { Committed, LogDriver, LogProducer, LogReader, LogRecord } from '../schemas/log.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import { localise } from '../schemas/topics.ts'
import { isParkingByKey, isTransactional, type AnyFunction, type FunctionContext } from './define-function.ts'
import { createCombineProcessor } from './combine.ts'
import { decodeCombineMetadata, decodeWindowMetadata } from './commit-metadata.ts'
import type { PartitionCountOf } from './emits.ts'
import { createFencedWriter } from './fenced-writer.ts'
import { createFoldProcessor } from './fold.ts'
import { createLambdaPartition } from './lambda.ts'
import { createMapProcessor } from './map.ts'
import { createOncePartition } from './once.ts'
import { createPartitionLoop, type PartitionLoopOptions } from './partition-loop.ts'
import { createParking, PARKED_RECORDS_MAX, type Parking } from './parking.ts'
import type { PartitionSink } from './partition-sink.ts'
import type { PartitionEnvironment, RunningPartition } from './partition.ts'
import type { Places } from './places.ts'
import type { PartitionProcessor } from './processor.ts'
import { readToEnd } from './read-to-end.ts'
import { createRetries, type Retries } from './retries.ts'
import { createTaskPartition } from './task.ts'
import { createTransactionalSink } from './transactional-sink.ts'
import { createTransactionalWriter, type TransactionalWriter } from './transactional-writer.ts'
import { createWindowProcessor } from './window.ts'

/** What the partitions of one member share. */
export interface MemberParts {
  readonly definition: AnyFunction
  readonly context: FunctionContext
  readonly driver: LogDriver
  readonly producer: LogProducer
  readonly reader: LogReader
  readonly topicPrefix: string
  readonly partitionsOf: ReadonlyMap<string, number>
  readonly places: Places
  readonly aligned: PartitionLoopOptions['aligned']
  /** Text to hex digest. */
  readonly hash: (text: string) => string
  readonly ready: Promise<void>
}

export interface OpenPartitionOptions {
  readonly parts: MemberParts
  readonly environment: PartitionEnvironment
  /** Logical. */
  readonly topic: string
  readonly partition: number
  readonly committed: Committed | null
  /** Where the log begins; used when nothing is committed. */
  readonly logStart: bigint
  readonly abort: AbortController
  readonly sink: PartitionSink
  readonly endOffset: () => bigint | null
  /** Rejects when the partition is not ours (C8). */
  readonly prove: (standing?: Committed) => Promise<void>
}

export interface Opened {
  readonly running: RunningPartition
  readonly nextOffset: bigint | 'start'
}

/** Of logical topics. */
const partitionCounts =
  ({ partitionsOf, topicPrefix }: MemberParts): PartitionCountOf =>
  (topic) =>
    partitionsOf.get(topicPrefix + topic)

function createProcessor(options: OpenPartitionOptions, retries: Retries): PartitionProcessor {
  const { definition, context } = options.parts
  const report = (error: SluiceError): void => options.environment.telemetry.log('error', error.message, { [attributeNames.function]: definition.name })
  if (definition.kind === 'fold') return createFoldProcessor(definition, context, options.partition, report, partitionCounts(options.parts), retries)
  const { topic, partition } = options
  if (definition.kind === 'combine') return createCombineProcessor(definition, { topic, partition, context, partitionCountOf: partitionCounts(options.parts) })
  if (definition.kind === 'window')
    return createWindowProcessor(definition, {
      topic,
      partition,
      partitionCount: options.parts.partitionsOf.get(options.parts.topicPrefix + topic) ?? 1,
      partialsPartitionCount: options.parts.partitionsOf.get(options.parts.topicPrefix + definition.partialsTopic) ?? 1,
      context,
      hash: options.parts.hash,
    })
  throw new SluiceError('SLU_HANDLER_INVALID', `${definition.name}: kind ${definition.kind}`)
}

/** Metadata that a window can go on from. What another tool wrote, or half of ours, is as lost as none (W6). */
function hasWindowMetadata(definition: AnyFunction, metadata: string): boolean {
  if (definition.kind === 'window') return decodeWindowMetadata(metadata) !== null
  return definition.kind === 'combine' && decodeCombineMetadata(metadata, definition.windowMs) !== null
}

async function readRows(parts: MemberParts, topic: string, partitions: readonly number[] | 'all', signal: AbortSignal, take: (row: LogRecord) => void): Promise<void> {
  const tail = await parts.reader.open({ topic: parts.topicPrefix + topic, partitions, from: 'start', committedOnly: true, untilEnd: true })
  await readToEnd(tail, signal, ({ records }) => {
    for (const record of records) take(localise(record, topic))
  })
}

/** Below it nothing can be read again (C7, W6). */
async function logStartOf(parts: MemberParts, topic: string, partition: number): Promise<bigint> {
  const admin = parts.driver.admin()
  try {
    const ranges = await admin.ranges(parts.topicPrefix + topic)
    return ranges.find((range) => range.partition === partition)?.startOffset ?? 0n
  } finally {
    await admin.close()
  }
}

/** What the group has committed for the partition now. */
async function committedOf(parts: MemberParts, group: string, topic: string, partition: number): Promise<Committed | null> {
  const admin = parts.driver.admin()
  try {
    return (await admin.committed(group, topic)).get(partition) ?? null
  } finally {
    await admin.close()
  }
}

interface Closable {
  close(): Promise<void>
}

/** Rejects with SLU_LOG_STALE_EPOCH when given up meanwhile, SLU_WINDOW_PARAMETERS (W3) and other fatal errors; what was open by then is closed. */
export async function openPartition(options: OpenPartitionOptions): Promise<Opened> {
  const halfOpen: Closable[] = []
  try {
    return await open(options, (one) => void halfOpen.push(one))
  } catch (thrown) {
    await Promise.all(halfOpen.map((one) => one.close().catch(() => undefined)))
    throw thrown
  }
}

/** `closing` hears of what is to be closed should it end here. */
async function open(options: OpenPartitionOptions, closing: (one: Closable) => void): Promise<Opened> {
  const { parts, environment, topic, partition, abort, sink, logStart } = options
  const { definition } = parts
  const openedMs = environment.clock.nowMs()
  const fencedName = `${parts.topicPrefix}${definition.name}.${topic}.${partition}`
  const at = { topic: parts.topicPrefix + topic, partition }
  const writer: TransactionalWriter | null = isTransactional(definition)
    ? createTransactionalWriter({
        driver: parts.driver,
        name: fencedName,
        group: environment.group,
        at,
        committed: () => committedOf(parts, environment.group, at.topic, partition),
        prove: (standing) => options.prove(standing ?? { nextOffset: logStart, metadata: '' }),
        signal: abort.signal,
      })
    : null
  if (writer !== null) closing(writer)
  const committed = writer === null ? options.committed : await sink.persist(() => writer.open())
  const transactional = writer === null ? null : { ...createTransactionalSink(sink, writer, definition.kind === 'fold'), close: () => writer.close() }
  const start = committed?.nextOffset ?? logStart
  const parking: Parking | null = isParkingByKey(definition)
    ? createParking({
        environment,
        driver: parts.driver,
        reader: parts.reader,
        producer: parts.producer,
        producerName: fencedName,
        brokerTopic: at.topic,
        partition,
        parkedRecordsMax: definition.parkedRecordsMax ?? PARKED_RECORDS_MAX,
        sink,
        prove: () => options.prove(),
        hash: parts.hash,
        signal: abort.signal,
      })
    : null
  if (parking !== null) closing(parking)
  if (definition.kind === 'task') {
    let running: RunningPartition | null = null
    const { once: rules } = definition
    const once =
      rules === undefined
        ? null
        : createOncePartition({
            environment,
            driver: parts.driver,
            reader: parts.reader,
            producerName: fencedName,
            resultsTopic: rules.resultsTopic,
            resultsBrokerTopic: parts.topicPrefix + rules.resultsTopic,
            partition,
            dedupeMs: rules.dedupeMs,
            skewMs: rules.skewMs,
            sink,
            signal: abort.signal,
            committed: () => running?.lastCommitted() ?? committed,
          })
    running = createTaskPartition({
      ...parts,
      definition,
      environment,
      topic,
      partition,
      committed,
      start,
      sink,
      partitionCountOf: partitionCounts(parts),
      once,
      transactional,
      parking,
      abort,
    })
    return { running, nextOffset: committed?.nextOffset ?? 'start' }
  }
  if (definition.kind === 'lambda') {
    const running = createLambdaPartition({ definition, environment, topic, partition, committed, start, sink, abort, places: parts.places, hash: parts.hash })
    return { running, nextOffset: committed?.nextOffset ?? 'start' }
  }
  const fenced = definition.kind === 'fold' && writer === null ? createFencedWriter(parts.driver, fencedName, () => options.prove(), abort.signal) : null
  if (fenced !== null) closing(fenced)
  if (fenced !== null) await sink.persist(() => fenced.open())
  if (parking !== null) await parking.open(start, committed?.metadata ?? '')
  const retries = createRetries(environment.retry.attemptsMax, environment.clock.nowMs)
  const processor = definition.kind === 'map' ? createMapProcessor(definition, parts.context, parking, partitionCounts(parts), retries) : createProcessor(options, retries)
  const rows = new Map<string, LogRecord[]>()
  // W6, W7: windows read back only where commit metadata is lost; a combination that begins has nothing to come to again.
  const isRestored = committed === null ? definition.kind === 'combine' : hasWindowMetadata(definition, committed.metadata)
  for (const { topic: from, partitions } of isRestored ? [] : processor.needs)
    await sink.persist(async () => {
      const read: LogRecord[] = []
      await readRows(parts, from, partitions === 'all' ? 'all' : [partition], abort.signal, processor.restore?.() ?? ((row) => void read.push(row)))
      rows.set(from, read)
    })
  const isBlind = definition.kind === 'window' && committed !== null && !isRestored
  const first = processor.begin(committed, rows, isBlind ? await sink.persist(() => logStartOf(parts, topic, partition)) : logStart)
  if (definition.kind === 'fold')
    environment.telemetry.record(metricNames.stateRestoreDuration, (environment.clock.nowMs() - openedMs) / 1000, {
      [attributeNames.function]: definition.name,
      [attributeNames.partition]: String(partition),
    })
  const nextOffset = first.nextOffset === 'start' ? logStart : first.nextOffset
  const running = createPartitionLoop({
    environment,
    topic,
    partition,
    processor,
    committed,
    first: { nextOffset, effects: first.effects },
    sink,
    fenced,
    transactional,
    parking,
    retries,
    abort,
    endOffset: options.endOffset,
    aligned: parts.aligned,
  })
  return { running, nextOffset: first.nextOffset }
}
