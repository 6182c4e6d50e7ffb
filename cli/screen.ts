/**
 * The live screen of `sluice start` on a terminal, and plain lines elsewhere.
 *
 * Owns: what is shown and how often (4 times a second at most, a line every 5 s without a terminal). Reads `SiteStatus`, changes nothing.
 */
import { stripVTControlCharacters, styleText } from 'node:util'
import { createLogUpdate } from 'log-update'
import { formatBytes, formatDuration } from '../schemas/units.ts'
import { NOTHING_OBSERVED } from './observe.ts'
import { printableTree } from './printable.ts'
import type { SiteStatus } from './site-status.ts'

const dim = (text: string): string => styleText('dim', text)
const bold = (text: string): string => styleText('bold', text)
const colour = (verdict: string): 'green' | 'yellow' | 'red' => (verdict === 'ROUTE_OK' ? 'green' : verdict === 'DEPRIORITISE' ? 'yellow' : 'red')

/** The screen as text; pure, so that a test can read it. */
export function renderScreen(status: SiteStatus, columns: number): string {
  // Before it is coloured: devices, rules and reasons come from records.
  const s = printableTree(status)
  const lines: string[] = []
  const simulated = s.isSimulated ? styleText('yellow', '  SIMULATED accelerators') : ''
  lines.push(`${bold(`sluice  ${s.site}`)}${simulated}  ${dim(`${s.log} log, up ${formatDuration(s.durationMs)}`)}`, '')
  lines.push(dim(`${'function'.padEnd(22)}${'in'.padStart(10)}${'out'.padStart(10)}${'late'.padStart(7)}${'dead'.padStart(7)}${'lag'.padStart(8)}  state`))
  for (const f of s.functions)
    lines.push(
      `${f.name.padEnd(22)}${String(f.in).padStart(10)}${String(f.out).padStart(10)}${String(f.late).padStart(7)}${String(f.deadLetters).padStart(7)}${String(f.lag).padStart(8)}  ${f.held === null ? 'running' : styleText('red', `held: ${f.held}`)}`,
    )
  lines.push('', dim('pools'))
  for (const p of s.pools) {
    const endpoints = p.endpoints
      .map((e) => styleText(colour(e.verdict), `${e.id}${e.verdict === 'ROUTE_OK' ? '' : ` ${e.verdict}`}${e.weight < 1 && e.weight > 0 ? ` ×${e.weight.toFixed(2)}` : ''}`))
      .join('  ')
    lines.push(`  ${p.name.padEnd(14)} ${dim(p.accelerator.padEnd(16))} ${endpoints}`)
  }
  const i = s.observed ?? NOTHING_OBSERVED
  lines.push('', `inference   ${i.requests} requests, ${i.results} results, ${i.ok} ok, ${i.failed} failed; p50 ${i.latencyMs.p50} ms, p99 ${i.latencyMs.p99} ms`)
  lines.push(`windows     ${s.windowsClosed} closed`)
  lines.push(
    `egress      ${i.egress.released} released (${formatBytes(i.egress.bytes)}), ${i.egress.withheld} withheld, ${i.egress.denied} denied; ledger ${s.ledgerSize} leaves; policy ${s.policy}`,
  )
  const verdicts = i.verdicts.slice(-4)
  if (verdicts.length > 0) lines.push('', dim('verdicts'))
  for (const v of verdicts) lines.push(`  ${styleText(colour(v.verdict), v.verdict.padEnd(14))} ${v.rule.padEnd(26)} ${v.device}  ${dim(v.endpoints.join(' '))}`)
  for (const p of s.problems.slice(-3)) lines.push(styleText('yellow', `! ${p}`))
  lines.push('', dim(`${s.metricsUrl ?? ''}   Ctrl-C stops`))
  return lines.map((line) => clip(line, columns)).join('\n')
}

/** Cuts a line to the width; a line that is too long loses its colours. */
function clip(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line)
  return plain.length <= columns ? line : plain.slice(0, columns)
}

/** One plain line for logs. */
export function renderLine(status: SiteStatus): string {
  const s = printableTree(status)
  const i = s.observed
  const held = s.functions.flatMap((f) => (f.held === null ? [] : [`${f.name} held: ${f.held}`]))
  const seen =
    i === null
      ? s.functions.map((f) => `${f.name} ${f.in} in, ${f.out} out`)
      : [
          `requests ${i.requests}/${i.results}`,
          `windows ${s.windowsClosed}`,
          `verdicts ${i.verdicts.length}`,
          `egress ${i.egress.released}/${i.egress.withheld}/${i.egress.denied}`,
          `ledger ${s.ledgerSize}`,
        ]
  return [`up ${formatDuration(s.durationMs)}`, ...seen, ...held].join('  ')
}

export interface Screen {
  stop(): void
}

/** Redraws on a terminal; otherwise a line every five seconds on stderr. */
export function startScreen(status: () => SiteStatus, mode: 'live' | 'lines' | 'none'): Screen {
  if (mode === 'none') return { stop: () => {} }
  if (mode === 'lines') {
    const timer = setInterval(() => process.stderr.write(`${renderLine(status())}\n`), 5000)
    return { stop: () => clearInterval(timer) }
  }
  const update = createLogUpdate(process.stdout)
  const draw = (): void => update(renderScreen(status(), process.stdout.columns > 0 ? process.stdout.columns : 100))
  const timer = setInterval(draw, 250)
  draw()
  return {
    stop: () => {
      clearInterval(timer)
      draw()
      update.done()
    },
  }
}
