import test from 'ava'
import { encodeResult, refusal, usageOf } from '../../../functions/route-inference/result.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import type { InferenceRequest } from '../../../schemas/records.ts'
import { testCodecs } from '../../helpers/codecs.ts'

const codecs = testCodecs()
const request = { id: 'r' } as InferenceRequest

test('result: it is written in the encoding of the request, and too large becomes small in both', (t) => {
  const result = { ...refusal(request, new SluiceError('SLU_ROUTE_DEADLINE', ''), { queueMs: 0, firstByteMs: null, totalMs: 1 }, null), body: Buffer.alloc(5000) }
  t.is(codecs.decode('InferenceResult', encodeResult(result, request, 'avro', codecs, 10_000)).status, 504)
  t.is(codecs.decode('InferenceResult', encodeResult(result, request, 'avro', codecs, 1000)).code, 'SLU_ROUTE_RESULT_TOO_LARGE')
  t.is(encodeResult(result, request, 'json', codecs, 1000)[0], 0x7b)
})

test('result: usage that cannot be read is null, never a crash', (t) => {
  for (const body of ['', 'null', '[]', '{"usage":{"prompt_tokens":-1}}', '{"usage":null}']) t.is(usageOf('openai.chat', Buffer.from(body)), null, body)
  t.deepEqual(usageOf('openai.embeddings', Buffer.from('{"usage":{"prompt_tokens":2}}')), { inputTokens: 2, outputTokens: 0 })
  t.is(usageOf('oip.infer', Buffer.from('{"usage":{"prompt_tokens":2}}')), null)
})
