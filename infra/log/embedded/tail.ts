/**
 * Reading without a group: tables and tails on a log kept in this process. Pull-based: a batch is fetched when it is asked for.
 *
 * Invariants: C6 (one bounded batch at a time), C7 (an offset the log does not hold is an error, never a jump). `caughtUp` resolves
 * when the reader asks for more after the last batch of what existed at opening, so whoever awaits it sees that batch applied.
 */
import { SluiceError } from '../../../schemas/errors.ts'
import type { LogTail, TailBatch, TailOptions } from '../../../schemas/log.ts'
import type { LocalLog } from './local-log.ts'
import { topicOf } from './store.ts'

interface Place {
  readonly partition: number
  readonly openedAt: bigint
  position: bigint
}

export class LocalTail implements LogTail {
  readonly caughtUp: Promise<void>
  private readonly log: LocalLog
  private readonly options: TailOptions
  private readonly onClosed: () => void
  private readonly places: Place[]
  private readonly settle = Promise.withResolvers<void>()
  private readonly stopListening: () => void
  private isClosed = false
  private isIterated = false
  private signal = Promise.withResolvers<void>()

  constructor(log: LocalLog, options: TailOptions, onClosed: () => void) {
    this.log = log
    this.onClosed = onClosed
    this.options = options
    const spec = topicOf(log.store, options.topic)
    const partitions = options.partitions === 'all' ? Array.from({ length: spec.partitions }, (_, partition) => partition) : options.partitions
    this.places = partitions.map((partition) => this.placeOf(partition, spec.partitions))
    this.caughtUp = this.settle.promise
    this.caughtUp.catch(() => {})
    this.stopListening = log.store.onAppend(() => this.wake())
    if (this.hasCaughtUp()) this.settle.resolve()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TailBatch> {
    if (this.isIterated) throw new SluiceError('SLU_INTERNAL', 'a tail is iterated once')
    this.isIterated = true
    try {
      for (;;) {
        if (this.hasCaughtUp()) this.settle.resolve()
        if (this.isClosed || (this.options.untilEnd && this.hasCaughtUp())) return
        await new Promise<void>((resolve) => this.log.later(resolve))
        if (this.isClosed) return
        const { signal } = this
        const batch = this.fetch()
        if (batch === null) await signal.promise
        else yield batch
      }
    } finally {
      await this.close()
    }
  }

  async close(): Promise<void> {
    if (this.isClosed) return
    this.isClosed = true
    this.stopListening()
    this.onClosed()
    this.wake()
    this.settle.reject(new SluiceError('SLU_LOG_FAILED', `${this.options.topic}: the tail was closed before it had caught up`))
  }

  private wake(): void {
    this.signal.resolve()
    this.signal = Promise.withResolvers<void>()
  }

  private placeOf(partition: number, partitions: number): Place {
    const { topic, from } = this.options
    if (!(partition >= 0 && partition < partitions)) throw new SluiceError('SLU_LOG_FAILED', `${topic} has partitions 0 to ${partitions - 1}, not ${partition}`)
    const { startOffset, endOffset } = this.log.store.range({ topic, partition })
    const position = from === 'start' ? startOffset : from === 'end' ? endOffset : (from.get(partition) ?? startOffset)
    const place = { partition, openedAt: endOffset, position }
    this.checkHeld(place)
    return place
  }

  private checkHeld(place: Place): bigint {
    const { topic } = this.options
    const { startOffset, endOffset } = this.log.store.range({ topic, partition: place.partition })
    if (place.position < startOffset || place.position > endOffset)
      throw new SluiceError('SLU_LOG_TRUNCATED', `${topic}/${place.partition}: offset ${place.position}, the log holds ${startOffset} to ${endOffset}`)
    return endOffset
  }

  private hasCaughtUp(): boolean {
    return this.places.every((place) => place.position >= place.openedAt)
  }

  private fetch(): TailBatch | null {
    const { topic, untilEnd } = this.options
    for (const [index, place] of this.places.entries()) {
      const end = this.checkHeld(place)
      const below = untilEnd ? place.openedAt : end
      if (place.position >= below) continue
      const { records, readTo } = this.log.store.fetch({ topic, partition: place.partition }, place.position, below, this.log.limits())
      place.position = readTo
      this.places.push(...this.places.splice(index, 1))
      return { topic, partition: place.partition, records, readTo }
    }
    return null
  }
}
