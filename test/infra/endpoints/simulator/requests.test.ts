import test from 'ava'
import { DEFAULT_SCRIPT, makeRequest } from '../../../../infra/endpoints/simulator/requests.ts'
import { seededRandom } from '../../../../infra/endpoints/simulator/seeded-random.ts'

const MODELS = [
  { model: 'llama', api: 'openai' as const },
  { model: 'resnet', api: 'oip' as const },
]
const made = (script = DEFAULT_SCRIPT) => {
  const random = seededRandom(1)
  return Array.from({ length: 1000 }, (_, i) => makeRequest(i + 1, 'r', 1_700_000_000_000, random, MODELS, ['a', 'b', 'c'], script))
}

test('requests: the scripted mistakes come exactly as often as scripted, and ids are never reused by accident', (t) => {
  const list = made()
  t.is(list.filter((m) => m.request.model === 'simulated-unknown-model').length, Math.floor(1000 / 97))
  t.is(list.filter((m) => m.request.deadlineMs !== null && m.request.deadlineMs < m.request.createdMs).length, Math.floor(1000 / 71))
  t.is(list.filter((m) => m.isDuplicated).length, Math.floor(1000 / 43))
  t.is(new Set(list.map((m) => m.request.id)).size, 1000)
  t.is(new Set(list.map((m) => m.request.tenant)).size, 3)
})

test('requests: a body names the model of its request or, for the Open Inference Protocol, none', (t) => {
  for (const { request } of made({ unknownModelEvery: 0, expiredEvery: 0, duplicateEvery: 0 })) {
    const body = JSON.parse(request.body.toString('utf8')) as { model?: string; inputs?: unknown }
    t.is(body.model, request.api === 'openai.chat' ? request.model : undefined)
    t.is(request.deadlineMs, null)
  }
})
