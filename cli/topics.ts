/** `sluice topics apply|ls`: create what is missing, show what is there, say what breaks a guarantee (W1, R1). */
import { SluiceError } from '../schemas/errors.ts'
import type { LogAdmin, TopicInfo, TopicSpec } from '../schemas/log.ts'
import type { Site } from '../schemas/site.ts'
import { topicSpecs } from '../schemas/topics.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { openLog } from './open-log.ts'

/** Topics of the table, plus source topics of the site that the table does not have. */
export function siteTopicSpecs(site: Site): TopicSpec[] {
  const { partitions, replication, maxMessageBytes } = site.log.topics
  const specs = topicSpecs({ prefix: site.topicPrefix, partitions, replication, maxMessageBytes })
  const known = new Set(specs.map((s) => s.name))
  const like = specs[0]
  if (like === undefined) return specs
  const extra = site.sources.map((s) => site.topicPrefix + s.topic).filter((name) => !known.has(name))
  return [
    ...specs,
    ...extra.flatMap((name) => [
      { ...like, name },
      { ...like, name: `${name}.dlq` },
    ]),
  ]
}

export interface TopicProblem {
  readonly topic: string
  readonly message: string
}

/** What of the existing topics breaks a guarantee. */
export function topicProblems(specs: readonly TopicSpec[], existing: readonly TopicInfo[]): TopicProblem[] {
  const by = new Map(existing.map((t) => [t.name, t]))
  const problems: TopicProblem[] = []
  const windowed = new Set(specs.filter((s) => specs.some((late) => late.name === `${s.name}.late`)).map((s) => s.name))
  for (const spec of specs) {
    const have = by.get(spec.name)
    if (have === undefined) problems.push({ topic: spec.name, message: 'does not exist' })
    else {
      // Only a windowed input rests on append time; elsewhere it is a preference an operator may overrule.
      if (windowed.has(spec.name) && have.timestampType !== 'LogAppendTime') problems.push({ topic: spec.name, message: 'message.timestamp.type must be LogAppendTime (W1)' })
      if (spec.cleanup === 'compact' && !have.cleanup.includes('compact')) problems.push({ topic: spec.name, message: 'cleanup.policy must be compact' })
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

/** Creates what is missing. Throws SLU_LOG_TOPIC_MISCONFIGURED naming every problem that creation does not solve. */
export async function applyTopics(admin: LogAdmin, site: Site): Promise<{ created: string[]; existing: string[] }> {
  const specs = siteTopicSpecs(site)
  const result = await admin.createTopics(specs)
  const problems = topicProblems(specs, await admin.topics())
  if (problems.length > 0) throw new SluiceError('SLU_LOG_TOPIC_MISCONFIGURED', problems.map((p) => `${p.topic} ${p.message}`).join('; '))
  return result
}

export async function topicsApply({ siteFile, output, environment }: Invocation): Promise<number> {
  const loaded = loadSite(siteFile)
  const log = await openLog(loaded, environment)
  try {
    const { created, existing } = await applyTopics(log.admin(), loaded.site)
    output.json({ created, existing })
    for (const name of created) output.line(`created  ${name}`)
    output.line(`${created.length} created, ${existing.length} existed`)
    return 0
  } finally {
    await log.close()
  }
}

export async function topicsList({ siteFile, output, environment }: Invocation): Promise<number> {
  const loaded = loadSite(siteFile)
  const log = await openLog(loaded, environment)
  try {
    const admin = log.admin()
    const infos = await admin.topics()
    const specs = siteTopicSpecs(loaded.site)
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
        `${r.name.padEnd(32)} ${String(r.partitions).padStart(5)} ${String(r.records).padStart(9)}  ${r.cleanup.padEnd(8)} ${r.timestampType}${r.problem === null ? '' : `  ! ${r.problem}`}`,
      )
    for (const name of missing) output.line(`${name.padEnd(32)} missing: run \`sluice topics apply\``)
    return 0
  } finally {
    await log.close()
  }
}
