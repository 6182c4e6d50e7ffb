/**
 * `sluice dlq ls|show|retry`: what could not be handled, why, and putting it back (D5).
 *
 * Owns: reading DLQ topics, choosing among dead letters, and the redrive. A redrive first opens the fenced producer of its topic, which ends any
 * other redrive of it, and only then reads what is open; records and marker go out in one transaction. So whatever dies, a dead letter is on
 * its source topic once or not yet.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { LogDriver, LogRecord } from '../schemas/log.ts'
import { readDeadLetters, redriveRecord, redrivenMarker, type DeadLetter, type DeadLetters } from '../streams/redrive.ts'
import type { Invocation } from './invocation.ts'
import { loadSite } from './load-site.ts'
import { openLog } from './open-log.ts'
import { shippedCodecs } from './shipped.ts'
import { toJson } from './output.ts'
import { instant, readable, text } from './readable.ts'

const SUFFIX = '.dlq'
/** Records in one transaction. */
const BATCH_RECORDS_MAX = 100

async function readAll(log: LogDriver, topic: string): Promise<DeadLetters> {
  const reader = log.reader()
  const tail = await reader.open({ topic, partitions: 'all', from: 'start', committedOnly: true, untilEnd: true })
  const records: LogRecord[] = []
  for await (const batch of tail) records.push(...batch.records)
  await reader.close()
  return readDeadLetters(records)
}

/** `given` is a source topic or its DLQ, without prefix. Throws SLU_LOG_TOPIC_MISSING. */
async function dlqOf(log: LogDriver, prefix: string, given: string): Promise<string> {
  const name = prefix + (given.endsWith(SUFFIX) ? given : given + SUFFIX)
  if (!(await log.admin().topics()).some((t) => t.name === name)) throw new SluiceError('SLU_LOG_TOPIC_MISSING', name)
  return name
}

function chosen(letters: readonly DeadLetter[], options: Record<string, unknown>): DeadLetter[] {
  const { code, at, limit } = options as { code?: string; at?: string; limit?: string }
  if (at !== undefined && !/^\d+\/\d+$/.test(at)) throw new SluiceError('SLU_USE', `--at ${at}: must be partition/offset, e.g. 0/17`)
  if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit)) throw new SluiceError('SLU_USE', `--limit ${limit}: must be a number above 0`)
  return letters
    .filter((l) => (code === undefined || l.code === code) && (at === undefined || `${l.record.partition}/${l.record.offset}` === at))
    .slice(0, limit === undefined ? undefined : Number(limit))
}

export async function dlqList({ siteFile, output, environment }: Invocation, args: string[]): Promise<number> {
  const loaded = loadSite(siteFile)
  const prefix = loaded.site.topicPrefix
  const log = await openLog(loaded, environment)
  try {
    const [given] = args
    const all = (await log.admin().topics()).map((t) => t.name).filter((name) => name.startsWith(prefix) && name.endsWith(SUFFIX))
    const topics = given === undefined ? all.sort() : [await dlqOf(log, prefix, given)]
    const rows = []
    for (const topic of topics) {
      const { open, redriven } = await readAll(log, topic)
      const codes = Object.fromEntries([...Map.groupBy(open, (l) => l.code || 'no code')].map(([code, letters]) => [code, letters.length]))
      rows.push({ topic: topic.slice(prefix.length), open: open.length, redriven, codes })
    }
    output.json({ topics: rows })
    const shown = given === undefined ? rows.filter((r) => r.open + r.redriven > 0) : rows
    for (const { topic, open, redriven, codes } of shown) {
      output.line(`${topic.padEnd(32)} ${String(open).padStart(6)} open  ${String(redriven).padStart(6)} put back`)
      for (const [code, count] of Object.entries(codes)) output.line(`  ${code.padEnd(30)} ${String(count).padStart(6)}`)
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
    const { open } = await readAll(log, await dlqOf(log, loaded.site.topicPrefix, args[0] as string))
    for (const { record, source, functionName, code, attempts, message } of chosen(open, options)) {
      const at = `${record.partition}/${record.offset}`
      const key = text(record.key)
      const value = readable(record.value, codecs)
      output.json({ at, code, message, attempts, function: functionName, source, timestampMs: record.timestampMs, key, value })
      output.line(`${at.padEnd(10)} ${code || 'no code'}  ${functionName}, after ${attempts} ${attempts === 1 ? 'try' : 'tries'}`)
      output.line(`  from ${source.topic}/${source.partition}/${source.offset ?? '?'}  ${instant(record.timestampMs)}  key ${key ?? '-'}`)
      if (message !== '') output.line(`  ${message}`)
      output.line(`  ${typeof value === 'string' ? value : toJson(value)}`)
    }
    return 0
  } finally {
    await log.close()
  }
}

/** Puts dead letters back. Resolves with how many; `choose` is asked once nobody else can redrive the topic any more. */
export async function redrive(log: LogDriver, dlqTopic: string, choose: (open: readonly DeadLetter[]) => DeadLetter[]): Promise<number> {
  const producer = await log.fencedProducer(`sluice-redrive.${dlqTopic}`)
  try {
    const letters = choose((await readAll(log, dlqTopic)).open)
    const partitions = new Map((await log.admin().topics()).map((t) => [t.name, t.partitions]))
    const missing = letters.find((l) => !partitions.has(l.source.topic))
    if (missing !== undefined) throw new SluiceError('SLU_LOG_TOPIC_MISSING', missing.source.topic)
    let count = 0
    for (const ofPartition of Map.groupBy(letters, (l) => l.record.partition).values())
      for (let i = 0; i < ofPartition.length; i += BATCH_RECORDS_MAX) {
        const batch = ofPartition.slice(i, i + BATCH_RECORDS_MAX)
        await producer.transaction([...batch.map((l) => redriveRecord(l, partitions.get(l.source.topic) ?? 0)), redrivenMarker(batch)])
        count += batch.length
      }
    return count
  } finally {
    await producer.close()
  }
}

export async function dlqRetry({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const log = await openLog(loaded, environment)
  try {
    const topic = await dlqOf(log, loaded.site.topicPrefix, args[0] as string)
    const isDry = options['dryRun'] === true
    const count = isDry ? chosen((await readAll(log, topic)).open, options).length : await redrive(log, topic, (open) => chosen(open, options))
    output.json({ topic, putBack: isDry ? 0 : count, wouldPutBack: count })
    output.line(isDry ? `${count} dead letters of ${topic} would be put back` : `${count} dead letters of ${topic} put back`)
    return 0
  } finally {
    await log.close()
  }
}
