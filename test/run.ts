/**
 * `npm test`: every test, with the real servers that this machine can have.
 *
 * Owns: one real Kafka broker and one S3 server binary for the whole run (where a JDK and Maven, or Go, are there), the line
 * "N passed, N failed, N skipped", and the exit code: 1 when a test failed, when none ran, or when one was skipped under SLUICE_REFUSE_SKIPS.
 * Arguments go to ava: `npm test -- test/streams`.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { isKafkaAvailable, startKafka } from '../infra/deploy/kafka/cluster.ts'
import { ensureS3Server } from '../infra/deploy/s3/fetch.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const say = (text: string): void => void process.stderr.write(`${text}\n`)

const leftOut: string[] = []
const environment: NodeJS.ProcessEnv = { ...process.env, FORCE_COLOR: process.stdout.isTTY ? '1' : '0' }

const kafkaReady = await isKafkaAvailable()
let kafka: Awaited<ReturnType<typeof startKafka>> | undefined
if (kafkaReady.available) {
  say('starting one Kafka broker for the tests …')
  kafka = await startKafka({ brokers: 1, onProgress: say })
  environment['SLUICE_TEST_KAFKA'] = kafka.bootstrap.join(',')
} else if (process.env['SLUICE_REQUIRE_KAFKA'] === '1') {
  say(`SLUICE_REQUIRE_KAFKA is set and Kafka cannot be started: ${kafkaReady.reason}`)
  process.exit(1)
} else leftOut.push(`tests on real Kafka: ${kafkaReady.reason}`)

const s3 = await ensureS3Server(say)
if (s3.binary !== null) environment['SLUICE_TEST_S3_BINARY'] = s3.binary
else if (process.env['SLUICE_REQUIRE_S3'] === '1') {
  say(`SLUICE_REQUIRE_S3 is set and no S3 server can be had: ${s3.reason}`)
  await kafka?.stop()
  process.exit(1)
} else leftOut.push(`tests on a real S3 server: ${s3.reason}`)

const ava = spawn(process.execPath, [fileURLToPath(new URL('../node_modules/ava/entrypoints/cli.js', import.meta.url)), '--concurrency', '2', ...process.argv.slice(2)], {
  cwd: ROOT,
  env: environment,
  stdio: ['ignore', 'pipe', 'inherit'],
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => ava.kill(signal))
// Counted line by line: the runner's own summary leaves the passed ones out when one failed.
const counts = { passed: 0, failed: 0, skipped: 0 }
let rest = ''
ava.stdout.on('data', (chunk: Buffer) => {
  process.stdout.write(chunk)
  const lines = (rest + stripVTControlCharacters(chunk.toString('utf8'))).split('\n')
  rest = lines.pop() ?? ''
  for (const line of lines) {
    if (/^\s*✔ /.test(line)) counts.passed++
    else if (/^\s*✘ /.test(line)) counts.failed++
    else if (/^\s*- \[skip\] /.test(line)) counts.skipped++
  }
})
const status = await new Promise<number>((resolve) => ava.on('close', (code) => resolve(code ?? 1)))
await kafka?.stop()

const { passed, failed, skipped } = counts
for (const line of leftOut) process.stdout.write(`left out: ${line}\n`)
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`)
const refused = process.env['SLUICE_REFUSE_SKIPS'] === '1' && skipped > 0
if (passed === 0) say('no test ran')
if (refused) say('tests were skipped and SLUICE_REFUSE_SKIPS is set')
process.exitCode = status !== 0 || failed > 0 || passed === 0 || refused ? 1 : 0
