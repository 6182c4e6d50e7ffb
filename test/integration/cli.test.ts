/** The verbs as a person or a script meets them: exit codes, one JSON document on stdout, errors that say what to do. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import test from 'ava'
import { errors } from '../../schemas/errors.ts'
import { siteInFolder, sluice, startSluice } from '../helpers/site.ts'
import { until } from '../helpers/until.ts'

const json = (text: string): { error: { code: string; problems?: { line: number }[] } } => JSON.parse(text)

test('cli: a broken site file lists every problem with its line, exits 1 and starts nothing', async (t) => {
  const site = siteInFolder((s) => {
    s.polls = []
    s.functions['aggregate-metrics'].windowMs = 5
    delete s.pseudonyms
  })
  for (const verb of [
    ['start', '--for', '1s'],
    ['config', 'check'],
    ['topics', 'ls'],
    ['run', 'assess-health'],
  ]) {
    const run = await sluice([...verb, '--json', '--site', site.file])
    t.is(run.code, 1, verb.join(' '))
    t.is(json(run.stdout).error.code, 'SLU_CONFIG_INVALID')
    t.is(json(run.stdout).error.problems?.length, 3)
    t.true(json(run.stdout).error.problems?.every((p) => p.line > 0))
    t.regex(run.stderr, /did you mean pools/)
  }
  site.remove()
})

test('cli: a missing file, an unknown verb, a wrong duration and an unknown code are exit 1 with the fix', async (t) => {
  for (const [args, code] of [
    [['config', 'check', '--site', '/nowhere/site.yaml'], 'SLU_CONFIG_MISSING'],
    [['strat'], 'SLU_USE'],
    [['start', '--for', 'soon'], 'SLU_USE'],
    [['start', '--four', '1s'], 'SLU_USE'],
    [['help', 'SLU_LOG_UNREACHABEL'], 'SLU_USE'],
    [['run'], 'SLU_USE'],
    [['run', 'not-a-function'], 'SLU_USE'],
  ] as const) {
    const run = await sluice([...args, '--json'])
    t.is(run.code, 1, args.join(' '))
    t.is(json(run.stdout).error.code, code, args.join(' '))
    t.regex(run.stderr, /fix: /)
  }
})

test('cli: help shows a page for every error code of the table', async (t) => {
  const table = await sluice(['help', '--json'])
  t.is(table.code, 0)
  t.deepEqual(
    (JSON.parse(table.stdout) as { code: string }[]).map((r) => r.code),
    Object.keys(errors),
  )
  const page = await sluice(['help', 'slu_log_truncated'])
  t.is(page.code, 0)
  t.regex(page.stdout, /SLU_LOG_TRUNCATED[\s\S]*why[\s\S]*fix[\s\S]*exit code {3}2/)
})

test('cli: send and tail pass bytes through unchanged, and decode what is Avro', async (t) => {
  const site = siteInFolder()
  t.is((await sluice(['topics', 'apply', '--site', site.file])).code, 0)
  const sent = await sluice(['send', 'telemetry.dcgm', '--key', 'tray-99', '--header', 'a=b', '--json', '--site', site.file], {}, 'DCGM_FI_DEV_GPU_TEMP{gpu="0"} 61\n')
  t.is(sent.code, 0, sent.stderr)
  const lines = await sluice(['send', 'inference.requests', '--lines', '--site', site.file], {}, '{"id":"r-1"}\n{"id":"r-2"}\n')
  t.is(lines.code, 0, lines.stderr)
  const tail = await sluice(['tail', 'telemetry.dcgm', '--from', 'start', '--until-end', '--json', '--site', site.file])
  t.like(JSON.parse(tail.stdout), { key: 'tray-99', value: 'DCGM_FI_DEV_GPU_TEMP{gpu="0"} 61\n', headers: [['a', 'b']] })
  const requests = await sluice(['tail', 'inference.requests', '--from', 'start', '--until-end', '--json', '--site', site.file])
  t.deepEqual(
    requests.stdout
      .trim()
      .split('\n')
      .map((l) => (JSON.parse(l) as { key: string }).key)
      .sort(),
    ['r-1', 'r-2'],
  )
  const limited = await sluice(['tail', 'inference.requests', '--from', 'start', '--limit', '1', '--site', site.file])
  t.is(limited.code, 0, limited.stderr)
  t.is((await sluice(['tail', 'no.such.topic', '--json', '--site', site.file])).code, 2)
  const list = await sluice(['topics', 'ls', '--json', '--site', site.file])
  t.deepEqual((JSON.parse(list.stdout) as { missing: string[] }).missing, [])
  site.remove()
})

test('cli: send takes a large value through a slow pipe whole', async (t) => {
  const site = siteInFolder()
  t.is((await sluice(['topics', 'apply', '--site', site.file])).code, 0)
  const sending = startSluice(['send', 'telemetry.dcgm', '--key', 'k', '--site', site.file], {}, null)
  const part = Buffer.alloc(300_000, 'x')
  for (let i = 0; i < 5; i++) {
    sending.child.stdin?.write(part)
    await new Promise((resolve) => setImmediate(resolve))
  }
  sending.child.stdin?.end()
  t.is((await sending.finished).code, 0)
  const tail = await sluice(['tail', 'telemetry.dcgm', '--from', 'start', '--until-end', '--json', '--site', site.file])
  t.is((JSON.parse(tail.stdout) as { value: string }).value.length, 1_500_000)
  site.remove()
})

test('cli: a dead letter is listed, shown and put back once; a topic without a DLQ is named', async (t) => {
  const site = siteInFolder()
  const json = async (...args: string[]) => {
    const ended = await sluice([...args, '--json', '--site', site.file])
    t.is(ended.code, 0, ended.stderr)
    return JSON.parse(ended.stdout) as Record<string, unknown>
  }
  await json('topics', 'apply')
  const headers = [
    '__connect.errors.topic=telemetry.dcgm',
    '__connect.errors.partition=1',
    '__connect.errors.offset=5',
    '__connect.errors.connector.name=normalize-telemetry',
    'sluice.error.code=SLU_TELEMETRY_FORMAT',
  ]
  await sluice(['send', 'telemetry.dcgm.dlq', '--key', 'tray-1', ...headers.flatMap((h) => ['--header', h]), '--site', site.file], {}, 'no metrics here')
  t.deepEqual(await json('dlq', 'ls', 'telemetry.dcgm'), { topics: [{ topic: 'telemetry.dcgm.dlq', open: 1, redriven: 0, codes: { SLU_TELEMETRY_FORMAT: 1 } }] })
  t.like(await json('dlq', 'show', 'telemetry.dcgm'), {
    code: 'SLU_TELEMETRY_FORMAT',
    key: 'tray-1',
    value: 'no metrics here',
    source: { topic: 'telemetry.dcgm', partition: 1, offset: 5 },
  })
  t.like(await json('dlq', 'retry', 'telemetry.dcgm', '--function', 'somebody', '--dry-run'), { wouldPutBack: 0, for: {} })
  t.like(await json('dlq', 'retry', 'telemetry.dcgm', '--to-all', '--dry-run'), { wouldPutBack: 1, for: { 'every function': 1 } })
  t.like(await json('dlq', 'retry', 'telemetry.dcgm', '--dry-run'), { putBack: 0, wouldPutBack: 1, for: { 'normalize-telemetry': 1 } })
  t.like(await json('dlq', 'retry', 'telemetry.dcgm'), { putBack: 1, for: { 'normalize-telemetry': 1 } })
  t.like(await json('dlq', 'retry', 'telemetry.dcgm'), { putBack: 0 })
  t.like(await json('tail', 'telemetry.dcgm', '--from', 'start', '--until-end'), { partition: 1, key: 'tray-1', value: 'no metrics here' })
  for (const value of ['one', 'two', 'three']) await sluice(['send', 'metrics.windows.dlq', '--key', 'k', '--site', site.file], {}, value)
  const page = async (...args: string[]) => {
    const ended = await sluice(['dlq', 'show', 'metrics.windows', '--limit', '2', ...args, '--json', '--site', site.file])
    const rows = ended.stdout.split('\n').filter((line) => line !== '')
    return { values: rows.map((line) => (JSON.parse(line) as { value: string }).value), after: / --after (\d+\/\d+)/.exec(ended.stderr)?.[1] }
  }
  const first = await page()
  t.deepEqual(first.values, ['one', 'two'])
  t.deepEqual(await page('--after', String(first.after)), { values: ['three'], after: undefined })
  t.is((await sluice(['dlq', 'show', 'pool.nothing', '--site', site.file])).code, 2)
  t.is((await sluice(['dlq', 'show', 'telemetry.dcgm', '--at', '7', '--site', site.file])).code, 1)
  site.remove()
})

test('cli: a terminal obeys nothing that a key, a header or a value holds, and no record forges a line', async (t) => {
  const site = siteInFolder((s) => (s.log = { driver: 'embedded', topics: { partitions: 1 } }))
  t.is((await sluice(['topics', 'apply', '--site', site.file])).code, 0)
  const hostile = '\u001b[2J\u009b31m\u007f\u202e\r'
  const sent = ['--key', `k${hostile}`, '--header', `sluice.error.code=C${hostile}\nD`, '--header', `__connect.errors.exception.message=M${hostile}`, '--site', site.file]
  t.is((await sluice(['send', 'telemetry.dcgm.dlq', ...sent], {}, `v${hostile}\ntelemetry.dcgm.dlq/0/9  forged\n`)).code, 0)
  const written = String.raw`\x1b[2J\x9b31m\x7f\u202e\x0d`
  for (const [verb, parts] of [
    [
      ['tail', 'telemetry.dcgm.dlq', '--from', 'start', '--until-end'],
      ['k', 'v', 'M', 'C'],
    ],
    [
      ['dlq', 'show', 'telemetry.dcgm'],
      ['k', 'v', 'M', 'C'],
    ],
    [['dlq', 'ls', 'telemetry.dcgm'], ['C']],
  ] as const) {
    const shown = await sluice([...verb, '--site', site.file])
    t.is(shown.code, 0, shown.stderr)
    // oxlint-disable-next-line no-control-regex
    t.notRegex(shown.stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, verb.join(' '))
    for (const part of parts) t.true(shown.stdout.includes(part + written), `${verb.join(' ')}: ${part}`)
    t.notRegex(shown.stdout, /^(D|telemetry.dcgm.dlq\/0\/9)/m)
    const document = await sluice([...verb, '--json', '--site', site.file])
    // oxlint-disable-next-line no-control-regex
    t.notRegex(document.stdout.trimEnd(), /[\u0000-\u001f\u007f-\u009f\u202e]/)
    t.true(JSON.stringify(JSON.parse(document.stdout)).includes('\u202e'))
  }
  site.remove()
})

test('cli: a record nested too deep to be a tree is shown as its text, and what stands behind it is shown too', async (t) => {
  const site = siteInFolder((s) => (s.log = { driver: 'embedded', topics: { partitions: 1 } }))
  t.is((await sluice(['topics', 'apply', '--site', site.file])).code, 0)
  const deep = `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`
  for (const value of [deep, '{"id":"behind"}']) t.is((await sluice(['send', 'inference.requests.dlq', '--site', site.file], {}, value)).code, 0)
  for (const verb of [
    ['dlq', 'show', 'inference.requests'],
    ['tail', 'inference.requests.dlq', '--from', 'start', '--until-end'],
  ]) {
    const shown = await sluice([...verb, '--json', '--site', site.file])
    t.is(shown.code, 0, shown.stderr.slice(0, 500))
    t.deepEqual(
      shown.stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { value: unknown }).value),
      [deep, { id: 'behind' }],
    )
    const forPeople = await sluice([...verb, '--full', '--site', site.file])
    t.is(forPeople.code, 0, forPeople.stderr.slice(0, 500))
    t.true(forPeople.stdout.includes(deep) && forPeople.stdout.includes('{"id":"behind"}'))
    const short = await sluice([...verb, '--site', site.file])
    t.true(short.stdout.length < 5000, 'a value of any length leaves the screen to the others')
    t.true(short.stdout.includes(`of ${deep.length} characters; all with --full]`) && short.stdout.includes('{"id":"behind"}'))
  }
  site.remove()
})

test('cli: doctor names what is wrong and exits 2, and is content with a sound site', async (t) => {
  const sound = siteInFolder()
  const good = await sluice(['doctor', '--json', '--site', sound.file])
  t.is(good.code, 0, good.stdout + good.stderr)
  sound.remove()

  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
  const { port } = holder.address() as AddressInfo
  const sick = siteInFolder((s) => {
    s.observability.metrics.listen = `127.0.0.1:${port}`
    s.log = { driver: 'kafka', kafka: { brokers: ['127.0.0.1:1'] } }
  })
  const bad = await sluice(['doctor', '--json', '--site', sick.file])
  t.is(bad.code, 2)
  const codes = (JSON.parse(bad.stdout) as { checks: { ok: boolean; code: string | null }[] }).checks.filter((c) => !c.ok).map((c) => c.code)
  t.true(codes.includes('SLU_ENV_PORT') && codes.includes('SLU_LOG_UNREACHABLE'), codes.join())
  holder.close()
  sick.remove()
})

test('cli: a broker that is not there is waited for as long as the site says, and told; then it is exit 2 with a named error, not a hang', async (t) => {
  t.timeout(60_000)
  const site = siteInFolder((s) => (s.log = { driver: 'kafka', kafka: { brokers: ['127.0.0.1:1'], startWaitMs: 6000 } }))
  const run = await sluice(['start', '--for', '5s', '--json', '--site', site.file])
  t.is(run.code, 2, run.stderr)
  t.is(json(run.stdout).error.code, 'SLU_LOG_UNREACHABLE')
  t.regex(run.stderr, /^warn {2}SLU_LOG_UNREACHABLE: no broker answered: 127\.0\.0\.1:1: waiting for it, at most \d\.\d s more/m)
  site.remove()
})

test('cli: a process that waits for its broker ends when it is asked to, long before the wait is over', async (t) => {
  t.timeout(60_000)
  const site = siteInFolder((s) => (s.log = { driver: 'kafka', kafka: { brokers: ['127.0.0.1:1'], startWaitMs: 3_600_000 } }))
  const running = startSluice(['run', 'assess-health', '--site', site.file])
  await until(() => running.stderr().includes('waiting for it'), 30_000)
  running.child.kill('SIGTERM')
  const { code, signal } = await running.finished
  t.deepEqual([code, signal], [2, null])
  site.remove()
})

test('cli: a broker that closes the connection is exit 2, and the first thing said is what the listener may want', async (t) => {
  t.timeout(60_000)
  const closing = createServer((socket) => void socket.end())
  await new Promise<void>((resolve) => closing.listen(0, '127.0.0.1', resolve))
  const broker = `127.0.0.1:${(closing.address() as AddressInfo).port}`
  const site = siteInFolder((s) => (s.log = { driver: 'kafka', kafka: { brokers: [broker], startWaitMs: 0 } }))
  const run = await sluice(['start', '--for', '5s', '--json', '--site', site.file])
  closing.close()
  t.is(run.code, 2, run.stderr)
  t.like(json(run.stdout).error, { code: 'SLU_LOG_CLOSED' })
  t.regex(run.stderr, /the broker closes the connection\s+127\.0\.0\.1:\d+: does this listener want a user[^]*fix: Compare log\.kafka\.tls and log\.kafka\.sasl/)
  site.remove()
})

test('cli: a secret that is not set is named before anything starts', async (t) => {
  const site = siteInFolder((s) => (s.pseudonyms = { keyEnv: 'SLUICE_TEST_NO_SUCH_KEY' }))
  const run = await sluice(['start', '--for', '1s', '--json', '--site', site.file])
  t.is(run.code, 2)
  t.is(json(run.stdout).error.code, 'SLU_ENV_SECRET')
  t.regex(run.stderr, /SLUICE_TEST_NO_SUCH_KEY/)
  site.remove()
})

test('cli: an outside handler file runs from any folder, and a broken one is named', async (t) => {
  const site = siteInFolder()
  mkdirSync(join(site.dir, 'handlers'))
  const broken = join(site.dir, 'handlers/broken.ts')
  writeFileSync(broken, `export default { kind: 'map' }\n`)
  const run = await sluice(['run', broken, '--json', '--site', site.file])
  t.is(run.code, 1, run.stderr)
  t.is(json(run.stdout).error.code, 'SLU_HANDLER_INVALID')
  site.remove()
})

test('cli: doctor takes the ports of this very site, running already, for its own; another site’s are taken', async (t) => {
  const holder = createHttpServer((_request, response) => response.end(JSON.stringify({ site: 'hall-1', pid: 4711 })))
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
  const listen = `127.0.0.1:${(holder.address() as AddressInfo).port}`
  const portCheck = async (name: string): Promise<{ ok: boolean; code: string | null; detail: string } | undefined> => {
    const site = siteInFolder((s) => Object.assign(s, { site: name, observability: { ...s.observability, health: { listen } } }))
    const run = await sluice(['doctor', '--json', '--site', site.file])
    site.remove()
    return (JSON.parse(run.stdout) as { checks: { name: string; ok: boolean; code: string | null; detail: string }[] }).checks.find((c) => c.name === 'health port')
  }
  t.like(await portCheck('hall-1'), { ok: true, detail: `${listen} is of the running site, pid 4711` })
  t.like(await portCheck('hall-2'), { ok: false, code: 'SLU_ENV_PORT' })
  holder.close()
})

test('cli: an address that is not of this host is a mistake of the site file, named with its key, and not a port that is taken', async (t) => {
  const listen = '203.0.113.1:9464'
  const site = siteInFolder((s) => (s.observability.metrics.listen = listen))
  t.teardown(site.remove)
  const run = await sluice(['run', 'combine-metrics', '--json', '--site', site.file])
  t.is(run.code, 1, run.stderr)
  t.like(json(run.stdout).error, { code: 'SLU_CONFIG_INVALID', detail: `observability.metrics.listen: cannot listen on ${listen}` })
  t.notRegex(run.stderr, /is taken/)
  t.regex(run.stderr, /because .*EADDRNOTAVAIL[^]*fix: Name an address of this host/)
  const simulated = siteInFolder((s) => (s.simulation.listenHost = '203.0.113.1'))
  t.teardown(simulated.remove)
  const started = await sluice(['start', '--for', '1s', '--json', '--site', simulated.file])
  t.like(json(started.stdout).error, { code: 'SLU_CONFIG_INVALID', detail: 'simulation.listenHost: cannot listen on 203.0.113.1' })
  const doctor = await sluice(['doctor', '--site', site.file])
  t.is(doctor.code, 1)
  t.regex(doctor.stdout, /FAIL {2}metrics port +SLU_CONFIG_INVALID {2}observability\.metrics\.listen: cannot listen on 203/)
})

test('cli: doctor is content with a site for handlers of one’s own, and says what it did not look at', async (t) => {
  const site = siteInFolder()
  t.teardown(site.remove)
  writeFileSync(site.file, `site: hall-1\npseudonyms: { keyFile: key, create: true }\nobservability: { metrics: { listen: '127.0.0.1:0' }, health: { listen: '127.0.0.1:0' } }\n`)
  const checked = await sluice(['config', 'check', '--site', site.file])
  const doctor = await sluice(['doctor', '--site', site.file])
  t.deepEqual([checked.code, doctor.code], [0, 0], doctor.stdout + doctor.stderr)
  const lacking = checked.stdout.split('\n').flatMap((line) => /^not there: (.*)/.exec(line)?.[1] ?? [])
  t.is(lacking.length, 2)
  for (const one of lacking) t.true(doctor.stdout.includes(`note  not checked: ${one}\n`), doctor.stdout)
  t.notRegex(doctor.stdout, /FAIL|^ok +policy/m)
  t.regex(doctor.stdout, /^ok +topics +sound; \d+ of the site’s own are not there/m)
  writeFileSync(site.file, `site: hall-1\npseudonyms: { keyFile: key, create: true }\negress: { policy: ./policy }\n`)
  t.is((await sluice(['doctor', '--site', site.file])).code, 1, 'what is written is looked for')
})

test('cli: send says what it does not send: an empty input, empty lines', async (t) => {
  const site = siteInFolder((s) => (s.log = { driver: 'embedded', topics: { partitions: 1 } }))
  t.teardown(site.remove)
  t.is((await sluice(['topics', 'apply', '--topics', 'notes', '--site', site.file])).stdout, 'created  notes\ncreated  notes.dlq\n2 created, 0 existed\n')
  for (const [input, options, told] of [
    ['', [], /nothing to send: the input is empty/],
    ['one\n\ntwo\n', ['--lines'], /^1 empty line skipped$/m],
    ['three\n', [], /^$/],
  ] as const) {
    const sent = await sluice(['send', 'notes', ...options, '--site', site.file], {}, input)
    t.is(sent.code, 0, sent.stderr)
    t.regex(sent.stderr, told)
  }
  const tail = await sluice(['tail', 'notes', '--from', 'start', '--until-end', '--json', '--site', site.file])
  const values = tail.stdout.split('\n').filter((line) => line !== '')
  t.deepEqual(
    values.map((line) => (JSON.parse(line) as { value: string }).value),
    ['one', 'two', 'three\n'],
  )
})

test('cli: a process asked to end says after a second what it waits for, and for how long at most', async (t) => {
  t.timeout(60_000)
  const site = siteInFolder((s) => (s.log = { driver: 'embedded', topics: { partitions: 1 } }))
  t.teardown(site.remove)
  const handler = join(site.dir, 'hang.mjs')
  writeFileSync(
    handler,
    `import { defineFunction } from 'sluice'
export default defineFunction({ kind: 'task', name: 'hang', inputs: ['jobs'], outputs: [], order: 'key', concurrency: 2, deadlineMs: 60000,
  decode: (r) => r.value, handle: async () => { process.stderr.write('hangs\\n'); await new Promise(() => {}) } })
`,
  )
  t.is((await sluice(['topics', 'apply', handler, '--site', site.file])).code, 0)
  t.is((await sluice(['send', 'jobs', '--site', site.file], {}, 'a')).code, 0)
  const running = startSluice(['run', handler, '--site', site.file])
  await until(() => running.stderr().includes('hangs'), 30_000)
  running.child.kill('SIGTERM')
  const { code, stderr } = await running.finished
  t.is(code, 0, stderr)
  t.regex(stderr, /SIGTERM: stopping\nwarn {2}stopping waits for hang: jobs\/0 \(1 record\); at most 5\.0 s/)
})
