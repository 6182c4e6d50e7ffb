import test from 'ava'
import { apis, requestHeaders, resultHeaders } from '../../../functions/route-inference/apis.ts'

test('apis: a model name cannot leave its path segment', (t) => {
  t.is(apis.get('oip.infer')?.path('a/../b', '1'), '/v2/models/a%2F..%2Fb/versions/1/infer')
  t.is(apis.get('openai.chat')?.path('m', null), '/v1/chat/completions')
})

test('apis: credentials and broken values never pass; the binary extension header does', (t) => {
  t.deepEqual(requestHeaders({ Authorization: 'x', 'Inference-Header-Content-Length': '9', 'x-request-id': 'a\r\nb' }), { 'inference-header-content-length': '9' })
  t.deepEqual(resultHeaders({ 'set-cookie': 'x', 'retry-after': '1' }), { 'retry-after': '1' })
})
