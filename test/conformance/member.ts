/** A consumer that writes down everything it is told, for the conformance suite. */
import type { Assignment, ConsumerEvents, LogConsumer, LogDriver, LogRecord, StartAt, TopicPartition } from '../../schemas/log.ts'

export interface Delivery {
  readonly partition: number
  readonly epoch: number
  readonly records: readonly LogRecord[]
  readonly readTo: bigint
}

export interface Member {
  readonly consumer: LogConsumer
  readonly assignments: Assignment[]
  readonly deliveries: Delivery[]
  readonly revocations: { readonly partitions: readonly TopicPartition[]; readonly lost: boolean }[]
  readonly held: { readonly partition: number; readonly error: Error }[]
  readonly failures: Error[]
  /** Records delivered after `revoked` was called for their epoch (C4): must stay 0. */
  strayCount: number
  records(): LogRecord[]
  values(): string[]
  /** Partitions owned now. */
  owned(): number[]
  epochOf(partition: number): number
}

export interface MemberOptions {
  readonly group: string
  readonly topic: string
  readonly bytesInFlightMax?: number
  readonly recordsInFlightMax?: number
  readonly startAt?: (assignments: readonly Assignment[]) => readonly StartAt[]
  readonly onAssigned?: () => Promise<void>
  /** Partitions that open at once, whatever `onAssigned` waits for. */
  readonly opensAtOnce?: readonly number[]
  readonly onRevoked?: (member: Member, partitions: readonly TopicPartition[]) => Promise<void>
  readonly onRecords?: (member: Member, at: TopicPartition, epoch: number, records: readonly LogRecord[]) => void
}

const fromCommitted = (assignments: readonly Assignment[]): StartAt[] =>
  assignments.map(({ topic, partition, committed }) => ({ topic, partition, nextOffset: committed?.nextOffset ?? 'start' }))

/** Joins the group and resolves when `start` has. */
export async function join(driver: LogDriver, options: MemberOptions): Promise<Member> {
  const { group, topic, bytesInFlightMax, recordsInFlightMax } = options
  const limits = { ...(bytesInFlightMax === undefined ? {} : { bytesInFlightMax }), ...(recordsInFlightMax === undefined ? {} : { recordsInFlightMax }) }
  const consumer = driver.consumer({ group, topics: [topic], ...limits })
  const epochs = new Map<number, number>()
  const member: Member = {
    consumer,
    assignments: [],
    deliveries: [],
    revocations: [],
    held: [],
    failures: [],
    strayCount: 0,
    records: () => member.deliveries.flatMap((delivery) => delivery.records),
    values: () => member.records().map((record) => String(record.value)),
    owned: () => [...epochs.keys()].sort((a, b) => a - b),
    epochOf: (partition) => epochs.get(partition) ?? -1,
  }
  await consumer.start(eventsOf(member, epochs, options))
  return member
}

function eventsOf(member: Member, epochs: Map<number, number>, options: MemberOptions): ConsumerEvents {
  return {
    assigned: async (assignments, begin) => {
      const starts = (options.startAt ?? fromCommitted)(assignments)
      const open = (which: readonly Assignment[]): void => {
        member.assignments.push(...which)
        for (const { partition, epoch } of which) epochs.set(partition, epoch)
      }
      const isQuick = ({ partition }: TopicPartition): boolean => options.opensAtOnce?.includes(partition) === true
      open(assignments.filter(isQuick))
      for (const start of starts) if (isQuick(start)) begin?.(start)
      await options.onAssigned?.()
      open(assignments.filter((assignment) => !isQuick(assignment)))
      return starts
    },
    revoked: async (partitions, lost) => {
      member.revocations.push({ partitions, lost })
      const committing = options.onRevoked?.(member, partitions)
      for (const { partition } of partitions) epochs.delete(partition)
      await committing
    },
    records: (at, epoch, records, readTo) => {
      if (epochs.get(at.partition) !== epoch) member.strayCount += 1
      member.deliveries.push({ partition: at.partition, epoch, records, readTo })
      options.onRecords?.(member, at, epoch, records)
    },
    held: (at, error) => void member.held.push({ partition: at.partition, error }),
    failed: (error) => void member.failures.push(error),
  }
}
