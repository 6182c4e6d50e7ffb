/**
 * How many of the requests that were published have been answered, by id (R1).
 *
 * Owns: the counts and which ids are open. What is counted was seen on two topics (requests, results) and the DLQ of the first, read each at its own
 * pace: an answer may be seen before its question. Memory is bounded (C6): of the ids that ended the newest are remembered, and beyond the bound of
 * open ones the oldest are counted as `untracked`.
 */

/** Ids remembered, of the open and of the ended each. */
const IDS_MAX = 200_000

interface Ended {
  readonly by: 'result' | 'dead-letter'
  /** The request was seen too. */
  readonly isAsked: boolean
}

export interface RequestCounts {
  /** Ids published since we watch. */
  readonly requests: number
  /** Of these, ids with a result. */
  readonly results: number
  /** Of these, ids parked in the DLQ without a result. */
  readonly parked: number
  /** Results to ids published before we watched. */
  readonly earlier: number
  /** Results beyond the first of an id: R1 says 0. */
  readonly doubled: number
  /** Open ids that are no longer looked after. */
  readonly untracked: number
}

export class RequestTally {
  readonly #idsMax: number
  readonly #open = new Set<string>()
  readonly #ended = new Map<string, Ended>()
  readonly #counts = { requests: 0, results: 0, parked: 0, earlier: 0, doubled: 0, untracked: 0 }

  constructor(idsMax = IDS_MAX) {
    this.#idsMax = idsMax
  }

  asked(id: string): void {
    if (this.#open.has(id)) return
    const ended = this.#ended.get(id)
    if (ended?.isAsked === true) return
    this.#counts.requests++
    if (ended === undefined) {
      this.#open.add(id)
      if (this.#open.size > this.#idsMax) {
        this.#open.delete(this.#open.values().next().value as string)
        this.#counts.untracked++
      }
      return
    }
    if (ended.by === 'result') this.#counts.earlier--
    this.#count(ended.by)
    this.#end(id, { by: ended.by, isAsked: true })
  }

  answered(id: string): void {
    const ended = this.#ended.get(id)
    if (ended?.by === 'result') {
      this.#counts.doubled++
      return
    }
    const isAsked = this.#open.delete(id) || ended?.isAsked === true
    if (ended?.isAsked === true) this.#counts.parked--
    if (isAsked) this.#count('result')
    else this.#counts.earlier++
    this.#end(id, { by: 'result', isAsked })
  }

  /** The record of this id that was to be answered is a dead letter. */
  parked(id: string): void {
    if (this.#ended.has(id)) return
    const isAsked = this.#open.delete(id)
    if (isAsked) this.#count('dead-letter')
    this.#end(id, { by: 'dead-letter', isAsked })
  }

  counts(): RequestCounts {
    return { ...this.#counts }
  }

  /** Ids seen without an end. */
  get openCount(): number {
    return this.#open.size
  }

  #count(by: Ended['by']): void {
    if (by === 'result') this.#counts.results++
    else this.#counts.parked++
  }

  #end(id: string, ended: Ended): void {
    this.#ended.delete(id)
    this.#ended.set(id, ended)
    if (this.#ended.size > this.#idsMax) this.#ended.delete(this.#ended.keys().next().value as string)
  }
}
