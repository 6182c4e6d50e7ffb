/**
 * `npm run chaos -- [--samples N] [--minutes M] [--seed n] [--json] …`: real Kafka, real processes, killed in the middle of their work; then the
 * sinks are compared with an independent computation of what went in.
 *
 * Owns: options, what makes a run bad, and what is printed: progress on stderr, the counts on stdout (with --json one document). A run that met
 * fewer faults than it was asked for, or compared nothing, is bad: it would prove nothing.
 * Exit codes: 0 nothing lost, wrong or doubled; 1 bad use; 2 no Kafka can be started; 3 a bad run; 130 interrupted, everything stopped.
 */
import { parseArgs } from 'node:util'
import { asSluiceError, causeChain, SluiceError } from '../../schemas/errors.ts'
import { isKafkaAvailable } from '../../infra/deploy/kafka/jars.ts'
import { document, printed, shortcomings } from './report.ts'
import { runChaos, type ChaosOptions, type Progress } from './run.ts'

const DEFAULTS = { samples: 1_000_000, requests: 3000, minutes: 4, memberKills: 24, brokerKills: 6, zombies: 4, cuts: 4 }
const USAGE = `usage: npm run chaos -- [--samples N] [--requests N] [--minutes M] [--seed n] [--member-kills N] [--broker-kills N] [--zombies N] [--cuts N] [--keep] [--json]
defaults: ${Object.entries(DEFAULTS)
  .map(([name, value]) => `${name} ${value}`)
  .join(', ')}; --keep leaves logs and data of the run
`
const PROGRESS_MS = 1000
const LINE_MS = 15_000

/** Null = bad use. */
function asked(args: readonly string[]): { readonly options: ChaosOptions; readonly isJson: boolean } | null {
  const text = { type: 'string' } as const
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        samples: text,
        requests: text,
        minutes: text,
        seed: text,
        'member-kills': text,
        'broker-kills': text,
        zombies: text,
        cuts: text,
        keep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    })
    const seed = Number(values.seed ?? (Date.now() % 1_000_000) + 1)
    const minutes = Number(values.minutes ?? DEFAULTS.minutes)
    const options = {
      seed,
      samples: Number(values.samples ?? DEFAULTS.samples),
      requests: Number(values.requests ?? DEFAULTS.requests),
      spanMs: Math.round(minutes * 60_000),
      memberKills: Number(values['member-kills'] ?? DEFAULTS.memberKills),
      brokerKills: Number(values['broker-kills'] ?? DEFAULTS.brokerKills),
      zombies: Number(values.zombies ?? DEFAULTS.zombies),
      cuts: Number(values.cuts ?? DEFAULTS.cuts),
      isKept: values.keep,
    }
    const isWhole = [options.samples, options.requests, options.spanMs, seed].every((n) => Number.isSafeInteger(n) && n >= 1)
    const areCounts = [options.memberKills, options.brokerKills, options.zombies, options.cuts].every((n) => Number.isSafeInteger(n) && n >= 0)
    return isWhole && areCounts && minutes <= 120 ? { options, isJson: values.json } : null
  } catch {
    return null
  }
}

const progressLine = ({ stage, published, planned, membersUp }: Progress): string =>
  `${stage}: ${published.scrapes}/${planned.scrapes} records, ${published.requests}/${planned.requests} requests in, ${membersUp} members up`

async function main(args: readonly string[]): Promise<number> {
  const wanted = asked(args)
  if (wanted === null) {
    process.stderr.write(USAGE)
    return 1
  }
  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => interrupted.abort(new Error(name)))
  const isTty = process.stderr.isTTY
  const say = (line: string): void => void process.stderr.write(isTty ? `\r\x1b[K${line}\n` : `${line}\n`)
  let timer: NodeJS.Timeout | null = null
  try {
    const { available, reason } = await isKafkaAvailable()
    if (!available) throw new SluiceError('SLU_ENV_TOOL', reason)
    const result = await runChaos(wanted.options, interrupted.signal, say, (progress) => {
      timer = setInterval(() => process.stderr.write(isTty ? `\r\x1b[K${progressLine(progress())}` : `${progressLine(progress())}\n`), isTty ? PROGRESS_MS : LINE_MS)
    })
    if (isTty) process.stderr.write('\r\x1b[K')
    const short = shortcomings(wanted.options, result)
    process.stdout.write(wanted.isJson ? `${JSON.stringify(document(wanted.options, result, short))}\n` : printed(result, short))
    if (wanted.isJson) for (const text of [...result.verdict.faults, ...short]) say(text)
    if (wanted.options.isKept) say(`logs and data: ${result.dir}`)
    const { lost, wrong, doubled } = result.verdict
    return lost + wrong + doubled + short.length === 0 ? 0 : 3
  } catch (thrown) {
    if (interrupted.signal.aborted) {
      say('interrupted: everything is stopped')
      return 130
    }
    const error = asSluiceError(thrown, 'SLU_INTERNAL')
    say([error.message, ...causeChain(error.cause).map((m) => `  because ${m}`)].join('\n'))
    return 2
  } finally {
    if (timer !== null) clearInterval(timer)
  }
}

process.exitCode = await main(process.argv.slice(2))
