/**
 * The Java contestants, built once from Maven Central, and the service that tasks call.
 *
 * Owns: what must be on the machine (a JDK from 17 on, Maven), the jars and classes under `.tools/peers/<name>`, made anew when a source changes, and
 * the service's process. What cannot be built is left out, and it is said why.
 */
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const JAVA_MIN = 17

export type PeerName = 'kafka-streams' | 'parallel-consumer'

export type Peer = { readonly classPath: string } | { readonly missing: string }

async function jdkMissing(): Promise<string | null> {
  try {
    const { stdout, stderr } = await run('javac', ['-version'])
    const major = Number(/javac (\d+)/.exec(stdout + stderr)?.[1])
    return major >= JAVA_MIN ? null : `javac ${major} in PATH, ${JAVA_MIN} or newer is needed`
  } catch {
    return 'no javac in PATH'
  }
}

async function toolMissing(): Promise<string | null> {
  const missing = await jdkMissing()
  if (missing !== null) return missing
  try {
    await run('mvn', ['--version'])
    return null
  } catch {
    return 'no mvn in PATH'
  }
}

const built = new Map<PeerName, Promise<Peer>>()

/** The class path of a peer, built on first use. */
export function buildPeer(name: PeerName): Promise<Peer> {
  const known = built.get(name) ?? build(name)
  built.set(name, known)
  return known
}

async function build(name: PeerName): Promise<Peer> {
  const source = fileURLToPath(new URL(`${name}/Peer.java`, import.meta.url))
  const pom = fileURLToPath(new URL(`${name}/pom.xml`, import.meta.url))
  const dir = fileURLToPath(new URL(`../../.tools/peers/${name}/`, import.meta.url))
  const classPath = `${dir}classes:${dir}lib/*`
  const stamp = `${dir}stamp`
  const wanted = createHash('sha256').update(readFileSync(source)).update(readFileSync(pom)).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return { classPath }
  const missing = await toolMissing()
  if (missing !== null) return { missing }
  process.stderr.write(`building the peer ${name} …\n`)
  await rm(dir, { recursive: true, force: true })
  await mkdir(`${dir}classes`, { recursive: true })
  try {
    await run('mvn', ['-B', '-q', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${dir}lib`], { maxBuffer: 64 << 20 })
  } catch (cause) {
    return { missing: `mvn could not fetch its jars: ${String((cause as { stdout?: string }).stdout ?? cause).slice(0, 300)}` }
  }
  // What does not compile is our defect, not the machine's.
  await run('javac', ['-nowarn', '-cp', `${dir}lib/*`, '-d', `${dir}classes`, source])
  await writeFile(stamp, wanted)
  return { classPath }
}

export interface Service {
  readonly port: number
  close(): void
}

/** Starts the service that answers after `delayMs`, on a free port of loopback; it ends with this process too. */
export async function startService(delayMs: number): Promise<Service | { readonly missing: string }> {
  const missing = await jdkMissing()
  if (missing !== null) return { missing }
  const child = spawn('java', [fileURLToPath(new URL('service/Service.java', import.meta.url)), `delayMs=${delayMs}`], { stdio: ['pipe', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout })) return { port: Number(line), close: () => child.stdin.end() }
  throw new Error('bench/peers/service ended before it said its port')
}
