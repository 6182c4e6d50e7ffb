/**
 * `sluice ps`: what the running processes of a site do: three lags by partition (W9), and why one stands still.
 *
 * Owns: which processes there are (those of this host that registered, and who answers where the site says), asking each for its status and showing it. A
 * process knows its position and its watermark; the log knows neither.
 */
import { SluiceError } from '../schemas/errors.ts'
import { formatDuration } from '../schemas/units.ts'
import type { Invocation } from './invocation.ts'
import type { Output } from './output.ts'
import { loadSite } from './load-site.ts'
import { onOneLine, printableTree } from './printable.ts'
import { knownProcesses } from './processes.ts'
import type { PartitionRow, ProcessStatus } from './site-status.ts'

const ANSWER_MS = 3000

/** As `/status` answers: offsets are numbers there, or text beyond 2^53. */
async function statusOf(url: string): Promise<ProcessStatus> {
  const at = `${url.replace(/\/+$/, '')}/status`
  try {
    const answer = await fetch(at, { signal: AbortSignal.timeout(ANSWER_MS) })
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
    return (await answer.json()) as ProcessStatus
  } catch (cause) {
    throw new SluiceError('SLU_ENV_NOT_RUNNING', at, cause)
  }
}

const cell = (value: bigint | number | string | null, width: number): string => (value === null ? '-' : String(value)).padStart(width)

/** One line a partition, held ones first: they are why somebody looks. */
export function partitionLines(rows: readonly PartitionRow[]): string[] {
  const rank = { held: 0, paused: 1, running: 2 } as const
  // A process at a --url need not be ours.
  const sorted = printableTree(rows).toSorted(
    (a, b) => rank[a.state] - rank[b.state] || a.function.localeCompare(b.function) || a.topic.localeCompare(b.topic) || a.partition - b.partition,
  )
  return [
    `${'function'.padEnd(22)} ${'partition'.padEnd(28)} ${'state'.padEnd(8)} ${'lag'.padStart(8)} ${'committed'.padStart(9)} ${'watermark'.padStart(9)} ${'in flight'.padStart(9)}`,
    ...sorted.flatMap((r) => [
      `${r.function.padEnd(22)} ${`${r.topic}/${r.partition}`.padEnd(28)} ${r.state.padEnd(8)} ${cell(r.processingLag, 8)} ${cell(r.committedLag, 9)} ${cell(r.watermarkLagMs === null ? null : formatDuration(r.watermarkLagMs), 9)} ${cell(r.inFlight, 9)}`,
      ...(r.reason === null ? [] : [`  ${r.code === null ? '' : `${r.code}  `}${r.reason}`]),
    ]),
  ]
}

type Answer = ProcessStatus & { readonly url: string }

const answerOf = async (url: string): Promise<Answer> => ({ url, ...(await statusOf(url)) })

/** Of the site, on this host. Rejects with SLU_ENV_NOT_RUNNING where none answers. */
async function processesHere(siteFile: string, output: Output): Promise<Answer[]> {
  const loaded = loadSite(siteFile)
  const { site, observability } = loaded.site
  const known = knownProcesses(loaded)
  const named = `http://${observability.health.listen}`
  const asked = await Promise.allSettled(known.map(({ url }) => answerOf(url)))
  const answers = asked.flatMap((one, i) => {
    const { pid, url } = known[i] as (typeof known)[number]
    if (one.status === 'rejected') output.note(`pid ${pid} does not answer at ${url}`)
    // Its pid or its port may be somebody else's by now.
    return one.status === 'fulfilled' && one.value.pid === pid && one.value.site === site ? [one.value] : []
  })
  if (answers.some(({ url }) => url === named)) return answers
  // One of another host's or container's folder, whose port leads here.
  const more = await answerOf(named).catch((error: unknown) => {
    if (answers.length === 0) throw error
    return null
  })
  return more === null || answers.some(({ pid }) => pid === more.pid) || (answers.length > 0 && more.site !== site) ? answers : [...answers, more]
}

export async function ps({ siteFile, output }: Invocation, _args: string[], options: Record<string, unknown>): Promise<number> {
  const given = Array.isArray(options['url']) ? (options['url'] as string[]) : null
  const processes = given === null ? await processesHere(siteFile, output) : await Promise.all(given.map(answerOf))
  output.json({ processes })
  for (const p of processes) {
    output.line(
      onOneLine(`${p.site}  ${p.url}  pid ${p.pid}, up ${formatDuration(p.upMs)}, sluice ${p.version}${p.reasons.length === 0 ? '' : `  NOT READY: ${p.reasons.join('; ')}`}`),
    )
    for (const line of partitionLines(p.partitions)) output.line(line)
  }
  return 0
}
