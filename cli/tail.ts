/** `sluice tail <topic>`: records as they come, Avro decoded, everything else as text where it is text. */
import { isUtf8 } from 'node:buffer'
import type { Codecs } from '../schemas/codec.ts'
import { SluiceError } from '../schemas/errors.ts'
import type { LogDriver, LogRecord, TailOptions } from '../schemas/log.ts'
import type { NodeBatch } from '../schemas/records.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { openLog } from './open-log.ts'
import { shippedCodecs } from './shipped.ts'
import { toJson } from './output.ts'

export const text = (bytes: Buffer | null): string | null => (bytes === null ? null : isUtf8(bytes) ? bytes.toString('utf8') : `base64:${bytes.toString('base64')}`)

/** NodeBatch columns as rows a person can read. */
function nodeBatchRows(batch: NodeBatch, codecs: Codecs): unknown {
  const layout = codecs.decodeBare('NodeLayout', batch.layout)
  const rows = []
  for (let i = 0; i * 8 < batch.value.length; i++) {
    const device = layout.devices[batch.deviceIndex.readUInt16LE(i * 2)]
    const metric = layout.metrics[batch.metricIndex.readUInt16LE(i * 2)]
    rows.push({ device: device?.id, pool: device?.pool, metric: metric?.name, unit: metric?.unit, ...metric?.attributes, value: batch.value.readDoubleLE(i * 8) })
  }
  return { site: batch.site, node: batch.node, source: batch.source, observedMs: batch.observedMs, part: batch.part, samples: rows }
}

/** A value as a person reads it. Never throws: what cannot be decoded is shown as it is. */
export function readable(value: Buffer | null, codecs: Codecs): unknown {
  if (value === null) return null
  const name = codecs.nameOf(value)
  if (name !== null)
    try {
      const decoded = codecs.decode(name, value)
      return {
        [name]:
          name === 'NodeBatch' ? nodeBatchRows(decoded as NodeBatch, codecs) : JSON.parse(toJson(decoded), (_k, v: unknown) => (isBufferJson(v) ? text(Buffer.from(v.data)) : v)),
      }
    } catch {
      return text(value)
    }
  const asText = text(value)
  if (asText !== null && asText.startsWith('{'))
    try {
      return JSON.parse(asText)
    } catch {
      return asText
    }
  return asText
}

const isBufferJson = (v: unknown): v is { type: 'Buffer'; data: number[] } =>
  typeof v === 'object' && v !== null && (v as { type?: unknown }).type === 'Buffer' && Array.isArray((v as { data?: unknown }).data)

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
    output.line(`${r.topic}/${r.partition}/${r.offset}  ${new Date(r.timestampMs).toISOString()}  ${text(r.key) ?? '-'}`)
    for (const [name, value] of document.headers) output.line(`  ${name}: ${value}`)
    output.line(`  ${typeof document.value === 'string' ? document.value : toJson(document.value)}`)
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
