/**
 * What one request partition knows of answered ids (R1): the pure part of `once.ts`.
 *
 * Owns: the answered ids with result offset, digest and append time, the end this member itself has read, and `resultsFrom` as routing.md
 * R1 computes it. `resultsFrom` = the lowest of (a) the result offset of each answered request at or above the low-water mark, (b) the first
 * result appended at or after the low-water record's append time − dedupeMs, (c) the known end. (b) is taken skewMs earlier still, because
 * createdMs may lie skewMs after append: lower is always safe. What lies below `resultsFrom` is forgotten: a successor would not know it either.
 * Found by simulation: with the broker's end in place of (c), 3 of 5,000 runs answered an id twice.
 */

export interface AnswersOptions {
  readonly dedupeMs: number
  readonly skewMs: number
}

export interface Answers {
  /** Forgets all; reading begins at `from`. */
  reset(from: bigint): void
  /** A result read back or acknowledged; the first one of an id counts. `atMs` = its append time, or any time after its request's. */
  add(id: string, digest: string | null, offset: bigint, atMs: number): void
  /** This member has read (or written) up to here. */
  readTo(nextOffset: bigint): void
  /** `none` = not answered; digests of unknown origin are taken as the same. */
  lookUp(id: string, digest: string): 'none' | 'same' | 'other'
  has(id: string): boolean
  /** A request taken, ascending offsets. */
  took(offset: bigint, id: string): void
  /** `lowAppendMs` = append time of the low-water record, or no later than any record to come; null = unknown. */
  resultsFrom(mark: bigint, lowAppendMs: number | null): bigint
  size(): number
}

interface Answer {
  readonly id: string
  readonly digest: string | null
  readonly offset: bigint
  readonly atMs: number
}

export function createAnswers(options: AnswersOptions): Answers {
  const answered = new Map<string, Answer>()
  /** In offset order; entries before `head` are forgotten. */
  let log: Answer[] = []
  let head = 0
  let requests: { readonly offset: bigint; readonly id: string }[] = []
  let floor = 0n
  let known = 0n

  const forget = (): void => {
    const first = log[head] as Answer
    if (answered.get(first.id) === first) answered.delete(first.id)
    head++
    if (head < 1024 || head * 2 < log.length) return
    log = log.slice(head)
    head = 0
  }

  return {
    reset: (from) => {
      answered.clear()
      log = []
      head = 0
      floor = from
      known = from
    },
    add: (id, digest, offset, atMs) => {
      if (offset >= known) known = offset + 1n
      if (answered.has(id)) return
      const answer = { id, digest, offset, atMs }
      answered.set(id, answer)
      log.push(answer)
    },
    readTo: (nextOffset) => {
      if (nextOffset > known) known = nextOffset
    },
    lookUp: (id, digest) => {
      const answer = answered.get(id)
      if (answer === undefined) return 'none'
      return answer.digest === null || answer.digest === digest ? 'same' : 'other'
    },
    has: (id) => answered.has(id),
    took: (offset, id) => {
      requests.push({ offset, id })
    },
    resultsFrom: (mark, lowAppendMs) => {
      const passed = requests.findIndex((r) => r.offset >= mark)
      requests = passed === -1 ? [] : requests.slice(passed)
      if (lowAppendMs === null) return floor
      const needed = new Set(requests.map((r) => r.id))
      const fromMs = lowAppendMs - options.dedupeMs - options.skewMs
      for (let first = log[head]; first !== undefined && first.atMs < fromMs && !needed.has(first.id); first = log[head]) forget()
      const first = log[head]
      floor = first === undefined || first.offset > known ? known : first.offset
      return floor
    },
    size: () => answered.size,
  }
}

/** Commit metadata of R1 (C2). */
export function onceMetadata(resultsFrom: bigint): string {
  return JSON.stringify({ v: 1, resultsFrom: String(resultsFrom) })
}

/** null = lost or not ours: read from the start. */
export function resultsFromOf(metadata: string): bigint | null {
  const found = /^\{"v":1,"resultsFrom":"(\d{1,19})"\}$/.exec(metadata)
  return found === null ? null : BigInt(found[1] as string)
}
