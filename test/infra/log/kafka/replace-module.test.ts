import { createRequire, Module } from 'node:module'
import test from 'ava'
import { replaceModule } from '../../../../infra/log/kafka/replace-module.ts'

const require = createRequire(import.meta.url)
interface Required {
  require(this: Module, id: string): unknown
}

test.serial('replace module: ours are in place also where `require` is watched by who keeps what it saw first, as OpenTelemetry does', async (t) => {
  const kept = new Map<string, unknown>()
  const prototype = Module.prototype as unknown as Required
  const { require: original } = prototype
  const { _resolveFilename: resolve } = Module as unknown as { _resolveFilename(id: string, parent: Module): string }
  prototype.require = function keepFirst(id) {
    const path = resolve(id, this)
    if (!kept.has(path)) kept.set(path, original.call(this, id))
    return kept.get(path)
  }
  t.teardown(() => (prototype.require = original))
  const { createKafkaDriver } = await import('../../../../infra/log/kafka/driver.ts')
  t.is(typeof createKafkaDriver, 'function')
  const at = 'kafkajs/src/protocol'
  t.regex(String(require(`${at}/recordBatch/crc32C`)), /native code/)
  const ofAnswers: unknown = require(`${at}/requests/fetch/v4/decodeMessages`)
  t.is((ofAnswers as { name: string }).name, 'decodeBeside')
  t.true(kept.size > 0)
})

test.serial('replace module: what is loaded already is left as it is, and said', (t) => {
  const name = 'kafkajs/src/protocol/isolationLevel'
  const before: unknown = require(name)
  t.false(replaceModule(name, {}))
  t.is(require(name), before)
})
