/** `npm run chaos`, small: the whole program on a three-broker cluster with a few faults of each kind. The full run is on demand. */
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import test from 'ava'
import { isKafkaAvailable } from '../../infra/deploy/kafka/cluster.ts'
import { ROOT } from '../helpers/site.ts'

const { available, reason } = await isKafkaAvailable()
if (!available && process.env['SLUICE_REQUIRE_KAFKA'] === '1') throw new Error(`SLUICE_REQUIRE_KAFKA is set and Kafka cannot be started: ${reason}`)
const kafkaTest = available ? test.serial : test.skip

function connected(port: number): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port })
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.destroy()
      resolve()
    })
  })
}

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function chaos(args: readonly string[], onStderr: (text: string, interrupt: () => void) => void = () => {}): Promise<Ended> {
  const child = spawn(process.execPath, ['test/chaos/main.ts', ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')))
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8')
    onStderr(stderr, () => child.kill('SIGINT'))
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })))
}

kafkaTest('chaos: a killed member, a killed broker and a zombie leave every window and every result as computed from the input', async (t) => {
  t.timeout(300_000)
  const { code, stdout, stderr } = await chaos('--json --seed 7 --samples 12000 --requests 60 --minutes 0.25 --member-kills 1 --broker-kills 1 --zombies 1 --cuts 1'.split(' '))
  t.is(code, 0, `${stdout}\n${stderr}`)
  const result = JSON.parse(stdout) as { readonly lost: number; readonly compared: { readonly windows: number; readonly results: number } }
  t.like(result, { lost: 0, wrong: 0, doubled: 0, kills: { member: 1, broker: 1, zombie: 1, cut: 1 }, seed: 7, shortcomings: [] })
  t.true(result.compared.windows > 50 && result.compared.results > 40, stdout)
})

test('chaos: bad use is refused before anything is started', async (t) => {
  for (const args of [['--samples', '0'], ['--minutes', 'x'], ['--member-kills', '-1'], ['--nothing-of-the-kind']]) {
    const { code, stderr } = await chaos(args)
    t.is(code, 1, args.join(' '))
    t.regex(stderr, /usage: npm run chaos/)
  }
})

kafkaTest('chaos: interrupted, it stops what it started and says so', async (t) => {
  t.timeout(120_000)
  let isSent = false
  const { code, stderr } = await chaos(['--samples', '2000', '--requests', '10', '--minutes', '5'], (text, interrupt) => {
    if (isSent || !text.includes('member processes')) return
    isSent = true
    interrupt()
  })
  t.is(code, 130, stderr)
  t.regex(stderr, /interrupted: everything is stopped/)
  const ports = [...(/brokers on (.*)/.exec(stderr)?.[1] ?? '').matchAll(/:(\d+)/g)].map((m) => Number(m[1]))
  t.is(ports.length, 3)
  for (const port of ports) await t.throwsAsync(connected(port), { code: 'ECONNREFUSED' }, 'the broker is gone')
})
