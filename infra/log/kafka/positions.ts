/**
 * Where each partition of a fetch loop is read on from, and which of them stand: paused, held, or resting after an error.
 *
 * Owns: the positions, their pauses (one may come before its partition: while its owner still opens it) and their rests. A partition that is added anew
 * is another position: what was under way for the old one is void (C4).
 */
import type { TopicPartition } from '../../../schemas/log.ts'

export interface Position extends TopicPartition {
  next: bigint
  /** As last seen. */
  end: bigint | null
  /** Bytes to ask for. */
  askBytes: number
  /** Since when; null = it is not paused. */
  pausedAtMs: number | null
  /** How long its last pause lasted. */
  pauseMs: number
  isHeld: boolean
  /** Tries in a row that brought nothing but an error. */
  stalls: number
  /** Set while it waits for the next try. */
  rest: NodeJS.Timeout | null
}

export const keyOf = (tp: TopicPartition): string => `${tp.topic}/${tp.partition}`

export class Positions {
  readonly #all = new Map<string, Position>()
  readonly #paused = new Set<string>()

  add({ topic, partition }: TopicPartition, next: bigint, askBytes: number): void {
    const key = keyOf({ topic, partition })
    this.#forget(key)
    const pausedAtMs = this.#paused.has(key) ? performance.now() : null
    this.#all.set(key, { topic, partition, next, end: null, askBytes, pausedAtMs, pauseMs: 0, isHeld: false, stalls: 0, rest: null })
  }

  remove(tp: TopicPartition): void {
    this.#forget(keyOf(tp))
    this.#paused.delete(keyOf(tp))
  }

  clear(): void {
    for (const key of this.#all.keys()) this.#forget(key)
  }

  get(tp: TopicPartition): Position | undefined {
    return this.#all.get(keyOf(tp))
  }

  get size(): number {
    return this.#all.size
  }

  all(): Position[] {
    return [...this.#all.values()]
  }

  /** Those that do not stand. */
  wanted(): Position[] {
    return this.all().filter((p) => p.pausedAtMs === null && !p.isHeld && p.rest === null)
  }

  pause(tp: TopicPartition): void {
    this.#paused.add(keyOf(tp))
    const position = this.get(tp)
    if (position !== undefined) position.pausedAtMs ??= performance.now()
  }

  resume(tp: TopicPartition): void {
    this.#paused.delete(keyOf(tp))
    const position = this.get(tp)
    if (position === undefined || position.pausedAtMs === null) return
    position.pauseMs = performance.now() - position.pausedAtMs
    position.pausedAtMs = null
  }

  /** Of the pauses that last, ms; one that was longer the time before is taken for as long. Null = nothing is paused. */
  shortestPauseMs(): number | null {
    const nowMs = performance.now()
    let shortest: number | null = null
    for (const { pausedAtMs, pauseMs } of this.#all.values()) if (pausedAtMs !== null) shortest = Math.min(shortest ?? Infinity, Math.max(pauseMs, nowMs - pausedAtMs))
    return shortest
  }

  #forget(key: string): void {
    clearTimeout(this.#all.get(key)?.rest ?? undefined)
    this.#all.delete(key)
  }
}
