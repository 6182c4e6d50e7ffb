/**
 * Loads a handler file: the value of `defineFunction` as its default export, or an AWS Lambda handler named `handler` (runtime.md §6).
 *
 * Owns: how `'sluice'` resolves for files outside this checkout (module hooks: Node strips no types inside node_modules), and the settings of an
 * event source mapping that a Lambda handler does not state itself.
 */
import { existsSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { SluiceError } from '../schemas/errors.ts'
import { defineFunction, LAMBDA_DEFAULTS, type AnyFunction, type LambdaFunction } from '../streams/define-function.ts'
import { FUNCTION_NAMES } from './functions.ts'

/** What `sluice run` says about a Lambda handler; `name` in place of its file's. */
export interface LambdaSettings extends Partial<Pick<LambdaFunction, 'name' | 'batchSize' | 'batchWindowMs' | 'timeoutMs' | 'bootstrapServers'>> {
  readonly topics?: readonly string[]
}

/** `health-notes.handler.ts` → `health-notes-handler`: the name of the consumer group. */
function nameOf(file: string): string {
  return basename(file)
    .replace(/\.[cm]?[jt]s$/, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^[^a-z]+|-$/g, '')
    .slice(0, 63)
}

/** What a definition was refused for is the reason itself, not what stands behind one. */
const located = (path: string, cause: unknown): SluiceError =>
  cause instanceof SluiceError && cause.code === 'SLU_HANDLER_INVALID'
    ? new SluiceError('SLU_HANDLER_INVALID', `${path}: ${cause.detail}`)
    : new SluiceError('SLU_HANDLER_INVALID', path, cause)

/** Loads the function a file exports. Throws SLU_HANDLER_INVALID, SLU_USE. */
export async function loadHandler(path: string, lambda: LambdaSettings = {}): Promise<AnyFunction> {
  const file = resolve(path)
  if (!existsSync(file)) throw new SluiceError('SLU_USE', `${path}: neither a function of the site (${FUNCTION_NAMES.join(', ')}) nor a file`)
  registerHooks({
    resolve: (specifier, context, next) => (specifier === 'sluice' ? { url: new URL('../index.ts', import.meta.url).href, shortCircuit: true } : next(specifier, context)),
  })
  let loaded: { default?: unknown; handler?: unknown }
  try {
    loaded = (await import(pathToFileURL(file).href)) as typeof loaded
  } catch (cause) {
    throw located(path, cause)
  }
  // A CommonJS file's exports are its default.
  const inner = loaded.default
  const handler = loaded.handler ?? (typeof inner === 'object' && inner !== null && 'handler' in inner && !('kind' in inner) ? inner.handler : undefined)
  if (typeof handler === 'function') {
    const { topics = [], ...settings } = lambda
    if (topics.length === 0) throw new SluiceError('SLU_USE', `${path} is an AWS Lambda handler: name the topics it is given with --topics a,b`)
    return defineFunction<LambdaFunction>({
      kind: 'lambda',
      name: nameOf(file),
      inputs: topics,
      outputs: [],
      ...LAMBDA_DEFAULTS,
      ...settings,
      handler: handler as LambdaFunction['handler'],
    })
  }
  if (inner === undefined) throw new SluiceError('SLU_HANDLER_INVALID', `${path}: neither a default export of defineFunction nor a Lambda handler named "handler"`)
  try {
    return defineFunction(inner as AnyFunction)
  } catch (cause) {
    throw located(path, cause)
  }
}
