/**
 * `sluice topics apply|ls`: create what is missing, show what is there, say what breaks a guarantee (W1, R1).
 *
 * Owns: the topics of handlers outside of the site's table, with the settings their kind needs, and the command that creates them.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { LogAdmin, TopicInfo, TopicSpec } from '../schemas/log.ts'
import type { Site } from '../schemas/site.ts'
import { COMPANION_HEADER_BYTES, logicalName, topicRow, topics, topicSpecs, type TopicRow } from '../schemas/topics.ts'
import type { AnyFunction } from '../streams/define-function.ts'
import { isFunctionName } from './functions.ts'
import { loadHandler } from './load-handler.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { openLog } from './open-log.ts'

const HOUR_MS = 3_600_000

/** What a handler touches, as rows: settings as its kind needs them (start-checks.ts). Topics of the site's own table are among them. */
export function handlerTopics(definition: AnyFunction): TopicRow[] {
  const isWindowed = definition.kind === 'window' || definition.kind === 'combine'
  const of = `${definition.name} (${definition.kind})`
  return [
    ...(definition.kind === 'fold' ? [topicRow(definition.stateTopic, `state of ${of}`, { cleanup: 'compact', retentionMs: -1 })] : []),
    ...(definition.kind === 'task' && definition.once !== undefined
      ? [topicRow(definition.once.resultsTopic, `results of ${of}`, { companions: [], retentionMs: 72 * HOUR_MS + definition.once.dedupeMs })]
      : []),
    ...definition.inputs.map((topic) => topicRow(topic, `input of ${of}`, { companions: isWindowed ? ['late', 'dlq'] : ['dlq'] })),
    ...definition.outputs.map((topic) => topicRow(topic, `output of ${of}`, { companions: [] })),
  ]
}

/** Rows of one topic as one: compacted and kept for ever if one says so, the companions of all. */
function oneRow([first, ...rest]: readonly [TopicRow, ...TopicRow[]]): TopicRow {
  return rest.reduce(
    (a, b) => ({
      ...a,
      cleanup: a.cleanup === 'compact' ? a.cleanup : b.cleanup,
      retentionMs: a.retentionMs === -1 || b.retentionMs === -1 ? -1 : Math.max(a.retentionMs, b.retentionMs),
      companions: [...new Set([...a.companions, ...b.companions])],
    }),
    first,
  )
}

/** Topics of the table, source topics of the site that the table does not have, and `more`. The table's own settings are kept. */
export function siteTopicSpecs(site: Site, more: readonly TopicRow[] = []): TopicSpec[] {
  const { partitions, replication, maxMessageBytes } = site.log.topics
  const extra = Map.groupBy([...site.sources.map((s) => topicRow(s.topic, s.format)), ...more], (row) => row.name)
  const own = topics.map((row) => ({ ...row, companions: [...new Set([...row.companions, ...(extra.get(row.name) ?? []).flatMap((r) => r.companions)])] }))
  const known = new Set(topics.map((row) => row.name))
  const others = [...extra].flatMap(([name, rows]) => (known.has(name) ? [] : [oneRow(rows as [TopicRow, ...TopicRow[]])]))
  return topicSpecs({ prefix: site.topicPrefix, partitions, replication, maxMessageBytes }, [...own, ...others])
}

/** Of those, what a command is about: `named` alone, unless that is nothing or the site's own are asked for too. */
export function chosenSpecs(site: Site, named: readonly TopicRow[], isWithSite: boolean): TopicSpec[] {
  const specs = siteTopicSpecs(site, named)
  if (isWithSite || named.length === 0) return specs
  const wanted = new Set(named.flatMap((row) => [row.name, ...row.companions.map((suffix) => `${row.name}.${suffix}`)]))
  return specs.filter((spec) => wanted.has(logicalName(spec.name, site.topicPrefix)))
}

const COMPANION = /\.(dlq|late)$/

export interface TopicProblem {
  readonly topic: string
  readonly message: string
}

/** Throws SLU_LOG_FORBIDDEN where the settings of a topic of ours may not be seen: what they break cannot be told. */
export function assertSettingsSeen(specs: readonly TopicSpec[], existing: readonly TopicInfo[]): void {
  const ours = new Set(specs.map((s) => s.name))
  const unseen = existing.filter((t) => ours.has(t.name) && t.timestampType === null).map((t) => t.name)
  if (unseen.length > 0) throw new SluiceError('SLU_LOG_FORBIDDEN', `DescribeConfigs of ${unseen.join(', ')}`)
}

/** What of the existing topics breaks a guarantee. */
export function topicProblems(specs: readonly TopicSpec[], existing: readonly TopicInfo[]): TopicProblem[] {
  const by = new Map(existing.map((t) => [t.name, t]))
  const problems: TopicProblem[] = []
  const windowed = new Set(specs.filter((s) => specs.some((late) => late.name === `${s.name}.late`)).map((s) => s.name))
  for (const spec of specs) {
    const have = by.get(spec.name)
    if (have === undefined) problems.push({ topic: spec.name, message: 'does not exist' })
    else if (have.cleanup === null) problems.push({ topic: spec.name, message: 'its settings may not be seen: no right to DescribeConfigs' })
    else {
      // Only a windowed input rests on append time; elsewhere it is a preference an operator may overrule.
      if (windowed.has(spec.name) && have.timestampType !== 'LogAppendTime') problems.push({ topic: spec.name, message: 'message.timestamp.type must be LogAppendTime (W1)' })
      if (spec.cleanup === 'compact' && !have.cleanup.includes('compact')) problems.push({ topic: spec.name, message: 'cleanup.policy must be compact' })
      const source = by.get(spec.name.replace(COMPANION, ''))
      const [own, ofSource] = [have.maxMessageBytes ?? null, source?.maxMessageBytes ?? null]
      if (own !== null && ofSource !== null && own < ofSource)
        problems.push({ topic: spec.name, message: `max.message.bytes is ${own}, less than the ${ofSource} of ${source?.name}: a record of that size could not be parked (D3)` })
      if (spec.cleanup === 'delete' && have.cleanup.includes('compact')) problems.push({ topic: spec.name, message: 'cleanup.policy must not be compact: records would be lost' })
    }
  }
  const requests = specs.find((s) => s.name.endsWith('inference.requests'))?.name
  const results = specs.find((s) => s.name.endsWith('inference.results'))?.name
  const [a, b] = [by.get(requests ?? ''), by.get(results ?? '')]
  if (a !== undefined && b !== undefined && a.partitions !== b.partitions)
    problems.push({ topic: b.name, message: `has ${b.partitions} partitions, ${a.name} has ${a.partitions}: they must be equal (R1)` })
  return problems
}

/** Companions take whatever a source that somebody else made takes (D3). */
export const roomy = (specs: readonly TopicSpec[], existing: readonly TopicInfo[]): TopicSpec[] =>
  specs.map((spec) => {
    const source = existing.find(({ name }) => COMPANION.test(spec.name) && name === spec.name.replace(COMPANION, ''))
    return source === undefined ? spec : { ...spec, maxMessageBytes: Math.max(spec.maxMessageBytes, (source.maxMessageBytes ?? 0) + COMPANION_HEADER_BYTES) }
  })

/** Creates what is missing. Throws SLU_LOG_TOPIC_MISCONFIGURED naming every problem that creation does not solve. */
export async function applyTopics(admin: LogAdmin, site: Site, chosen: readonly TopicSpec[] = siteTopicSpecs(site)): Promise<{ created: string[]; existing: string[] }> {
  const specs = roomy(chosen, await admin.topics(site.topicPrefix))
  const result = await admin.createTopics(specs)
  const infos = await admin.topics(site.topicPrefix)
  assertSettingsSeen(specs, infos)
  const problems = topicProblems(specs, infos)
  if (problems.length > 0) throw new SluiceError('SLU_LOG_TOPIC_MISCONFIGURED', problems.map((p) => `${p.topic} ${p.message}`).join('; '))
  return result
}

/** Topics given as a list with commas. */
export function topicList(given: unknown): string[] {
  const names = typeof given === 'string' ? given.split(',').map((name) => name.trim()) : []
  for (const name of names) if (name !== '' && !/^[a-zA-Z0-9._-]{1,200}$/.test(name)) throw new SluiceError('SLU_USE', `--topics ${name}: must be a topic name`)
  return names.filter((name) => name !== '')
}

/**
 * What the arguments name: topics of handler files and of `--topics`, which are also the inputs of the AWS Lambda handlers among them. Functions of the site
 * stand for all of its topics: each writes what another reads.
 */
async function specsOf(site: Site, args: readonly string[], options: Record<string, unknown>): Promise<TopicSpec[]> {
  const named = topicList(options['topics'])
  const rows = named.map((name) => topicRow(name, 'named on the command line'))
  for (const arg of args) if (!isFunctionName(arg)) rows.push(...handlerTopics(await loadHandler(arg, { topics: named })))
  return chosenSpecs(site, rows, args.some(isFunctionName))
}

/** The command that creates what is missing for these arguments of `sluice run`. */
export function applyCommand(siteFile: string, args: readonly string[], options: Record<string, unknown>): string {
  const named = topicList(options['topics'])
  const words = ['sluice topics apply', ...args, ...(named.length > 0 ? ['--topics', named.join(',')] : [])]
  if (siteFile !== 'site.yaml') words.push('--site', siteFile)
  return words.map((word, i) => (i === 0 || /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ')
}

export async function topicsApply({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const specs = await specsOf(loaded.site, args, options)
  const log = await openLog(loaded, environment)
  try {
    const { created, existing } = await applyTopics(log.admin(), loaded.site, specs)
    output.json({ created, existing })
    for (const name of created) output.line(`created  ${name}`)
    output.line(`${created.length} created, ${existing.length} existed`)
    return 0
  } finally {
    await log.close()
  }
}

export async function topicsList({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const specs = await specsOf(loaded.site, args, options)
  const log = await openLog(loaded, environment)
  try {
    const admin = log.admin()
    const infos = await admin.topics(loaded.site.topicPrefix)
    const problems = topicProblems(specs, infos)
    const ours = new Set(specs.map((s) => s.name))
    const rows = await Promise.all(
      infos
        .filter((t) => ours.has(t.name))
        .sort((a, b) => a.name.localeCompare(b.name))
        .map(async (t) => {
          const ranges = await admin.ranges(t.name)
          return { ...t, records: Number(ranges.reduce((sum, r) => sum + r.endOffset - r.startOffset, 0n)), problem: problems.find((p) => p.topic === t.name)?.message ?? null }
        }),
    )
    const missing = problems.filter((p) => !rows.some((r) => r.name === p.topic)).map((p) => p.topic)
    output.json({ topics: rows, missing })
    output.line(`${'topic'.padEnd(32)} ${'parts'.padStart(5)} ${'records'.padStart(9)}  ${'cleanup'.padEnd(8)} timestamps`)
    for (const r of rows)
      output.line(
        `${r.name.padEnd(32)} ${String(r.partitions).padStart(5)} ${String(r.records).padStart(9)}  ${(r.cleanup ?? '?').padEnd(8)} ${r.timestampType ?? '?'}${r.problem === null ? '' : `  ! ${r.problem}`}`,
      )
    for (const name of missing) output.line(`${name.padEnd(32)} missing: run \`${applyCommand(siteFile, args, options)}\``)
    return 0
  } finally {
    await log.close()
  }
}
