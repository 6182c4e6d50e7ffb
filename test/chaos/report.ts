/**
 * What is said of a run.
 *
 * Owns: what makes a run bad beside its counts, the JSON document and the text. A run that met fewer faults than it was asked for, or compared nothing, is
 * bad: it would prove nothing. Pure.
 */
import type { ChaosOptions, ChaosResult } from './run.ts'

const LATE_SHARE_MAX = 0.1

/** Why the run proves nothing or too little; empty = it counts. */
export function shortcomings(options: ChaosOptions, result: ChaosResult): string[] {
  const { kills, verdict, crashes, isDrained } = result
  const short: string[] = []
  const fewer = (what: string, done: number, wanted: number): void => {
    if (done < wanted) short.push(`${done} ${what} of ${wanted}`)
  }
  fewer('member kills', kills.member, options.memberKills)
  fewer('broker kills', kills.broker, options.brokerKills)
  fewer('zombies', kills.zombie, options.zombies)
  fewer('network cuts', kills.cut, options.cuts)
  if (kills.member + kills.broker + kills.zombie + kills.cut === 0) short.push('no fault was met')
  if (verdict.windows === 0) short.push('no window was compared')
  if (verdict.results === 0) short.push('no result was compared')
  // Late is not lost; but a run of which much came late has compared little.
  const lateMax = Math.ceil(result.input.scrapes * LATE_SHARE_MAX)
  if (verdict.lateUnplanned > lateMax) short.push(`${verdict.lateUnplanned} records came late only for the faults, more than ${lateMax}: this machine is too slow for the run`)
  if (!isDrained) short.push('the input was not dealt with in time')
  for (const crash of crashes) short.push(crash)
  return short
}

const seconds = (ms: number): number => Math.round(ms / 100) / 10

/** The one document of `--json`. */
export function document(options: ChaosOptions, result: ChaosResult, short: readonly string[]): Record<string, unknown> {
  const { verdict, durations } = result
  const { faults, ...counts } = verdict
  return {
    lost: verdict.lost,
    wrong: verdict.wrong,
    doubled: verdict.doubled,
    kills: result.kills,
    seed: result.seed,
    input: result.input,
    compared: counts,
    startRetries: result.startRetries,
    crashes: result.crashes.length,
    executions: result.executions,
    sendsRepeated: result.published.sendsRepeated,
    durations: {
      startS: seconds(durations.startMs),
      inputS: seconds(durations.inputMs),
      drainS: seconds(durations.drainMs),
      compareS: seconds(durations.compareMs),
    },
    conditions: { brokers: 3, members: 5, node: process.version, spanS: options.spanMs / 1000 },
    shortcomings: short,
    faults,
  }
}

/** For people. */
export function printed(result: ChaosResult, short: readonly string[]): string {
  const { verdict: v, kills, input, durations } = result
  return [
    `seed ${result.seed}: ${input.samples} samples in ${input.scrapes} records, ${input.requests} requests`,
    `kills     ${kills.member} members, ${kills.broker} brokers, ${kills.zombie} zombies, ${kills.cut} network cuts`,
    `compared  ${v.windows} windows of ${v.samples} values, ${v.results} results, ${v.late} late (${v.lateUnplanned} of them only for the faults), dead letters ${JSON.stringify(v.deadLetters)}`,
    `repeats   ${JSON.stringify(v.repeats)}, ${result.executions} executions, ${v.ticks} ticks, ${result.startRetries} starts tried again`,
    `took      start ${seconds(durations.startMs)} s, input ${seconds(durations.inputMs)} s, drain ${seconds(durations.drainMs)} s, comparison ${seconds(durations.compareMs)} s`,
    ...v.faults.map((fault) => `fault     ${fault}`),
    ...short.map((text) => `short     ${text}`),
    `lost ${v.lost}, wrong ${v.wrong}, doubled ${v.doubled}`,
    '',
  ].join('\n')
}
