/** Which health rules wait for a signal that does not arrive: the newest records of `hardware.telemetry` against the site's rules. Reads only. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { unheardRules, type SeenMetric } from '../functions/assess-health/unheard-rules.ts'
import { parseHealthRules } from '../schemas/health-rules.ts'
import type { LogDriver } from '../schemas/log.ts'
import type { LoadedSite } from './load-site.ts'
import { shippedCodecs } from './shipped.ts'

/** Looked back for in each partition: several rounds of a large hall. */
const RECORDS_BACK = 500n

/** Sentences for a person; empty = every rule has heard its signal. */
export async function unheardNotes(log: LogDriver, loaded: LoadedSite): Promise<string[]> {
  const { rules } = parseHealthRules(parse(readFileSync(loaded.pathOf(loaded.site.functions['assess-health'].rules), 'utf8')))
  const codecs = shippedCodecs()
  const topic = `${loaded.site.topicPrefix}hardware.telemetry`
  const ranges = await log.admin().ranges(topic)
  const from = new Map(ranges.map((r) => [r.partition, r.endOffset - RECORDS_BACK > r.startOffset ? r.endOffset - RECORDS_BACK : r.startOffset]))
  const reader = log.reader()
  const tail = await reader.open({ topic, partitions: 'all', from, committedOnly: true, untilEnd: true })
  const layouts = new Map<string, readonly SeenMetric[]>()
  for await (const { records } of tail)
    for (const { value } of records) {
      if (value === null) continue
      try {
        const { layout } = codecs.decode('NodeBatch', value)
        const key = layout.toString('latin1')
        if (!layouts.has(key)) layouts.set(key, codecs.decodeBare('NodeLayout', layout).metrics)
      } catch {
        // What cannot be read is a dead letter of assess-health; here it holds no signal.
      }
    }
  await tail.close()
  await reader.close()
  if (layouts.size === 0) return ['no telemetry has arrived yet: no health rule has heard its signal']
  const unheard = unheardRules(rules, [...layouts.values()].flat())
  return [...unheard].map(([signal, ids]) => `no telemetry of late holds ${signal}: ${ids.join(', ')} cannot act`)
}
