/**
 * `npm run simulate -- [windows|once|routing] [--seeds N] [--seed n] [--json]`: seeded runs of the real core against an independent reference.
 *
 * Owns: which simulations there are, what makes a run bad, the sums, and how a bad seed is replayed. One JSON document at the end with --json:
 * `{seeds, lost, wrong, doubled, kills, bad[], simulations{<name>: sums}}`. Exit codes: 0 no difference, 1 bad use, 3 some run was bad.
 */
import { parseArgs } from 'node:util'
import { simulateOnce } from './once.ts'
import { simulateRouting } from './routing.ts'
import { simulateWindows } from './windows.ts'

/** Counts of one run under the names that the document sums. */
interface Outcome {
  readonly lost: number
  readonly wrong: number
  readonly doubled: number
  readonly counts: Readonly<Record<string, number>>
}

const numbersOf = (run: object): Record<string, number> => Object.fromEntries(Object.entries(run).filter((e): e is [string, number] => typeof e[1] === 'number' && e[0] !== 'seed'))

const SIMULATIONS: Readonly<Record<string, (seed: number) => Promise<Outcome>>> = {
  windows: async (seed) => {
    const run = await simulateWindows(seed)
    return { lost: run.unclosed, wrong: run.wrong + run.misplaced + run.regressed + run.fatal, doubled: run.differing, counts: numbersOf(run) }
  },
  once: async (seed) => {
    const run = await simulateOnce(seed)
    return { lost: run.unanswered, wrong: run.wrong, doubled: run.doubled, counts: numbersOf(run) }
  },
  routing: async (seed) => {
    const run = await simulateRouting(seed)
    return { lost: 0, wrong: run.breaches.length, doubled: 0, counts: numbersOf(run) }
  },
}

const USAGE = `usage: npm run simulate -- [${Object.keys(SIMULATIONS).join('|')}] [--seeds N] [--seed n] [--json]\n`
const PROGRESS_EVERY = 100

interface Asked {
  readonly names: readonly string[]
  readonly seeds: readonly number[]
  readonly isJson: boolean
}

/** Null = bad use. */
function asked(args: readonly string[]): Asked | null {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { seeds: { type: 'string', default: '200' }, seed: { type: 'string' }, json: { type: 'boolean', default: false } },
    })
    const count = Number(values.seed ?? values.seeds)
    if (!Number.isSafeInteger(count) || count < 1 || positionals.some((name) => SIMULATIONS[name] === undefined)) return null
    const seeds = values.seed === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [count]
    return { names: positionals.length === 0 ? Object.keys(SIMULATIONS) : positionals, seeds, isJson: values.json }
  } catch {
    return null
  }
}

async function main(args: readonly string[]): Promise<number> {
  const wanted = asked(args)
  if (wanted === null) {
    process.stderr.write(USAGE)
    return 1
  }
  const total = { lost: 0, wrong: 0, doubled: 0, kills: 0 }
  const bad: string[] = []
  const simulations: Record<string, Record<string, number>> = {}
  for (const name of wanted.names) {
    const sums: Record<string, number> = {}
    simulations[name] = sums
    const simulate = SIMULATIONS[name] as (seed: number) => Promise<Outcome>
    for (const [i, seed] of wanted.seeds.entries()) {
      const { counts, ...ends } = await simulate(seed)
      for (const [key, value] of Object.entries(counts)) sums[key] = (sums[key] ?? 0) + value
      for (const key of ['lost', 'wrong', 'doubled'] as const) total[key] += ends[key]
      total.kills += counts['kills'] ?? 0
      if (ends.lost + ends.wrong + ends.doubled > 0) {
        bad.push(`npm run simulate -- ${name} --seed ${seed}`)
        process.stderr.write(`${name} seed ${seed}: ${JSON.stringify({ ...ends, ...counts })}\n`)
      }
      if ((i + 1) % PROGRESS_EVERY === 0 && process.stderr.isTTY) process.stderr.write(`\r${name} ${i + 1}/${wanted.seeds.length}, ${bad.length} bad `)
    }
    if (!wanted.isJson) process.stdout.write(`${name.padEnd(8)} ${wanted.seeds.length} seeds  ${JSON.stringify(sums)}\n`)
  }
  if (wanted.isJson) process.stdout.write(`${JSON.stringify({ seeds: wanted.seeds.length, ...total, bad, simulations })}\n`)
  else process.stdout.write(`lost ${total.lost}, wrong ${total.wrong}, doubled ${total.doubled}, kills ${total.kills}\n${bad.map((line) => `replay: ${line}\n`).join('')}`)
  return bad.length === 0 ? 0 : 3
}

process.exitCode = await main(process.argv.slice(2))
