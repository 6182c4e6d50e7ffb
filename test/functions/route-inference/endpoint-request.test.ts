import test from 'ava'
import { apis, type ApiRow } from '../../../functions/route-inference/apis.ts'
import { endpointRequest } from '../../../functions/route-inference/endpoint-request.ts'
import type { DecodedRequest } from '../../../functions/route-inference/request.ts'

const { signal } = new AbortController()
const of = (api: string, fields: object, model: string, idempotencyKey = 'k', carrier = {}) => {
  const request = { model: 'm', modelVersion: '2', headers: {}, contentType: 'application/json', body: Buffer.from('{"model":"m", "n":9223372036854775807}'), ...fields }
  const decoded = { request, modelRange: api === 'oip.infer' ? null : { start: 9, end: 12 } } as unknown as DecodedRequest
  return endpointRequest(decoded, { signal, idempotencyKey, carrier }, apis.get(api) as ApiRow, { url: 'http://e', model, timeoutMs: 5, responseBytesMax: 6 })
}

test('endpoint request: the body of the model asked for is the very bytes; under a contract only those of the model change (R2)', (t) => {
  t.like(of('openai.chat', {}, 'm'), { url: 'http://e/v1/chat/completions', method: 'POST', timeoutMs: 5, responseBytesMax: 6 })
  t.is(of('openai.chat', {}, 'm').body?.toString(), '{"model":"m", "n":9223372036854775807}')
  t.is(of('openai.chat', {}, 's').body?.toString(), '{"model":"s", "n":9223372036854775807}')
})

test('endpoint request: a version asked for never names a version of a substitute', (t) => {
  t.is(of('oip.infer', {}, 'm').url, 'http://e/v2/models/m/versions/2/infer')
  t.is(of('oip.infer', {}, 'a/b').url, 'http://e/v2/models/a%2Fb/infer')
})

test('endpoint request: credentials never pass, and no id or trace breaks a header', (t) => {
  const { headers } = of('openai.chat', { headers: { Authorization: 'x', Cookie: 'y', 'X-Request-Id': '7' } }, 'm', 'é\r\nx: y\ud800', { traceparent: '00-1', tracestate: 'a\nb' })
  t.deepEqual(headers, { 'x-request-id': '7', traceparent: '00-1', 'content-type': 'application/json', 'idempotency-key': '%C3%A9%0D%0Ax%3A%20y%EF%BF%BD' })
})
