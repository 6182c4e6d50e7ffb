import test from 'ava'
import fc from 'fast-check'
import { inferenceRequestFromJson, inferenceResultFromJson, inferenceResultToJson } from '../../schemas/inference-json.ts'

const read = (value: unknown) => inferenceRequestFromJson(Buffer.from(JSON.stringify(value)))
const base = { id: 'r', model: 'm', api: 'openai.chat', body: '{}' }

test('inference JSON: any body bytes of a result come back exactly', (t) => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const value = { id: 'r', status: 200, body: Buffer.from(bytes) } as unknown as Parameters<typeof inferenceResultToJson>[0]
      return inferenceResultFromJson(inferenceResultToJson(value)).body.equals(value.body)
    }),
  )
  t.pass()
})

test('inference JSON: a request’s body is its exact text or base64, never guessed', (t) => {
  t.is(read({ ...base, body: '{"n":9223372036854775807}' }).request.body.toString(), '{"n":9223372036854775807}')
  t.deepEqual([...read({ ...base, body: 'AAH/', bodyEncoding: 'base64' }).request.body], [0, 1, 255])
  for (const wrong of [{ body: {} }, { body: '*', bodyEncoding: 'base64' }, { bodyEncoding: 'hex' }, { id: 1 }, { createdMs: 1.5 }, { headers: { a: 1 } }])
    t.not(read({ ...base, ...wrong }).problem, null)
  t.is(read(base).problem, null)
})

test('inference JSON: what is no object is undecodable, not a request', (t) => {
  for (const bytes of ['{', '[]', 'null', '']) t.throws(() => inferenceRequestFromJson(Buffer.from(bytes)), { code: 'SLU_RECORD_UNDECODABLE' })
  t.throws(() => inferenceRequestFromJson(Buffer.from([0x7b, 0xff, 0x7d])), { code: 'SLU_RECORD_UNDECODABLE' })
  t.throws(() => inferenceResultFromJson(Buffer.from('{}')), { code: 'SLU_RECORD_UNDECODABLE' })
})
