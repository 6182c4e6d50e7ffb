import test from 'ava'
import fc from 'fast-check'
import { allowedModels, contextTokensBound, type Contract } from '../../../functions/route-inference/contracts.ts'
import type { InferenceRequest } from '../../../schemas/records.ts'

const contracts = new Map<string, Contract>([
  ['short', { name: 'short', model: 'm', substitutes: ['s', 't'], maxContextTokens: 1000 }],
  ['any', { name: 'any', model: 'm', substitutes: ['s'] }],
])
const allowed = (contract: string | null, body: string, model = 'm') => allowedModels({ contract, model, body: Buffer.from(body) } as InferenceRequest, contracts)
const chat = (characters: number, more: object = {}): string => JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x'.repeat(characters) }], ...more })

test('contracts: a substitute is allowed only under a contract of this model, in the order declared (R2)', (t) => {
  t.deepEqual(allowed(null, chat(1)).models, ['m'])
  t.deepEqual(allowed('short', chat(1)), { models: ['m', 's', 't'], barred: [] })
  for (const [contract, model] of [
    ['none', 'm'],
    ['short', 'other'],
    ['__proto__', 'm'],
  ] as const)
    t.throws(() => allowed(contract, chat(1), model), { code: 'SLU_ROUTE_CONTRACT_UNKNOWN' })
})

test('contracts: a request that may be longer than the contract covers never goes to a substitute (R2)', (t) => {
  t.deepEqual(allowed('short', chat(1000)), { models: ['m'], barred: ['s', 't'] })
  t.deepEqual(allowed('short', chat(1, { max_tokens: 900 })).barred, ['s', 't'], 'the output asked for was not counted')
  t.deepEqual(allowed('short', chat(1, { max_completion_tokens: 900 })).barred, ['s', 't'])
  t.deepEqual(allowed('short', chat(100, { max_tokens: 100 })).barred, [])
  t.deepEqual(allowed('any', chat(1_000_000)).models, ['m', 's'], 'a contract without a length has none')
})

test('contracts: where bytes do not bound the tokens nothing is covered: images, sound, a template of one’s own, a limit given twice', (t) => {
  const part = (type: string): string => `{"messages":[{"content":[{"type":"${type}","${type}":{"url":"http://x/1"}}]}]}`
  for (const type of ['image_url', 'input_audio', 'video_url', 'file', 'input_image']) t.is(contextTokensBound(Buffer.from(part(type))), null, type)
  t.is(contextTokensBound(Buffer.from('{"chat_template":"{% for i in range(9999) %}x{% endfor %}"}')), null)
  t.is(contextTokensBound(Buffer.from('{"max_tokens":1,"max_tokens":9999}')), null)
  t.is(typeof contextTokensBound(Buffer.from(chat(10, { tools: [{ type: 'function' }] }))), 'number')
  t.is(contextTokensBound(Buffer.from([0, 1, 2, 255])), 4 + 256, 'a body that is no JSON is bounded by its bytes')
})

test('contracts: the bound is never below the bytes of the text plus the output asked for', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: -5, max: 1e6 }), (content, tokens) => {
      const bound = contextTokensBound(Buffer.from(JSON.stringify({ messages: [{ role: 'user', content }], max_tokens: tokens })))
      return bound === null || bound >= Buffer.byteLength(content) + Math.max(0, tokens)
    }),
  )
  t.pass()
})
