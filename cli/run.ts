/**
 * `sluice run [function…]`: some functions of the site in this process, or handlers from files; what compose and Kubernetes call.
 *
 * Owns: the settings of Lambda handlers given on the command line, that no two functions have one name, and the pseudo function `simulated-site`.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { AnyFunction } from '../streams/define-function.ts'
import { FUNCTION_NAMES, isFunctionName, type FunctionName } from './functions.ts'
import { parseDuration } from './duration.ts'
import { loadHandler, type LambdaSettings } from './load-handler.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { startScreen } from './screen.ts'
import { SiteProcess } from './site-process.ts'
import { untilSignal } from './signals.ts'
import { applyCommand, topicList } from './topics.ts'

const GRACE_MS = 5000
const SIMULATED = 'simulated-site'

/** What the options say about Lambda handlers among the files. Throws SLU_USE. */
function lambdaSettings(options: Record<string, unknown>, brokers: readonly string[]): LambdaSettings {
  const { topics, name, batchSize, batchWindow, timeout } = options
  const whole = (name: string, value: unknown): number => {
    if (!/^\d{1,9}$/.test(String(value))) throw new SluiceError('SLU_USE', `--${name} ${String(value)}: must be a whole number`)
    return Number(value)
  }
  return {
    bootstrapServers: brokers.join(','),
    ...(typeof topics === 'string' ? { topics: topicList(topics) } : {}),
    ...(typeof name === 'string' ? { name } : {}),
    ...(batchSize === undefined ? {} : { batchSize: whole('batch-size', batchSize) }),
    ...(typeof batchWindow === 'string' ? { batchWindowMs: parseDuration(batchWindow, 'batch-window') } : {}),
    ...(typeof timeout === 'string' ? { timeoutMs: parseDuration(timeout, 'timeout') } : {}),
  }
}

/** File names that every second Lambda handler has. */
const COMMON_NAMES: readonly string[] = ['index', 'handler', 'main', 'app', 'lambda', 'lambda-function']

/** The name is the consumer group's: two functions of one name would share its partitions, and each record would go to one of them only. Throws SLU_USE. */
export function checkNames(functions: readonly (FunctionName | AnyFunction)[], given: unknown): void {
  const names = functions.map((one) => (typeof one === 'string' ? one : one.name))
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new SluiceError('SLU_USE', `two functions are named ${twice}: they would share one consumer group, and each record would go to one of them`)
  if (given !== undefined && !functions.some((one) => typeof one !== 'string' && one.kind === 'lambda')) throw new SluiceError('SLU_USE', '--name is for an AWS Lambda handler')
  for (const one of functions)
    if (typeof one !== 'string' && one.kind === 'lambda' && given === undefined && COMMON_NAMES.includes(one.name))
      throw new SluiceError('SLU_USE', `a Lambda handler named ${one.name} after its file would share its consumer group with the next one: name it with --name`)
}

export async function run({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  if (args.length === 0) throw new SluiceError('SLU_USE', `name functions to run: ${FUNCTION_NAMES.join(', ')}, ${SIMULATED}, or a handler file`)
  const loaded = loadSite(siteFile, (name) => args.includes(name))
  const isSimulating = args.includes(SIMULATED)
  if (isSimulating && loaded.site.simulation === undefined) throw new SluiceError('SLU_USE', `${SIMULATED}: the site has no simulation`)
  const lambda = lambdaSettings(options, loaded.site.log.kafka?.brokers ?? [])
  const functions: (FunctionName | AnyFunction)[] = []
  for (const arg of args) if (arg !== SIMULATED) functions.push(isFunctionName(arg) ? arg : await loadHandler(arg, lambda))
  checkNames(functions, options['name'])
  const ending = untilSignal((error) => output.note(`error ${error.message}`))
  const site = new SiteProcess({
    loaded,
    functions,
    isSimulating,
    isObserving: false,
    isApplyingTopics: loaded.site.log.driver === 'embedded',
    isSharingHost: true,
    environment,
    ending: ending.signal,
    onLog: (severity, message) => {
      if (severity !== 'debug') output.note(`${severity.padEnd(5)} ${message}`)
    },
  })
  await site.start().catch((error: unknown) => {
    if (!(error instanceof SluiceError) || error.code !== 'SLU_LOG_TOPIC_MISSING') throw error
    throw new SluiceError(
      error.code,
      error.detail,
      error.cause,
      applyCommand(
        siteFile,
        args.filter((arg) => arg !== SIMULATED),
        options,
      ),
    )
  })
  output.note(`sluice ${loaded.site.site}: ${args.join(', ')} running; metrics at ${site.status().metricsUrl ?? 'nowhere'}, status at ${site.status().healthUrl ?? 'nowhere'}`)
  const screen = startScreen(() => site.status(), 'lines')
  try {
    const why = await Promise.race([ending.asked, ending.uncaught, site.failed])
    output.note(`${why}: stopping`)
    const { functions: ran } = site.status()
    await site.stop(GRACE_MS)
    output.json({ functions: Object.fromEntries(ran.map((f) => [f.name, { in: f.in, out: f.out, late: f.late, deadLetters: f.deadLetters }])) })
    return 0
  } catch (error) {
    await site.stop(GRACE_MS)
    throw error
  } finally {
    screen.stop()
  }
}
