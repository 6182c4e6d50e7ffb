/**
 * `sluice dlq ls|show|retry`: what could not be handled, why, and putting it back (D5).
 *
 * Owns: reading DLQ topics, choosing among dead letters, and the redrive. A redrive first opens the fenced producer of its topic, which ends any
 * other redrive of it, and only then reads what is open; records and marker go out in one transaction. So whatever dies, a dead letter is on
 * its source topic once or not yet. A DLQ is read as a stream, twice: its markers stand behind what they speak of. In memory are a bit for each
 * redriven offset and one batch (C6).
 */
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { LogDriver } from '../schemas/log.ts'
import { inOrder, isMarker, readDeadLetter, RedrivenOffsets, readerOf, redriveRecord, redrivenMarker, type DeadLetter } from '../streams/redrive.ts'
import type { Invocation } from './invocation.ts'
import { loadSite } from './load-site.ts'
import { openLog } from './open-log.ts'
import { shippedCodecs } from './shipped.ts'
import { indented, onOneLine } from './printable.ts'
import { instant, readable, shownValue, text } from './readable.ts'

const SUFFIX = '.dlq'
/** Records and bytes in one transaction. */
const BATCH_RECORDS_MAX = 100
const BATCH_BYTES_MAX = 4 << 20
/** Error codes counted one by one; a foreign tool may write others without end. */
const CODES_MAX = 100

/** A DLQ as it stood when it was opened. */
interface OpenDlq {
  /** By partition, then offset; may be asked for again. */
  letters(): AsyncGenerator<{ readonly letter: DeadLetter; readonly isRedriven: boolean }>
  close(): Promise<void>
}

/** Reads the markers. `only` = one partition. */
async function openDlq(log: LogDriver, topic: string, only?: number): Promise<OpenDlq> {
  const ranges = (await log.admin().ranges(topic))
    .filter((r) => r.endOffset > r.startOffset && (only === undefined || r.partition === only))
    .sort((a, b) => a.partition - b.partition)
  const reader = log.reader()
  const read = async function* (partition: number) {
    const end = ranges.find((r) => r.partition === partition)?.endOffset ?? 0n
    const tail = await reader.open({ topic, partitions: [partition], from: 'start', committedOnly: true, untilEnd: true })
    for await (const batch of tail) {
      for (const record of batch.records) if (record.offset < end) yield record
      if (batch.readTo >= end) return
    }
  }
  const redriven = new Map<number, RedrivenOffsets>()
  for (const { partition } of ranges) {
    const offsets = new RedrivenOffsets()
    redriven.set(partition, offsets)
    for await (const record of read(partition)) if (isMarker(record)) offsets.read(record)
  }
  return {
    letters: async function* () {
      for (const [partition, offsets] of redriven)
        for await (const record of read(partition)) if (!isMarker(record)) yield { letter: readDeadLetter(record), isRedriven: offsets.has(record.offset) }
    },
    close: () => reader.close(),
  }
}

/** `given` is a source topic or its DLQ, without prefix. Throws SLU_LOG_TOPIC_MISSING. */
async function dlqOf(log: LogDriver, prefix: string, given: string): Promise<string> {
  const name = prefix + (given.endsWith(SUFFIX) ? given : given + SUFFIX)
  if (!(await log.admin().topics(prefix)).some((t) => t.name === name)) throw new SluiceError('SLU_LOG_TOPIC_MISSING', name)
  return name
}

export interface Choice {
  /** The partition that `--at` names. */
  readonly partition?: number
  matches(letter: DeadLetter): boolean
  readonly limit: number
  /** Every function that reads the topic handles what is put back, not only the one that parked it. */
  readonly isForAll?: boolean
  /** Told of each one that was put back, or would be. */
  took?(letter: DeadLetter): void
}

/** Counts by text, of which a foreign tool may write others without end. */
class Tally {
  readonly counts = new Map<string, number>()

  add(text: string, other: string): void {
    const counted = this.counts.has(text) || this.counts.size < CODES_MAX ? text : other
    this.counts.set(counted, (this.counts.get(counted) ?? 0) + 1)
  }
}

const PLACE = /^(\d{1,6})\/(\d{1,19})$/

/** What the options choose. Throws SLU_USE. */
function choiceOf(options: Record<string, unknown>): Choice {
  const { code, function: parkedBy, at, after, limit } = options as { code?: string; function?: string; at?: string; after?: string; limit?: string }
  const [only, behind] = Object.entries({ at, after }).map(([name, given]) => {
    const [, partition, offset] = PLACE.exec(given ?? '') ?? []
    if (given !== undefined && offset === undefined) throw new SluiceError('SLU_USE', `--${name} ${given}: must be partition/offset, e.g. 0/17`)
    return offset === undefined ? undefined : { partition: Number(partition), offset: BigInt(offset) }
  })
  if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit)) throw new SluiceError('SLU_USE', `--limit ${limit}: must be a number above 0`)
  return {
    ...(only === undefined ? {} : { partition: only.partition }),
    matches: ({ code: of, functionName, record: { partition, offset } }) =>
      (code === undefined || of === code) &&
      (parkedBy === undefined || functionName === parkedBy) &&
      (only === undefined || (partition === only.partition && offset === only.offset)) &&
      (behind === undefined || partition > behind.partition || (partition === behind.partition && offset > behind.offset)),
    limit: limit === undefined ? Infinity : Number(limit),
    isForAll: options['toAll'] === true,
  }
}

/** The open dead letters that are chosen, up to the limit. */
async function* chosen(dlq: OpenDlq, choice: Pick<Choice, 'matches' | 'limit'>): AsyncGenerator<DeadLetter> {
  let count = 0
  for await (const { letter, isRedriven } of dlq.letters()) {
    if (isRedriven || !choice.matches(letter)) continue
    yield letter
    if (++count >= choice.limit) return
  }
}

/** Runs on an open DLQ and closes it. */
async function withDlq<T>(log: LogDriver, topic: string, only: number | undefined, act: (dlq: OpenDlq) => Promise<T>): Promise<T> {
  const dlq = await openDlq(log, topic, only)
  try {
    return await act(dlq)
  } finally {
    await dlq.close()
  }
}

/** Dead letters of a DLQ in numbers. */
export async function countDlq(log: LogDriver, topic: string): Promise<{ open: number; redriven: number; codes: Record<string, number> }> {
  return withDlq(log, topic, undefined, async (dlq) => {
    let [open, redriven] = [0, 0]
    const codes = new Tally()
    for await (const { letter, isRedriven } of dlq.letters()) {
      if (isRedriven) redriven++
      else {
        open++
        codes.add(letter.code || 'no code', 'other codes')
      }
    }
    return { open, redriven, codes: Object.fromEntries(codes.counts) }
  })
}

export async function dlqList({ siteFile, output, environment }: Invocation, args: string[]): Promise<number> {
  const loaded = loadSite(siteFile)
  const prefix = loaded.site.topicPrefix
  const log = await openLog(loaded, environment)
  try {
    const [given] = args
    const all = (await log.admin().topics(prefix)).map((t) => t.name).filter((name) => name.endsWith(SUFFIX))
    const topics = given === undefined ? all.sort() : [await dlqOf(log, prefix, given)]
    const rows = []
    for (const topic of topics) rows.push({ topic: topic.slice(prefix.length), ...(await countDlq(log, topic)) })
    output.json({ topics: rows })
    const shown = given === undefined ? rows.filter((r) => r.open + r.redriven > 0) : rows
    for (const { topic, open, redriven, codes } of shown) {
      output.line(`${topic.padEnd(32)} ${String(open).padStart(6)} open  ${String(redriven).padStart(6)} put back`)
      for (const [code, count] of Object.entries(codes)) output.line(`  ${onOneLine(code).padEnd(30)} ${String(count).padStart(6)}`)
    }
    if (shown.length === 0) output.line(`no dead letters in ${topics.length} topics`)
    return 0
  } finally {
    await log.close()
  }
}

export async function dlqShow({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const codecs = shippedCodecs()
  const log = await openLog(loaded, environment)
  try {
    const choice = choiceOf(options)
    const isFull = options['full'] === true
    await withDlq(log, await dlqOf(log, loaded.site.topicPrefix, args[0] as string), choice.partition, async (dlq) => {
      let [shown, last] = [0, '']
      // One more than asked for tells whether there is more.
      for await (const { record, source, functionName, code, attempts, message } of chosen(dlq, { ...choice, limit: choice.limit + 1 })) {
        if (++shown > choice.limit) return output.note(`there is more: go on with --after ${last}`)
        const at = `${record.partition}/${record.offset}`
        last = at
        const key = text(record.key)
        const value = readable(record.value, codecs)
        output.json({ at, code, message, attempts, function: functionName, source, timestampMs: record.timestampMs, key, value })
        output.line(onOneLine(`${at.padEnd(10)} ${code || 'no code'}  ${functionName}, after ${attempts} ${attempts === 1 ? 'try' : 'tries'}`))
        output.line(onOneLine(`  from ${source.topic}/${source.partition}/${source.offset ?? '?'}  ${instant(record.timestampMs)}  key ${key ?? '-'}`))
        if (message !== '') output.line(indented(message, '  '))
        output.line(shownValue(value, isFull))
      }
    })
    return 0
  } finally {
    await log.close()
  }
}

const bytesOf = ({ record }: DeadLetter): number =>
  (record.key?.length ?? 0) + (record.value?.length ?? 0) + record.headers.reduce((sum, [name, value]) => sum + name.length + value.length, 0)

/** Dead letters of one partition each, as many as one transaction takes. */
async function* batches(letters: AsyncIterable<DeadLetter>): AsyncGenerator<DeadLetter[]> {
  let [batch, bytes]: [DeadLetter[], number] = [[], 0]
  for await (const letter of letters) {
    const [first] = batch
    if (first !== undefined && (batch.length >= BATCH_RECORDS_MAX || bytes + bytesOf(letter) > BATCH_BYTES_MAX || first.record.partition !== letter.record.partition)) {
      yield batch
      ;[batch, bytes] = [[], 0]
    }
    batch.push(letter)
    bytes += bytesOf(letter)
  }
  if (batch.length > 0) yield batch
}

/** Puts dead letters back, in order. Resolves with how many; `choice` is asked once nobody else can redrive the topic any more. */
export async function redrive(log: LogDriver, dlqTopic: string, choice: Choice, topicPrefix = ''): Promise<number> {
  const producer = await log.fencedProducer(`sluice-redrive.${dlqTopic}`)
  try {
    return await withDlq(log, dlqTopic, choice.partition, async (dlq) => {
      const partitions = new Map((await log.admin().topics('')).map((t) => [t.name, t.partitions]))
      // All are looked at before the first is written: a source topic that is gone leaves everything as it is.
      for await (const { source } of chosen(dlq, choice)) if (!partitions.has(source.topic)) throw new SluiceError('SLU_LOG_TOPIC_MISSING', source.topic)
      let count = 0
      for await (const batch of batches(chosen(dlq, choice))) {
        const copies = inOrder(batch).map((l) => redriveRecord(l, partitions.get(l.source.topic) ?? 0, topicPrefix, choice.isForAll))
        await producer.transaction([...copies, redrivenMarker(batch)])
        count += batch.length
        for (const letter of batch) choice.took?.(letter)
      }
      return count
    })
  } catch (thrown) {
    if (asSluiceError(thrown, 'SLU_LOG_FAILED').code !== 'SLU_LOG_FENCED') throw thrown
    throw new SluiceError(
      'SLU_LOG_FENCED',
      `${dlqTopic}: another redrive of this DLQ is running`,
      thrown,
      'Nothing: the newer one puts back what is open; `sluice dlq ls` shows what is left.',
    )
  } finally {
    await producer.close()
  }
}

async function countChosen(log: LogDriver, topic: string, choice: Choice): Promise<number> {
  return withDlq(log, topic, choice.partition, async (dlq) => {
    let count = 0
    for await (const letter of chosen(dlq, choice)) {
      count++
      choice.took?.(letter)
    }
    return count
  })
}

export async function dlqRetry({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const log = await openLog(loaded, environment)
  try {
    const topic = await dlqOf(log, loaded.site.topicPrefix, args[0] as string)
    const isDry = options['dryRun'] === true
    const by = new Tally()
    const chosenBy = choiceOf(options)
    const forWhom = (letter: DeadLetter): string => (chosenBy.isForAll === true ? null : readerOf(letter)) ?? 'every function'
    const choice: Choice = { ...chosenBy, took: (letter) => by.add(forWhom(letter), 'other functions') }
    const count = isDry ? await countChosen(log, topic, choice) : await redrive(log, topic, choice, loaded.site.topicPrefix)
    output.json({ topic, putBack: isDry ? 0 : count, wouldPutBack: count, for: Object.fromEntries(by.counts) })
    output.line(`${count} dead letters of ${topic} ${isDry ? 'would be put back' : 'put back'}`)
    for (const [name, counted] of by.counts) output.line(onOneLine(`  for ${name.padEnd(26)} ${String(counted).padStart(6)}`))
    return 0
  } finally {
    await log.close()
  }
}
