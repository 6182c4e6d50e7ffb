import { stripVTControlCharacters } from 'node:util'
import test from 'ava'
import { renderLine, renderScreen } from '../../cli/screen.ts'
import { startReport, whatIsWrong } from '../../cli/start.ts'
import type { SiteStatus } from '../../cli/site-status.ts'

const status: SiteStatus = {
  site: 'hall-1',
  log: 'embedded',
  isSimulated: true,
  durationMs: 12_300,
  functions: [{ name: 'assess-health', in: 10, out: 4, late: 0, deadLetters: 1, lag: 2, held: 'hardware.telemetry/3 SLU_LOG_DLQ_UNWRITABLE', heldCode: 'SLU_LOG_DLQ_UNWRITABLE' }],
  pools: [
    {
      name: 'blackwell-a',
      accelerator: 'nvidia-gb200',
      endpoints: [
        { id: 'vllm-1', verdict: 'DRAIN', weight: 0 },
        { id: 'vllm-2', verdict: 'ROUTE_OK', weight: 0.8 },
      ],
    },
  ],
  windowsClosed: 7,
  observed: {
    requests: 5,
    results: 5,
    parked: 0,
    earlier: 0,
    doubled: 0,
    untracked: 0,
    ok: 4,
    failed: 1,
    byPool: { 'blackwell-a': 4 },
    byCode: { SLU_ROUTE_MODEL_UNKNOWN: 1 },
    latencyMs: { p50: 10, p99: 20 },
    verdicts: [{ device: 'gpu-1', rule: 'xid-79', verdict: 'DRAIN', endpoints: ['vllm-1'], recordMs: 1, lastRequestMs: null }],
    egress: { released: 2, withheld: 1, denied: 1, bytes: 1536 },
  },
  ledgerSize: 9,
  policy: 'starter v1 (unsigned)',
  metricsUrl: 'http://127.0.0.1:9464/metrics',
  healthUrl: null,
  problems: ['something'],
}

test('start: the report holds the names that scripts read', (t) => {
  const report = startReport(status, { size: 9, root: 'r', verified: true }, true)
  t.deepEqual(Object.keys(report), ['site', 'log', 'simulated', 'durationMs', 'drained', 'functions', 'inference', 'health', 'windows', 'egress', 'ledger'])
  t.deepEqual(report.functions['assess-health'], { in: 10, out: 4, late: 0, deadLetters: 1, held: 'hardware.telemetry/3 SLU_LOG_DLQ_UNWRITABLE' })
  t.like(report.inference as object, { requests: 5, results: 5, ok: 4, failed: 1 })
})

test('start: the screen says SIMULATED, names what is held and why, and never exceeds the width', (t) => {
  const plain = stripVTControlCharacters(renderScreen(status, 200))
  for (const words of ['SIMULATED', 'held: hardware.telemetry/3 SLU_LOG_DLQ_UNWRITABLE', 'vllm-1 DRAIN', '×0.80', '2 released (1.5 KiB)', 'unsigned', 'xid-79', '! something'])
    t.true(plain.includes(words), words)
  for (const line of stripVTControlCharacters(renderScreen(status, 60)).split('\n')) t.true(line.length <= 60, line)
  t.regex(renderLine(status), /requests 5\/5.*egress 2\/1\/1.*assess-health held/)
})

test('start: the exit code tells why a site did not drain: the held function’s error, else how far it is behind; a broken ledger comes first', (t) => {
  const sound = { size: 9, root: 'r', verified: true }
  t.is(whatIsWrong(status, sound, false), null)
  t.is(whatIsWrong(status, { ...sound, verified: false }, true)?.code, 'SLU_LEDGER_CORRUPT')
  t.is(whatIsWrong(status, sound, true)?.code, 'SLU_LOG_DLQ_UNWRITABLE')
  const behind = { ...status, functions: status.functions.map((f) => ({ ...f, held: null, heldCode: null })) }
  t.regex(whatIsWrong(behind, sound, true)?.message ?? '', /^SLU_ENV_NOT_DRAINED.*assess-health 2 records behind, 0 requests without an answer/)
})

test('start: a process that runs single functions shows their counts and nothing of requests', (t) => {
  t.regex(renderLine({ ...status, observed: null }), /^up 12\.3 s {2}assess-health 10 in, 4 out {2}assess-health held/)
})

test('start: what records say is shown on the screen and in lines, never obeyed by the terminal', (t) => {
  const [verdict] = status.observed?.verdicts ?? []
  const hostile: SiteStatus = {
    ...status,
    observed: status.observed === null || verdict === undefined ? null : { ...status.observed, verdicts: [{ ...verdict, device: 'gpu\u001b]0;x\u0007' }] },
    functions: status.functions.map((f) => ({ ...f, held: 'no\u001b[2J\nsuch' })),
    problems: ['\u202ex'],
  }
  const screen = stripVTControlCharacters(renderScreen(hostile, 200))
  for (const words of [String.raw`gpu\x1b]0;x\x07`, String.raw`held: no\x1b[2J\x0asuch`, String.raw`! \u202ex`]) t.true(screen.includes(words), words)
  t.true(renderLine(hostile).endsWith(String.raw`held: no\x1b[2J\x0asuch`))
})
