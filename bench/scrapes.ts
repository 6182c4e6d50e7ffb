/**
 * The scrapes every benchmark uses: real structure and label lengths of dcgm-exporter, invented values, the same for the same node and turn.
 *
 * Owns: their text, how many samples one holds (a sample is one line with a value, mapped or not), and the shipped codecs.
 */
import { dcgmFields } from '../functions/normalize-telemetry/dcgm-fields.ts'
import { shippedCodecs } from '../cli/shipped.ts'
import type { LogRecord } from '../schemas/log.ts'

export const GPUS = 8
export const START_MS = 1_700_000_000_000
export const SCRAPE_MS = 15_000
const UNKNOWN_FAMILIES = 4

const families = [
  ...dcgmFields.filter((f) => f.labelled === undefined).map((f) => f.names[0] as string),
  ...Array.from({ length: UNKNOWN_FAMILIES }, (_, i) => `DCGM_FI_DEV_OTHER_${i}`),
]
export const SAMPLES = families.length * GPUS

export const codecs = shippedCodecs()

/** Deterministic: the same scrape for the same node and turn. */
export function scrapeText(node: number, turn: number): string {
  const lines: string[] = []
  for (const [f, family] of families.entries()) {
    lines.push(`# HELP ${family} A help text of the usual length (in its unit).`, `# TYPE ${family} gauge`)
    for (let gpu = 0; gpu < GPUS; gpu++) {
      const hex = ((node * GPUS + gpu) * 2_654_435_761).toString(16).padStart(12, '0').slice(-12)
      const value = f % 3 === 0 ? (1000 + f * 7 + gpu * 3 + turn * 11 + (node % 17)).toFixed(6) : String(400 + f * 13 + gpu + turn * 5 + (node % 23))
      lines.push(
        `${family}{gpu="${gpu}",UUID="GPU-1a2b3c4d-0000-4000-8000-${hex}",pci_bus_id="00000008:0${gpu}:00.0",device="nvidia${gpu}",modelName="NVIDIA GB200",hostname="tray-${node}",DCGM_FI_DRIVER_VERSION="580.82.07",container="server",namespace="tenant-${node % 20}",pod="llm-${node}"} ${value}`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}

export function scrapeRecord(node: number, turn: number): LogRecord {
  const timestampMs = START_MS + turn * SCRAPE_MS
  return {
    topic: 'telemetry.dcgm',
    partition: 0,
    offset: 0n,
    timestampMs,
    appendMs: timestampMs,
    key: Buffer.from(`tray-${node}`),
    value: Buffer.from(scrapeText(node, turn)),
    headers: [],
  }
}
