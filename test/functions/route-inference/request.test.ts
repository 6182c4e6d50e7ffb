import test from 'ava'
import { decodeRequest } from '../../../functions/route-inference/request.ts'
import { nodeHashing } from '../../../infra/hashing.ts'
import { testCodecs } from '../../helpers/codecs.ts'

const codecs = testCodecs()
const decode = (value: Buffer) =>
  decodeRequest({ topic: 't', partition: 0, offset: 0n, timestampMs: 1e12, appendMs: 1e12, key: null, value, headers: [] }, { codecs }, nodeHashing, {
    requestBytesMax: 100,
    defaultDeadlineMs: 50,
  })
const request = {
  id: 'r',
  model: 'm',
  modelVersion: null,
  api: 'openai.chat',
  headers: {},
  body: Buffer.from('{"model":"m"}'),
  bodyRef: null,
  contentType: 'application/json',
  createdMs: 1e12,
  deadlineMs: null,
  priority: 'default',
  tenant: 't',
  affinityKey: null,
  contract: null,
  replyTopic: null,
}
const json = (more: object) => decode(Buffer.from(JSON.stringify({ ...request, body: request.body.toString(), ...more })))

test('request: Avro and JSON of the same request have one digest; another body has another (R1)', (t) => {
  const avro = decode(codecs.encode('InferenceRequest', request))
  t.is(avro.encoding, 'avro')
  t.is(json({}).digest, avro.digest)
  t.not(json({ body: '{"model":"m","x":1}' }).digest, avro.digest)
  t.is(avro.deadlineMs, 1e12 + 50)
})

test('request: a createdMs in seconds is a dead letter that names seconds, never an answer that R1 could not remember', (t) => {
  t.throws(() => json({ createdMs: 1e9 }), { code: 'SLU_ROUTE_INVALID', message: /seconds/ })
  t.throws(() => decode(Buffer.from('\0\0\0\0\0')), { instanceOf: Error })
})

test('request: the first problem is carried, not thrown', (t) => {
  for (const more of [{ id: '' }, { replyTopic: 'x' }, { contentType: 'a\r\nb' }, { body: '[]' }, { body: '{"model":"m","model":"m"}' }])
    t.is(json(more).error?.code, 'SLU_ROUTE_INVALID')
  t.is(json({}).error, null)
})

test('request: a version is refused where none can be asked for, or where it would name another path (R2)', (t) => {
  const oip = (modelVersion: string | null) => json({ api: 'oip.infer', modelVersion }).error
  for (const version of ['1', 'v0.1.0-rc+7', '...', '20260101:a~b']) t.is(oip(version), null, version)
  for (const version of ['', '.', '..', '../m2', 'a/b', '1 ', 'é', '\ud800', 'x'.repeat(129)]) t.regex(oip(version)?.message ?? '', /modelVersion must be/, version)
  t.is(oip(null), null)
  t.regex(json({ modelVersion: '1' }).error?.message ?? '', /modelVersion cannot be asked for over openai\.chat/)
})

test('request: a deadline lies at most a day after the append; without one it counts from the append, not from the reading', (t) => {
  t.is(json({ deadlineMs: 1e12 + 86_400_000 }).error, null)
  t.regex(json({ deadlineMs: 1e12 + 86_400_001 }).error?.message ?? '', /more than a day/)
  t.is(json({}).deadlineMs, 1e12 + 50)
})
