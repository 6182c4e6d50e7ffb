import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { loadHandler } from '../../cli/load-handler.ts'

function file(t: { teardown(fn: () => void): void }, name: string, source: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-handler-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, name)
  writeFileSync(path, source)
  return path
}

test('load handler: a Lambda handler of either module system runs under its file’s name, with the settings given', async (t) => {
  for (const [name, source] of [
    ['Order_Handler.mjs', 'export const handler = async () => {}'],
    ['Order_Handler.cjs', 'exports.handler = async () => {}'],
  ] as const) {
    const definition = await loadHandler(file(t, name, source), { topics: ['orders'], batchSize: 7, bootstrapServers: 'k:9092' })
    if (definition.kind !== 'lambda') return t.fail(definition.kind)
    t.deepEqual([definition.name, definition.inputs, definition.batchSize, definition.batchWindowMs, definition.bootstrapServers], ['order-handler', ['orders'], 7, 500, 'k:9092'])
  }
})

test('load handler: an outside file imports from sluice, whatever folder it lies in', async (t) => {
  const source = `import { defineFunction } from 'sluice'
    export default defineFunction({ kind: 'map', name: 'm', inputs: ['a'], outputs: [], decode: () => 1, handle: () => [] })`
  t.is((await loadHandler(file(t, 'm.mjs', source))).name, 'm')
})

test('load handler: what cannot run is named with the reason, before anything starts', async (t) => {
  const lambda = 'export const handler = async () => {}'
  await t.throwsAsync(loadHandler(file(t, 'h.mjs', lambda)), { message: /SLU_USE.*--topics/ })
  await t.throwsAsync(loadHandler(file(t, 'h.mjs', 'export const handler = (a, b, callback) => callback(null)'), { topics: ['a'] }), { message: /SLU_HANDLER_INVALID.*callback/ })
  await t.throwsAsync(loadHandler(file(t, 'h.mjs', lambda), { topics: ['a'], batchSize: 0 }), { message: /SLU_HANDLER_INVALID.*batchSize/ })
  await t.throwsAsync(loadHandler(file(t, 'h.mjs', 'export const other = 1')), { message: /SLU_HANDLER_INVALID.*handler/ })
  await t.throwsAsync(loadHandler(file(t, 'h.mjs', 'syntax error here')), { message: /SLU_HANDLER_INVALID/ })
  await t.throwsAsync(loadHandler('/nowhere/h.mjs'), { message: /SLU_USE/ })
})

test('load handler: why a definition is refused is the first thing said, whoever refuses it', async (t) => {
  const members = `{ kind: 'task', name: 'w', inputs: ['a'], outputs: [], order: 'key', concurrency: 1, deadlineMs: 10, decode: () => 1, handel: async () => [] }`
  for (const source of [`import { defineFunction } from 'sluice'\nexport default defineFunction(${members})`, `export default ${members}`]) {
    const path = file(t, 'w.mjs', source)
    const error = await t.throwsAsync(loadHandler(path), { code: 'SLU_HANDLER_INVALID' })
    t.like(error, { detail: `${path}: w: handel is no member of it; did you mean handle?`, cause: undefined })
  }
  t.regex(String((await t.throwsAsync(loadHandler(file(t, 'h.mjs', 'syntax error here'))))?.cause), /SyntaxError/)
})
