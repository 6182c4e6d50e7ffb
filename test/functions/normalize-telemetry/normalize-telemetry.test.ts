import test from 'ava'
import fc from 'fast-check'
import type { Emit } from '../../../streams/define-function.ts'
import { batchOf, normalizer, OBSERVED_MS, pseudonyms, rawRecord, sample, valuesOf } from '../../helpers/telemetry.ts'

const gpu = (index: string): string => pseudonyms.device('tray-07', 'gpu', index)
const dcgm = (text: string | Buffer, key: string | null = null) => rawRecord('telemetry.dcgm', key, text)
const line = (name: string, labels: string, value: string): string => `${name}{gpu="0",${labels}hostname="tray-07"} ${value}\n`

test('normalize-telemetry: the dcgm-exporter sample gives the values computed by hand, in canonical units', (t) => {
  const emits = normalizer()(dcgm(sample('dcgm-exporter.prom')))
  const plain = batchOf(emits)
  t.is(emits.length, 1)
  t.is(plain.batch.node, pseudonyms.node('tray-07'))
  t.is(plain.batch.rack, 'rack-5')
  t.is(plain.batch.observedMs, OBSERVED_MS)
  t.like(plain.batch.source, { kind: 'dcgm-exporter', version: null })
  t.deepEqual(valuesOf(plain, gpu('0')), {
    'sluice.gpu.clock': 1_965_000_000,
    'hw.temperature{sensor=GPU_DIE}': 61,
    'hw.power': 1042.318,
    'hw.energy': 912_345_678.901,
    'hw.gpu.memory.usage': 171_520 * 1_048_576,
    'sluice.gpu.engine_active': 0.934112,
    'sluice.gpu.xid': 0,
  })
  t.deepEqual(valuesOf(plain, gpu('1')), { 'sluice.gpu.clock': 120_000_000, 'sluice.gpu.xid_count{xid=149}': 1, 'sluice.gpu.health_status{watch=NVLINK}': 20 })
  t.deepEqual(valuesOf(plain, pseudonyms.device('tray-07', 'link', '1/14')), { 'sluice.gpu.nvlink.recoveries': 505 })
  t.deepEqual(
    plain.devices.map((d) => [d.type, d.tenant, d.pool, d.model]),
    [
      ['gpu', pseudonyms.tenant('tenant-a'), 'blackwell-a', 'nvidia-gb200'],
      ['gpu', null, 'blackwell-a', 'nvidia-gb200'],
      ['link', null, 'blackwell-a', 'nvidia-gb200'],
    ],
  )
})

test('normalize-telemetry: an older exporter: Hostname counts, a blank sentinel is never a temperature, a MIG part is no whole GPU', (t) => {
  const plain = batchOf(normalizer()(dcgm(sample('dcgm-exporter-released-4.5.3-4.8.2.prom'))))
  t.is(plain.batch.node, pseudonyms.node('tray-07'))
  t.deepEqual(valuesOf(plain, gpu('0')), { 'hw.temperature{sensor=HBM}': NaN })
  t.deepEqual(valuesOf(plain, pseudonyms.device('tray-07', 'mig', '2/7')), { 'hw.gpu.memory.usage': 20_480 * 1_048_576 })
  t.is(plain.devices[1]?.parent, gpu('2'))
})

test('normalize-telemetry: no host, UUID, PCI id, pod, namespace or label text is ever in the output, nor its base64 or hex (N1)', (t) => {
  const canaries = [
    'tray-07',
    'GPU-1a2b3c4d',
    '00000008:01:00.0',
    'llm-0',
    'tenant-zorro',
    'NVIDIA GB200',
    '580.82.07',
    'DCGM_FR_NVLINK_DOWN',
    'nvidia0',
    'No Error',
    'trn-01',
    'llm-decode-1',
    'i-00000000000000001',
    'CANARY-W',
  ]
  // A namespace that no pseudonym can begin with by chance.
  const renamed = (name: string): string =>
    sample(name)
      .toString('utf8')
      .replaceAll(/tenant-[ab]/g, 'tenant-zorro')
  const records = [
    dcgm(renamed('dcgm-exporter.prom')),
    dcgm(renamed('dcgm-exporter-released-4.5.3-4.8.2.prom')),
    rawRecord('telemetry.neuron', 'trn-01', renamed('neuron-monitor.json')),
    dcgm(line('DCGM_EXP_GPU_HEALTH_STATUS', 'health_watch="CANARY-W",', '10')),
  ]
  let seen = 0
  for (const record of records) {
    const emits = normalizer()(record)
    const bytes = Buffer.concat(emits.flatMap((emit) => (emit.to === 'topic' ? [emit.value as Buffer, Buffer.from(emit.key as string)] : [Buffer.from(emit.reason)])))
    for (const canary of canaries) {
      const raw = Buffer.from(canary)
      for (const form of [raw, Buffer.from(raw.toString('base64').replace(/=+$/, '').slice(0, -1)), Buffer.from(raw.toString('hex'))]) t.false(bytes.includes(form), canary)
    }
    seen++
  }
  t.is(seen, records.length)
})

test('normalize-telemetry: a malformed line becomes one dead letter with its number, and never takes the good lines with it (N2)', (t) => {
  const text = `${line('DCGM_FI_DEV_GPU_TEMP', '', '61')}DCGM_FI_DEV_POWER_USAGE{gpu="0" 5\n${line('DCGM_FI_DEV_POWER_USAGE', '', '700')}`
  const emits = normalizer()(dcgm(text))
  t.deepEqual(valuesOf(batchOf(emits), gpu('0')), { 'hw.temperature{sensor=GPU_DIE}': 61, 'hw.power': 700 })
  t.deepEqual(emits[1], { to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason: 'line 2: labels are not separated by a comma' })
})

test('normalize-telemetry: a record of which nothing can be read is SLU_TELEMETRY_FORMAT, never an empty batch', (t) => {
  const bad: (Buffer | string | null)[] = [
    null,
    '',
    '\n\n',
    '# HELP only\n',
    'node_cpu_seconds_total 5\n',
    Buffer.from([0, 255, 1, 10, 200, 0]),
    '{"neuron_runtime_data":[]}',
    'x'.repeat(1000),
    line('DCGM_FI_DEV_GPU_TEMP', 'a="', '1'),
  ]
  for (const value of bad) t.throws(() => normalizer()(rawRecord('telemetry.dcgm', 'tray-07', value)), { code: 'SLU_TELEMETRY_FORMAT' })
  for (const value of [...bad, '[]', '1', 'null', '{"neuron_runtime_data":7}'])
    t.throws(() => normalizer()(rawRecord('telemetry.neuron', 'trn-1', value)), { code: 'SLU_TELEMETRY_FORMAT' })
  t.throws(() => normalizer()(rawRecord('telemetry.neuron', null, sample('neuron-monitor.json'))), { code: 'SLU_TELEMETRY_FORMAT' })
  t.throws(() => normalizer()(rawRecord('telemetry.dcgm', null, 'DCGM_FI_DEV_GPU_TEMP{gpu="0"} 5\n')), { code: 'SLU_TELEMETRY_FORMAT' })
})

test('normalize-telemetry: hostile text ends as a batch or a named error, in time linear in its size (D6)', (t) => {
  const n = normalizer()
  const good = line('DCGM_FI_DEV_GPU_TEMP', '', '61')
  const long = 'x'.repeat(10 * 1024 * 1024)
  const hostile = [
    good + long,
    `${good}DCGM_FI_DEV_POWER_USAGE{gpu="${long}`,
    `${good}A{${'a="b",'.repeat(100_000)}} 1\n`,
    `${good}A{a="${'\\\\'.repeat(1_000_000)}"} 1x\n`,
    `${good}DCGM_FI_DEV_POWER_USAGE{__proto__="x",constructor="y",gpu="0",gpu="0"} 5\n`,
    `${good}\0\0\0 5\n`,
    `${good}DCGM_FI_DEV_POWER_USAGE{gpu="0",pod="\xff\xfe"} 5\n`,
  ]
  for (const text of hostile) {
    const emits = n(dcgm(Buffer.from(text, 'latin1'), 'tray-07'))
    t.is(batchOf(emits).rows.length, 1)
    t.is(emits[1]?.to, 'dead-letter')
    t.true((emits[1] as { reason: string }).reason.length < 1000)
  }
  const proto = batchOf(n(dcgm(line('DCGM_FI_DEV_GPU_TEMP', '__proto__="x",', '61'))))
  t.is(proto.rows[0]?.value, 61)
})

test('normalize-telemetry: CRLF, escaped quotes, NaN, Inf and exponents are read as the format says, and no blank ever is a value', (t) => {
  const text = [
    'DCGM_FI_DEV_GPU_TEMP{gpu="0",pod="a\\"b\\\\c\\n{} 7",hostname="tray-07"} 6.1e1',
    'DCGM_FI_DEV_POWER_USAGE{gpu="0",hostname="tray-07"} NaN',
    'DCGM_FI_DEV_SM_CLOCK{gpu="0",hostname="tray-07"} +Inf',
    'DCGM_FI_DEV_FB_USED{gpu="0",hostname="tray-07"} 140737488355329',
    'DCGM_FI_DEV_XID_ERRORS{gpu="0",hostname="tray-07"} 9223372036854775792',
    '',
  ].join('\r\n')
  t.deepEqual(valuesOf(batchOf(normalizer()(dcgm(text))), gpu('0')), {
    'hw.temperature{sensor=GPU_DIE}': 61,
    'hw.power': NaN,
    'sluice.gpu.clock': NaN,
    'hw.gpu.memory.usage': NaN,
    'sluice.gpu.xid': NaN,
  })
})

test('normalize-telemetry: line timestamps are the event time, with an offset per row where they differ', (t) => {
  const at = (ms: number): string => String(OBSERVED_MS + ms)
  const two = batchOf(normalizer()(dcgm(line('DCGM_FI_DEV_GPU_TEMP', '', `61 ${at(-500)}`) + line('DCGM_FI_DEV_POWER_USAGE', '', `700 ${at(-100)}`))))
  t.is(two.batch.observedMs, OBSERVED_MS - 100)
  t.deepEqual([two.batch.offsetMs?.readInt32LE(0), two.batch.offsetMs?.readInt32LE(4)], [-400, 0])
  const one = batchOf(normalizer()(dcgm(line('DCGM_FI_DEV_GPU_TEMP', '', `61 ${at(-500)}`))))
  t.is(one.batch.observedMs, OBSERVED_MS - 500)
  t.is(one.batch.offsetMs, null)
})

test('normalize-telemetry: a duplicate scrape gives the same bytes (N3)', (t) => {
  const n = normalizer()
  const record = dcgm(sample('dcgm-exporter.prom'), 'tray-07')
  t.deepEqual(n(record), n(record))
  t.deepEqual(n(record), normalizer()(record))
})

test('normalize-telemetry: the neuron-monitor sample gives the values computed by hand', (t) => {
  const emits = normalizer()(rawRecord('telemetry.neuron', 'trn-01', sample('neuron-monitor.json')))
  t.is(emits.length, 1)
  const plain = batchOf(emits)
  const core0 = valuesOf(plain, pseudonyms.device('trn-01', 'neuroncore', 0))
  t.is(core0['hw.gpu.utilization'], 71.4 / 100)
  t.is(core0['sluice.neuron.execution{outcome=completed}'], 1870)
  t.is(core0['sluice.neuron.latency{percentile=p99}'], 0.0201)
  t.is(core0['hw.gpu.memory.usage'], 12_519_788_544)
  t.is(core0['sluice.neuron.vcpu_usage{mode=system}'], 0.1234)
  t.deepEqual(valuesOf(plain, pseudonyms.device('trn-01', 'neuroncore', 1)), { 'hw.gpu.utilization': 69.8 / 100 })
  t.is(valuesOf(plain, pseudonyms.device('trn-01', 'neuron', 1))['hw.errors{error.type=corrected,memory=hbm}'], 3)
  t.is(plain.devices.find((d) => d.id === pseudonyms.device('trn-01', 'neuroncore', 1))?.parent, pseudonyms.device('trn-01', 'neuron', 0))
  t.is(plain.devices.find((d) => d.id === pseudonyms.device('trn-01', 'neuron', 0))?.tenant, pseudonyms.tenant('tenant-b'))
})

/** What a record came to, so that both paths can be compared. */
function outcome(run: () => readonly Emit[]): unknown {
  try {
    return run()
  } catch (thrown) {
    return (thrown as Error).message
  }
}

test('normalize-telemetry: the template never changes the output: any mutation of a scrape reads the same with and without it', (t) => {
  const fast = normalizer()
  const slow = normalizer({ templateBytesMax: 0 })
  const base = sample('dcgm-exporter.prom').toString('latin1')
  const numbers = fc.constantFrom(
    '5',
    '-0',
    '0.1',
    '1e3',
    'NaN',
    '12abc',
    '',
    '140737488355328',
    '9223372036854775794',
    '123456789012345678',
    '00.5',
    '.5',
    '5.',
    '+7',
    '1.2.3',
    '0x10',
    '5 1700000000000',
    '5 ',
    '5\r',
  )
  const mutation = fc.oneof(
    fc.record({ kind: fc.constant('number' as const), at: fc.nat(40), text: numbers }),
    fc.record({ kind: fc.constant('byte' as const), at: fc.nat(base.length - 1), text: fc.constantFrom('"', '\n', '{', '}', '\\', ' ', '\0', 'x', '7', '.', ',') }),
    fc.record({ kind: fc.constant('cut' as const), at: fc.nat(base.length), text: fc.constant('') }),
  )
  let differing = 0
  fc.assert(
    fc.property(fc.array(mutation, { maxLength: 3 }), (mutations) => {
      let text = base
      for (const m of mutations) {
        if (m.kind === 'byte') text = text.slice(0, m.at) + m.text + text.slice(m.at + 1)
        else if (m.kind === 'cut') text = text.slice(0, m.at)
        else {
          const lines = text.split('\n')
          const i = m.at % lines.length
          lines[i] = (lines[i] as string).replace(/ [^ ]*$/, ` ${m.text}`)
          text = lines.join('\n')
        }
      }
      fast(dcgm(base, 'tray-07'))
      const record = dcgm(Buffer.from(text, 'latin1'), 'tray-07')
      const expected = outcome(() => slow(record))
      if (text !== base) differing++
      t.deepEqual(
        outcome(() => fast(record)),
        expected,
      )
      t.deepEqual(
        outcome(() => fast(record)),
        expected,
      )
    }),
    { numRuns: 400 },
  )
  t.true(differing > 200)
})
