/**
 * `npm run simulate -- [name…] [--seeds N] [--seed n] [--mutations [mutant…]] [--jobs N] [--json]`: seeded runs of the real core against an independent reference.
 *
 * Owns: the command line, the sums, and how a bad seed is replayed. `--seeds N` (default 500) are dealt out evenly among the simulations named, or all;
 * they run on every core, or `--jobs N` of them. `--seed n` runs one seed of each. `--mutations` takes every guard away in turn and shows that the simulations notice
 * (mutants.ts), each within `--seeds N` of a simulation (default 6000: some guards are met once in a thousand). One JSON document at the end with --json:
 * `{seeds, lost, wrong, doubled, kills, bad[], simulations{<name>: sums}}`, or
 * `{mutants[], survivors[]}`. Exit codes: 0 no difference, 1 bad use, 3 some run was bad or a mutant survived.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { crew } from './crew.ts'
import { MUTANTS } from './mutants.ts'
import { prove, type Proof } from './prove.ts'
import { simulationOf, SIMULATIONS } from './simulations.ts'
import type { Asked } from './worker.ts'

const USAGE = `usage: npm run simulate -- [${Object.keys(SIMULATIONS).join('|')}] [--seeds N] [--seed n] [--jobs N] [--json]
       npm run simulate -- --mutations [mutant…] [--seeds N] [--jobs N] [--json]
`
/** Bad runs told in full. */
const TOLD_MAX = 20

interface Command {
  readonly names: readonly string[]
  readonly seeds: number
  readonly seed: number | null
  readonly jobs: number
  readonly isJson: boolean
  readonly isProof: boolean
}

/** Null = bad use. */
function commandOf(args: readonly string[]): Command | null {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        jobs: { type: 'string', default: String(availableParallelism()) },
        json: { type: 'boolean', default: false },
        mutations: { type: 'boolean', default: false },
      },
    })
    const seeds = Number(values.seed ?? values.seeds ?? (values.mutations ? 6000 : 500))
    const jobs = Number(values.jobs)
    const known = values.mutations ? MUTANTS.map(({ name }) => name) : Object.keys(SIMULATIONS)
    const isKnown = (name: string): boolean => known.includes(name) || (!values.mutations && simulationOf(name) !== undefined)
    if (!Number.isSafeInteger(seeds) || seeds < 1 || !Number.isSafeInteger(jobs) || jobs < 1 || !positionals.every(isKnown)) return null
    return { names: positionals.length === 0 ? known : positionals, seeds, seed: values.seed === undefined ? null : seeds, jobs, isJson: values.json, isProof: values.mutations }
  } catch {
    return null
  }
}

const isTty = process.stderr.isTTY
const progress = (text: string): void => void (isTty && process.stderr.write(`\r\u001b[K${text}`))
const tell = (text: string): void => void process.stderr.write(`${isTty ? '\r\u001b[K' : ''}${text}\n`)

function* dealt({ names, seeds, seed }: Command): Generator<Asked> {
  if (seed !== null) for (const name of names) yield { name, seed }
  else for (let i = 0; i < seeds; i++) yield { name: names[i % names.length] as string, seed: Math.floor(i / names.length) + 1 }
}

async function simulate(command: Command): Promise<number> {
  const total = { lost: 0, wrong: 0, doubled: 0, kills: 0 }
  const bad: string[] = []
  const simulations: Record<string, Record<string, number>> = Object.fromEntries(command.names.map((name) => [name, { seeds: 0 }]))
  const seeds = dealt(command)
  const seedsMax = command.seed === null ? command.seeds : command.names.length
  let done = 0
  await crew(
    () => seeds.next().value as Asked | undefined,
    (answered) => {
      const { name, seed } = answered
      const sums = simulations[name] as Record<string, number>
      done++
      sums['seeds'] = (sums['seeds'] ?? 0) + 1
      if (done % 20 === 0) progress(`${done} of ${seedsMax} seeds, ${bad.length} bad`)
      const outcome = 'outcome' in answered ? answered.outcome : { lost: 0, wrong: 1, doubled: 0, counts: {}, breaches: [answered.thrown] }
      for (const [key, value] of Object.entries(outcome.counts)) sums[key] = (sums[key] ?? 0) + value
      for (const key of ['lost', 'wrong', 'doubled'] as const) total[key] += outcome[key]
      total.kills += outcome.counts['kills'] ?? 0
      if (outcome.lost + outcome.wrong + outcome.doubled === 0) return true
      bad.push(`npm run simulate -- ${name} --seed ${seed}`)
      if (bad.length <= TOLD_MAX) tell(`${bad.at(-1)}: ${JSON.stringify(outcome, null, 1)}`)
      return true
    },
    command.jobs,
  )
  progress('')
  if (command.isJson) process.stdout.write(`${JSON.stringify({ seeds: done, ...total, bad, simulations })}\n`)
  else {
    for (const [name, sums] of Object.entries(simulations)) process.stdout.write(`${name.padEnd(14)} ${JSON.stringify(sums)}\n`)
    process.stdout.write(
      `${done} seeds: lost ${total.lost}, wrong ${total.wrong}, doubled ${total.doubled}, kills ${total.kills}\n${bad.map((line) => `replay: ${line}\n`).join('')}`,
    )
  }
  return bad.length === 0 ? 0 : 3
}

async function mutate({ names, jobs, seeds, isJson }: Command): Promise<number> {
  const proofs: Proof[] = []
  for (const mutant of MUTANTS.filter(({ name }) => names.includes(name))) {
    progress(`${proofs.length} of ${names.length} mutants: ${mutant.name}`)
    const proof = await prove(mutant, jobs, seeds)
    proofs.push(proof)
    const { invariants, name, simulation, seed, runs, said } = proof
    progress('')
    if (!isJson)
      process.stdout.write(
        `${invariants.join(' ').padEnd(10)} ${name.padEnd(34)} ${seed === null ? `SURVIVED ${runs} runs` : `${simulation} --seed ${seed}`.padEnd(26)} ${seed === null ? '' : said.slice(0, 90)}\n`,
      )
  }
  const survivors = proofs.filter(({ seed }) => seed === null).map(({ name }) => name)
  if (isJson) process.stdout.write(`${JSON.stringify({ mutants: proofs, survivors })}\n`)
  else process.stdout.write(`${proofs.length} guards taken away, ${proofs.length - survivors.length} noticed${survivors.map((name) => `\nsurvived: ${name}`).join('')}\n`)
  return survivors.length === 0 ? 0 : 3
}

async function main(args: readonly string[]): Promise<number> {
  const command = commandOf(args)
  if (command === null) {
    process.stderr.write(USAGE)
    return 1
  }
  return command.isProof ? mutate(command) : simulate(command)
}

process.exitCode = await main(process.argv.slice(2))
