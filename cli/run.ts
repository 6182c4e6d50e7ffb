/**
 * `sluice run [function…]`: some functions of the site in this process, or handlers from files; what compose and Kubernetes call.
 *
 * Owns: loading a handler file (default export of defineFunction; `'sluice'` resolves to this checkout through module hooks, because Node
 * strips no types inside node_modules), and the pseudo function `simulated-site`.
 */
import { existsSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { SluiceError } from '../schemas/errors.ts'
import { defineFunction, type AnyFunction } from '../streams/define-function.ts'
import { FUNCTION_NAMES, isFunctionName, type FunctionName } from './functions.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { startScreen } from './screen.ts'
import { SiteProcess } from './site-process.ts'
import { untilSignal } from './signals.ts'

const GRACE_MS = 5000
const SIMULATED = 'simulated-site'

/** Loads the function a file exports. Throws SLU_HANDLER_INVALID. */
export async function loadHandler(path: string): Promise<AnyFunction> {
  const file = resolve(path)
  if (!existsSync(file)) throw new SluiceError('SLU_USE', `${path}: neither a function of the site (${FUNCTION_NAMES.join(', ')}) nor a file`)
  registerHooks({
    resolve: (specifier, context, next) => (specifier === 'sluice' ? { url: new URL('../index.ts', import.meta.url).href, shortCircuit: true } : next(specifier, context)),
  })
  let loaded: { default?: unknown }
  try {
    loaded = (await import(pathToFileURL(file).href)) as { default?: unknown }
  } catch (cause) {
    throw new SluiceError('SLU_HANDLER_INVALID', path, cause)
  }
  if (loaded.default === undefined) throw new SluiceError('SLU_HANDLER_INVALID', `${path}: no default export`)
  return defineFunction(loaded.default as AnyFunction)
}

export async function run({ siteFile, output, environment }: Invocation, args: string[]): Promise<number> {
  if (args.length === 0) throw new SluiceError('SLU_USE', `name functions to run: ${FUNCTION_NAMES.join(', ')}, ${SIMULATED}, or a handler file`)
  const loaded = loadSite(siteFile)
  const isSimulating = args.includes(SIMULATED)
  if (isSimulating && loaded.site.simulation === undefined) throw new SluiceError('SLU_USE', `${SIMULATED}: the site has no simulation`)
  const functions: (FunctionName | AnyFunction)[] = []
  for (const arg of args) if (arg !== SIMULATED) functions.push(isFunctionName(arg) ? arg : await loadHandler(arg))
  const signal = untilSignal()
  const site = new SiteProcess({
    loaded,
    functions,
    isSimulating,
    isApplyingTopics: loaded.site.log.driver === 'embedded',
    environment,
    onLog: (severity, message) => {
      if (severity !== 'debug') output.note(`${severity.padEnd(5)} ${message}`)
    },
  })
  await site.start()
  output.note(`sluice ${loaded.site.site}: ${args.join(', ')} running; metrics at ${site.status().metricsUrl ?? 'nowhere'}`)
  const screen = startScreen(() => site.status(), 'lines')
  try {
    const why = await Promise.race([signal, site.failed])
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
