/**
 * What must be true of the topics before a function takes its first record.
 *
 * Owns: missing topics (all of them named at once), W1 (a windowed input carries append time), R1 (requests carry append time; requests and
 * results have the same partition count; results are kept longer), C8 (a state topic is compacted), the dead-letter and late topics beside each input,
 * and that the driver can do what the function asks of it. Pure.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { LogDriver, TopicInfo } from '../schemas/log.ts'
import { isParkingByKey, isTransactional, type AnyFunction } from './define-function.ts'

/** Every logical topic the function touches. */
export function topicsOf(definition: AnyFunction): string[] {
  const beside = definition.kind === 'window' || definition.kind === 'combine' ? ['.dlq', '.late'] : ['.dlq']
  const all = [...definition.inputs, ...definition.outputs, ...definition.inputs.flatMap((topic) => beside.map((suffix) => topic + suffix))]
  if (definition.kind === 'fold') all.push(definition.stateTopic, `${definition.stateTopic}.dlq`)
  if (definition.kind === 'task' && definition.once !== undefined) all.push(definition.once.resultsTopic)
  return [...new Set(all)]
}

/** Throws SLU_LOG_NOT_TRANSACTIONAL. */
export function checkDriver(definition: AnyFunction, { name, capabilities }: Pick<LogDriver, 'name' | 'capabilities'>): void {
  if ((isTransactional(definition) || isParkingByKey(definition)) && !capabilities.transactions)
    throw new SluiceError('SLU_LOG_NOT_TRANSACTIONAL', `${definition.name} on driver ${name}`)
}

/** Throws SLU_LOG_TOPIC_MISSING, SLU_LOG_TOPIC_MISCONFIGURED, or SLU_LOG_FORBIDDEN where a guarantee rests on settings that we may not see. */
export function checkTopics(definition: AnyFunction, topicPrefix: string, infos: readonly TopicInfo[]): void {
  const byName = new Map(infos.map((info) => [info.name, info]))
  const missing = topicsOf(definition).filter((topic) => !byName.has(topicPrefix + topic))
  if (missing.length > 0) throw new SluiceError('SLU_LOG_TOPIC_MISSING', missing.map((topic) => topicPrefix + topic).join(', '))
  const refuse = (detail: string): never => {
    throw new SluiceError('SLU_LOG_TOPIC_MISCONFIGURED', `${definition.name}: ${detail}`)
  }
  const info = (topic: string): TopicInfo => byName.get(topicPrefix + topic) as TopicInfo
  const seen = <T>(topic: string, setting: T | null): T => {
    if (setting === null) throw new SluiceError('SLU_LOG_FORBIDDEN', `DescribeConfigs of topic ${topicPrefix}${topic}`)
    return setting
  }
  const once = definition.kind === 'task' ? definition.once : undefined
  if (definition.kind === 'window' || once !== undefined)
    for (const input of definition.inputs) {
      const timestampType = seen(input, info(input).timestampType)
      if (timestampType !== 'LogAppendTime') refuse(`${topicPrefix}${input} has ${timestampType}, must have LogAppendTime`)
    }
  if (definition.kind === 'fold') {
    const cleanup = seen(definition.stateTopic, info(definition.stateTopic).cleanup)
    if (!cleanup.includes('compact')) refuse(`${topicPrefix}${definition.stateTopic} is not compacted (cleanup ${cleanup})`)
  }
  if (isParkingByKey(definition))
    for (const input of definition.inputs) {
      const [own, beside] = [info(input).partitions, info(`${input}.dlq`).partitions]
      if (beside < own) refuse(`${topicPrefix}${input}.dlq has ${beside} partitions, ${topicPrefix}${input} ${own}; with park: key it must have as many (D4)`)
    }
  if (once === undefined) return
  const [requests] = definition.inputs
  if (definition.inputs.length !== 1 || requests === undefined) refuse('a function with `once` has exactly one input (R1)')
  const counts = [info(requests as string).partitions, info(once.resultsTopic).partitions]
  if (counts[0] !== counts[1]) refuse(`${topicPrefix}${requests} has ${counts[0]} partitions, ${topicPrefix}${once.resultsTopic} ${counts[1]}; they must be equal (R1)`)
  const [requestsMs, resultsMs] = [seen(requests as string, info(requests as string).retentionMs), seen(once.resultsTopic, info(once.resultsTopic).retentionMs)] as const
  if (resultsMs !== -1 && (requestsMs === -1 || resultsMs < requestsMs + once.dedupeMs))
    refuse(`${topicPrefix}${once.resultsTopic} keeps ${resultsMs} ms, less than the ${requestsMs} ms of ${topicPrefix}${requests} plus ${once.dedupeMs} ms (R1)`)
}
