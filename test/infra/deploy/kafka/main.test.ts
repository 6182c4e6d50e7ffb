import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { isKafkaAvailable } from '../../../../infra/deploy/kafka/cluster.ts'
import { ROOT } from '../../../helpers/site.ts'
import { until } from '../../../helpers/until.ts'

const { available } = await isKafkaAvailable()
const kafkaTest = available ? test : test.skip

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function start(...args: string[]) {
  const child = spawn(process.execPath, [join(ROOT, 'infra/deploy/kafka/main.ts'), ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  const text = { out: '', err: '' }
  child.stdout.on('data', (chunk: Buffer) => (text.out += chunk.toString('utf8')))
  child.stderr.on('data', (chunk: Buffer) => (text.err += chunk.toString('utf8')))
  return { child, text, ended: once(child, 'close').then(([code]) => code as number | null) }
}

kafkaTest('npm run kafka: says where it answers, stops its brokers on SIGTERM and exits 0', async (t) => {
  t.timeout(120_000)
  const { child, text, ended } = start('--json')
  await until(
    () => text.out.includes('\n'),
    90_000,
    () => text.err,
  )
  const { brokers, dir } = JSON.parse(text.out) as { brokers: string[]; dir: string }
  t.is(brokers.length, 1)
  child.kill('SIGTERM')
  t.is(await ended, 0)
  t.false(existsSync(dir))
  // Warnings of the client it asks for readiness would stand between the lines people read.
  t.notRegex(text.err, /Warning/)
})

kafkaTest('npm run kafka: killed without a word, its brokers end too', async (t) => {
  t.timeout(120_000)
  const { child, text, ended } = start('--json')
  await until(
    () => text.out.includes('\n'),
    90_000,
    () => text.err,
  )
  const { pids, dir } = JSON.parse(text.out) as { pids: number[]; dir: string }
  t.is(pids.length, 1)
  child.kill('SIGKILL')
  await ended
  await until(() => pids.every((pid) => !isAlive(pid)), 20_000)
  rmSync(dir, { recursive: true, force: true })
})

test('npm run kafka: bad use is exit 1 with the usage, before anything starts', async (t) => {
  for (const args of [['--brokers', '2'], ['--port', 'x'], ['--port', '65534', '--brokers', '3'], ['--nope']]) {
    const { text, ended } = start(...args)
    t.is(await ended, 1, args.join(' '))
    t.regex(text.err, /usage: npm run kafka/)
  }
})
