import test from 'ava'
import { parseHealthRules } from '../../schemas/health-rules.ts'
import { shippedRules } from '../helpers/health-desk.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- the file as written, edited freely
const file = (): any => shippedRules()

test('health-rules: the shipped rules are valid and hold XID 79 as an exempt drain of the host', (t) => {
  const rules = parseHealthRules(file())
  t.like(
    rules.rules.find((r) => r.id === 'xid-79'),
    { kind: 'code', codes: [79], verdict: 'DRAIN', scope: 'host', isExempt: true },
  )
})

test('health-rules: every problem is named at once and nothing is guessed (SLU_HEALTH_RULES)', (t) => {
  const broken = file()
  broken.rules[0].signal = 'no.such.metric'
  broken.rules[1].verdict = 'PANIC'
  broken.rules[2].when = {}
  broken.colour = 'red'
  const error = t.throws(() => parseHealthRules(broken), { code: 'SLU_HEALTH_RULES' })
  for (const part of ['rules.0.signal', 'rules.1.verdict', 'rules.2.when', 'colour']) t.true(error?.message.includes(part), part)
})

test('health-rules: a code in two rules, an id twice, an expiry shorter than the rewrite are refused', (t) => {
  const twice = file()
  twice.rules.push({ ...twice.rules.find((r: { id: string }) => r.id === 'xid-79'), id: 'again' })
  t.throws(() => parseHealthRules(twice), { message: /code 79 belongs to xid-79/ })
  t.throws(() => parseHealthRules({ ...file(), rules: [...file().rules, file().rules[0]] }), { message: /declared twice/ })
  t.throws(() => parseHealthRules({ ...file(), expiresMs: 1000 }), { message: /expire between/ })
  t.throws(() => parseHealthRules(null), { code: 'SLU_HEALTH_RULES' })
})
