import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { unheardRules, type SeenMetric } from '../../../functions/assess-health/unheard-rules.ts'
import { parseHealthRules } from '../../../schemas/health-rules.ts'
import { ROOT } from '../../helpers/site.ts'

const { rules } = parseHealthRules(parse(readFileSync(join(ROOT, 'schemas/health-rules.yaml'), 'utf8')))
const metric = (name: string, attributes: Record<string, string> = {}): SeenMetric => ({ name, attributes })

test('unheard rules: an exporter without field 1523 leaves every recovery rule without its signal, and is named once', (t) => {
  const unheard = unheardRules(rules, [metric('sluice.gpu.xid')])
  t.deepEqual(
    unheard.get('sluice.gpu.recovery_action'),
    rules.filter((r) => r.kind === 'level' && r.signal === 'sluice.gpu.recovery_action').map((r) => r.id),
  )
  t.false([...unheard.values()].flat().includes('xid-79'))
})

test('unheard rules: one of several signals is enough; another attribute of the same metric is not', (t) => {
  const ids = (...seen: SeenMetric[]): string[] => [...unheardRules(rules, seen).values()].flat()
  t.true(ids().includes('thermal-slowdown'))
  t.false(ids(metric('hw.temperature', { sensor: 'GPU_DIE' })).includes('thermal-slowdown'))
  t.true(ids(metric('hw.temperature', { sensor: 'HBM' })).includes('thermal-slowdown'))
  t.true(ids(metric('hw.errors', { 'error.type': 'corrected' })).includes('ecc-double-bit'))
  t.false(ids(metric('hw.errors', { 'error.type': 'uncorrected', memory: 'hbm' })).includes('neuron-hbm-uncorrectable'))
})
