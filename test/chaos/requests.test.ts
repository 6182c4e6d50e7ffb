import test from 'ava'
import { testCodecs } from '../helpers/codecs.ts'
import { digestIn, digestOf, startEndpoint } from './endpoints.ts'
import { bodyOf, planRequests, requestRecord, type PlannedRequest } from './requests.ts'

const codecs = testCodecs()

test('chaos requests: a seed makes the same requests, of every kind; an id used again has other bytes, a repeat the same', (t) => {
  const planned = planRequests(2, 600, 60_000)
  t.deepEqual(planned, planRequests(2, 600, 60_000))
  t.deepEqual([...new Set(planned.map((r) => r.kind))].sort(), ['garbage', 'other-body', 'other-key', 'plain', 'unknown-model'])
  const bytes = (r: PlannedRequest): string => requestRecord(r, 1_800_000_000_000, codecs).value.toString('hex')
  const byId = Map.groupBy(planned, (r) => r.id)
  let repeats = 0
  for (const same of byId.values()) {
    const first = same[0] as PlannedRequest
    for (const other of same.slice(1)) {
      t.is(bytes(other) === bytes(first), other.kind === first.kind)
      if (other.kind === first.kind) repeats++
    }
  }
  t.is(new Set(planned.map(bytes)).size, planned.length - repeats)
  t.true(repeats > 50)
})

test('chaos endpoints: the answer of both APIs shows which body was received', async (t) => {
  const endpoint = await startEndpoint('e')
  const [chat, oip] = planRequests(2, 2, 1000) as [PlannedRequest, PlannedRequest]
  for (const [request, path] of [
    [chat, '/v1/chat/completions'],
    [oip, '/v2/models/chaos-net/infer'],
  ] as const) {
    const response = await fetch(endpoint.url + path, { method: 'POST', body: bodyOf(request) })
    t.is(digestIn(Buffer.from(await response.arrayBuffer())), digestOf(bodyOf(request)))
  }
  t.is(endpoint.executions(), 2)
  t.is(digestIn(Buffer.from('not JSON')), null)
  await endpoint.close()
})
