/** `sluice tail <topic>`: records as they come, each of them, whatever its bytes. */
import { SluiceError } from '../schemas/errors.ts'
import type { LogDriver, LogRecord, TailOptions } from '../schemas/log.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { openLog } from './open-log.ts'
import { shippedCodecs } from './shipped.ts'
import { onOneLine } from './printable.ts'
import { instant, readable, shownValue, text } from './readable.ts'

async function startOf(log: LogDriver, topic: string, from: string): Promise<TailOptions['from']> {
  if (from === 'start' || from === 'end') return from
  const back = Number(from)
  if (!Number.isSafeInteger(back) || back < 1) throw new SluiceError('SLU_USE', `--from ${from}: must be start, end or a number of records`)
  const ranges = await log.admin().ranges(topic)
  return new Map(ranges.map((r) => [r.partition, r.endOffset - BigInt(back) > r.startOffset ? r.endOffset - BigInt(back) : r.startOffset]))
}

export async function tail({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const topic = loaded.site.topicPrefix + (args[0] as string)
  const limit = options['limit'] === undefined ? Infinity : Number(options['limit'])
  if (!(limit > 0)) throw new SluiceError('SLU_USE', '--limit must be a number above 0')
  const isFull = options['full'] === true
  const codecs = shippedCodecs()
  const log = await openLog(loaded, environment)
  const show = (r: LogRecord): void => {
    const document = {
      topic: r.topic,
      partition: r.partition,
      offset: r.offset,
      timestampMs: r.timestampMs,
      key: text(r.key),
      headers: r.headers.map(([name, value]) => [name, text(value)]),
      value: readable(r.value, codecs),
    }
    output.json(document)
    output.line(`${r.topic}/${r.partition}/${r.offset}  ${instant(r.timestampMs)}  ${onOneLine(document.key ?? '-')}`)
    for (const [name, value] of document.headers) output.line(`  ${onOneLine(name ?? '')}: ${onOneLine(value ?? '-')}`)
    output.line(shownValue(document.value, isFull))
  }
  try {
    const tail = await log
      .reader()
      .open({ topic, partitions: 'all', from: await startOf(log, topic, String(options['from'])), committedOnly: true, untilEnd: options['untilEnd'] === true })
    const stop = (): void => void tail.close()
    process.once('SIGINT', stop)
    process.once('SIGTERM', stop)
    let shown = 0
    for await (const batch of tail)
      for (const record of batch.records) {
        if (shown >= limit) break
        show(record)
        if (++shown >= limit) void tail.close()
      }
    return 0
  } finally {
    await log.close()
  }
}
