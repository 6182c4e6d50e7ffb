/**
 * Real Apache Kafka (KRaft) on loopback, without Docker: one broker, or three that replicate.
 *
 * Owns: ports, server.properties, formatting, processes, readiness and the stop by the processes' own ids. Data lies under `.kafka/` of the
 * project unless a folder is given; a start that fails leaves neither data nor processes. Brokers end with whoever started them, however that
 * ends; after a SIGKILL the data stays. Settings are those of small machines and short tests: no rebalance delay, small dedupe buffer, and in a
 * cluster a dead broker leaves the ISR after three seconds.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { SluiceError } from '../../../schemas/errors.ts'
import { createClient } from '../../log/kafka/kafkajs.ts'
import { kafkaJars } from './jars.ts'

export { isKafkaAvailable } from './jars.ts'

export interface ClusterOptions {
  readonly brokers?: number
  /** Port of the first broker; the others follow. Default: free ones. */
  readonly port?: number
  /** Data folder to keep; default: a new one that `stop` removes. */
  readonly dir?: string
  /** Where the folder of data that is not kept is made; default: `.kafka/` of the project. */
  readonly root?: string
  /** Listeners beside the plain one, on free ports, by the name that `settings` refers to. */
  readonly listeners?: readonly Listener[]
  /** Further lines of server.properties. */
  readonly settings?: Readonly<Record<string, string>>
  /** Further arguments of the formatting tool, e.g. `--add-scram` and a user. */
  readonly formatArgs?: readonly string[]
  readonly onProgress?: (line: string) => void
}

export interface Listener {
  /** Upper case, e.g. `SECURE`. */
  readonly name: string
  readonly protocol: 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL'
  /** Ports that clients of this listener are told, one a broker: those of proxies in front. Default: its own. */
  readonly advertisedPorts?: readonly number[]
}

export interface KafkaCluster {
  /** Of the plain listener. */
  readonly bootstrap: string[]
  /** Where the further listeners listen, by name. */
  readonly listeners: ReadonlyMap<string, readonly string[]>
  readonly pids: readonly number[]
  readonly dir: string
  /** SIGKILL of one broker. */
  kill(index: number): Promise<void>
  /** Starts a killed broker again on its port and data. */
  restart(index: number): Promise<void>
  stop(): Promise<void>
}

const ROOT = fileURLToPath(new URL('../../../.kafka/', import.meta.url))
const READY_MS = 60_000
const STOP_MS = 10_000
const JVM = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn']

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  const ports = servers.map((s) => (s.address() as AddressInfo).port)
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))))
  return ports
}

async function refuseTaken(port: number): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new SluiceError('SLU_ENV_PORT', `127.0.0.1:${port}`, cause)))
    server.listen(port, '127.0.0.1', resolve)
  })
  await new Promise((resolve) => server.close(resolve))
}

interface Layout {
  /** By broker. */
  readonly ports: readonly number[]
  readonly controllers: readonly number[]
  readonly dir: string
  readonly further: readonly (Listener & { readonly ports: readonly number[] })[]
  readonly settings: Readonly<Record<string, string>>
}

function properties(index: number, { ports, controllers, dir, further, settings }: Layout): string {
  const isCluster = ports.length > 1
  const clients = (portsOf: (l: Layout['further'][number]) => readonly number[]): string[] => [
    `PLAINTEXT://127.0.0.1:${ports[index]}`,
    ...further.map((l) => `${l.name}://127.0.0.1:${portsOf(l)[index]}`),
  ]
  const lines: Record<string, string | number> = {
    'process.roles': 'broker,controller',
    'node.id': index + 1,
    'controller.quorum.voters': controllers.map((port, i) => `${i + 1}@127.0.0.1:${port}`).join(','),
    listeners: [...clients((l) => l.ports), `CONTROLLER://127.0.0.1:${controllers[index]}`].join(','),
    'advertised.listeners': clients((l) => l.advertisedPorts ?? l.ports).join(','),
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': ['PLAINTEXT:PLAINTEXT', 'CONTROLLER:PLAINTEXT', ...further.map((l) => `${l.name}:${l.protocol}`)].join(','),
    'log.dirs': join(dir, `broker-${index + 1}`),
    'auto.create.topics.enable': 'false',
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1000,
    'log.cleaner.dedupe.buffer.size': 4_194_304,
    'message.max.bytes': 16_777_216,
    'replica.fetch.max.bytes': 16_777_216,
    'offsets.topic.num.partitions': 4,
    'offsets.topic.replication.factor': isCluster ? 3 : 1,
    'transaction.state.log.num.partitions': 4,
    'transaction.state.log.replication.factor': isCluster ? 3 : 1,
    'transaction.state.log.min.isr': isCluster ? 2 : 1,
    'default.replication.factor': isCluster ? 3 : 1,
    'min.insync.replicas': isCluster ? 2 : 1,
    'broker.session.timeout.ms': isCluster ? 3000 : 9000,
    'broker.heartbeat.interval.ms': isCluster ? 500 : 2000,
    ...settings,
  }
  return Object.entries(lines)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}

/**
 * Java in the place of the shell, and beside it a reader of pipe 3. If the pipe ends without a line, whoever held it is gone, be it by SIGKILL:
 * then java is killed. A line means that java has ended, and its id may be another's.
 */
const WITH_ITS_STARTER = '{ read -r line <&3 || kill -KILL $$; } >/dev/null 2>&1 & exec "$@" 3<&-'

const java = (lib: string, main: string, args: readonly string[], logFile: string): ChildProcess => {
  const command = ['java', ...JVM, '-cp', `${lib}/*`, main, ...args]
  const child = spawn('/bin/sh', ['-c', WITH_ITS_STARTER, 'sh', ...command], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
  const held = child.stdio[3] as Writable
  // The reader may be gone already, by a signal to the whole group.
  held.on('error', () => {})
  child.once('exit', () => held.end('\n'))
  const log = createWriteStream(logFile, { flags: 'a' })
  child.stdout?.pipe(log)
  child.stderr?.pipe(log)
  return child
}

const ended = (child: ChildProcess): Promise<number | null> =>
  child.exitCode !== null || child.signalCode !== null ? Promise.resolve(child.exitCode) : new Promise((resolve) => child.once('exit', resolve))

/** Why a process that writes `logFile` did not do what it should: the log may be removed before anybody can look. */
async function notUp(what: string, logFile: string, cause?: unknown): Promise<SluiceError> {
  // Without the frames of stack traces, which are indented.
  const lines = (await readFile(logFile, 'utf8').catch(() => '')).split('\n').filter((line) => /^\S/.test(line))
  const telling = lines.findLast((line) => /^Caused by|Exception|\bERROR\b/.test(line)) ?? lines.at(-1)
  return new SluiceError('SLU_ENV_SERVER', what, telling === undefined ? cause : new Error(telling.trimEnd(), { cause }))
}

/** Resolves when every broker is known to the cluster and answers. */
async function untilReady(bootstrap: readonly string[], children: readonly ChildProcess[], logFiles: readonly string[]): Promise<void> {
  const admin = createClient({ brokers: bootstrap, clientId: 'sluice-kafka', connectionTimeoutMs: 500 }).admin({ retry: { retries: 0 } })
  const until = Date.now() + READY_MS
  try {
    for (;;) {
      const dead = children.findIndex((c) => c.exitCode !== null || c.signalCode !== null)
      if (dead >= 0) throw await notUp('a broker of Kafka ended while starting', logFiles[dead] as string)
      let problem: unknown = null
      try {
        await admin.connect()
        if ((await admin.describeCluster()).brokers.length === bootstrap.length) return
      } catch (error) {
        problem = error
      }
      if (Date.now() > until) throw await notUp(`Kafka did not answer within ${READY_MS} ms`, logFiles[0] as string, problem)
      await delay(150)
    }
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** Starts a cluster and resolves once it answers. Throws SLU_ENV_TOOL, SLU_ENV_PORT, SLU_ENV_SERVER. */
export async function startKafka(options: ClusterOptions = {}): Promise<KafkaCluster> {
  const say = options.onProgress ?? (() => {})
  const count = options.brokers ?? 1
  const lib = await kafkaJars(say)
  const wanted = options.listeners ?? []
  const free = await freePorts(count * (2 + wanted.length))
  const ports = options.port === undefined ? free.slice(0, count) : Array.from({ length: count }, (_, i) => (options.port as number) + i)
  if (options.port !== undefined) for (const port of ports) await refuseTaken(port)
  const controllers = free.slice(count, count * 2)
  const further = wanted.map((listener, i) => ({ ...listener, ports: free.slice(count * (i + 2), count * (i + 3)) }))
  const bootstrap = ports.map((port) => `127.0.0.1:${port}`)
  const id = randomBytes(16).toString('base64url').slice(0, 22).replace(/^-/, 'A')

  say(`starting ${count === 1 ? 'one broker' : `${count} brokers`} on ${bootstrap.join(', ')}`)
  // Nothing is made before the ports are known to be free.
  const root = options.root ?? ROOT
  await mkdir(options.dir ?? root, { recursive: true })
  const dir = options.dir ?? (await mkdtemp(join(root, 'data-')))
  const files = ports.map((_port, i) => join(dir, `server-${i + 1}.properties`))
  const logFiles = ports.map((_port, i) => join(dir, `broker-${i + 1}.log`))
  const children: ChildProcess[] = []
  const broker = (i: number): ChildProcess => java(lib, 'kafka.Kafka', [files[i] as string], logFiles[i] as string)

  const format = async (file: string, i: number): Promise<void> => {
    const log = join(dir, `format-${i + 1}.log`)
    await writeFile(file, properties(i, { ports, controllers, dir, further, settings: options.settings ?? {} }))
    // --ignore-formatted: a kept folder is used again as it is.
    const tool = java(lib, 'kafka.tools.StorageTool', ['format', '-t', id, '-c', file, '--ignore-formatted', ...(options.formatArgs ?? [])], log)
    if ((await ended(tool)) !== 0) throw await notUp('formatting the data of Kafka failed', log)
  }
  const stop = async (): Promise<void> => {
    for (const child of children) if (child.exitCode === null) child.kill('SIGTERM')
    const bound = delay(STOP_MS, undefined, { ref: false })
    await Promise.race([Promise.all(children.map(ended)), bound])
    for (const child of children) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await Promise.all(children.map(ended))
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true })
  }
  try {
    // All of them end before one that failed is told: nothing writes any more to what is removed.
    const refused = (await Promise.allSettled(files.map(format))).find((one) => one.status === 'rejected')
    if (refused !== undefined) throw refused.reason
    children.push(...ports.map((_port, i) => broker(i)))
    await untilReady(bootstrap, children, logFiles)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    bootstrap,
    listeners: new Map(further.map((l) => [l.name, l.ports.map((port) => `127.0.0.1:${port}`)])),
    dir,
    get pids() {
      return children.map((c) => c.pid ?? 0)
    },
    kill: async (index) => {
      const child = children[index] as ChildProcess
      child.kill('SIGKILL')
      await ended(child)
    },
    restart: async (index) => {
      children[index] = broker(index)
      await untilReady(bootstrap, [children[index]], [logFiles[index] as string])
    },
    stop,
  }
}
