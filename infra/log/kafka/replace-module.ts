/**
 * A module of kafkajs, which is CommonJS, replaced by ours before anybody has loaded it.
 *
 * Owns: how. What is loaded and changed afterwards is not enough: whoever watches `require`, as OpenTelemetry's instrumentation does in every process
 * that the CLI starts, keeps what it saw first and hands that out.
 */
import { createRequire, Module } from 'node:module'

const require = createRequire(import.meta.url)

/** `name` as one would require it. Returns whether it came in time. */
export function replaceModule(name: string, exports: unknown): boolean {
  const path = require.resolve(name)
  if (require.cache[path] !== undefined) return false
  const replacement = new Module(path)
  replacement.filename = path
  replacement.loaded = true
  replacement.exports = exports
  require.cache[path] = replacement
  return true
}
