/**
 * The jars of one Apache Kafka, from Maven Central, kept under `.kafka/` of the project, in a folder named after what `pom.xml` says: another list
 * of jars goes beside the one that brokers may be running from.
 *
 * Owns: what must be on the machine (a JDK or JRE from 17 on; Maven, unless the jars are there already) and the one download.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { SluiceError } from '../../../schemas/errors.ts'

const run = promisify(execFile)
const POM = fileURLToPath(new URL('pom.xml', import.meta.url))
const ROOT = fileURLToPath(new URL('../../../.kafka/', import.meta.url))
const LIB = `${ROOT}lib-${createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 8)}`
const JAVA_MIN = 17

export interface Availability {
  readonly available: boolean
  /** Why not, for people; empty if available. */
  readonly reason: string
}

/** Major version of the `java` in PATH; null if there is none. */
async function javaMajor(): Promise<number | null> {
  try {
    const { stdout, stderr } = await run('java', ['-version'])
    const major = /version "(\d+)/.exec(stdout + stderr)?.[1]
    return major === undefined ? null : Number(major)
  } catch {
    return null
  }
}

const areCached = (): boolean => existsSync(LIB) && readdirSync(LIB).some((name) => /^kafka_2\.13-.*\.jar$/.test(name))

/** Whether a broker can be started here, without downloading anything yet. */
export async function isKafkaAvailable(): Promise<Availability> {
  const major = await javaMajor()
  if (major === null) return { available: false, reason: 'no java in PATH' }
  if (major < JAVA_MIN) return { available: false, reason: `java ${major} in PATH, ${JAVA_MIN} or newer is needed` }
  if (areCached()) return { available: true, reason: '' }
  try {
    await run('mvn', ['--version'])
    return { available: true, reason: '' }
  } catch {
    return { available: false, reason: 'no mvn in PATH, and the jars are not there yet' }
  }
}

/** Folder of the jars, downloaded on first use. Throws SLU_ENV_TOOL. */
export async function kafkaJars(onProgress: (line: string) => void): Promise<string> {
  const { available, reason } = await isKafkaAvailable()
  if (!available) throw new SluiceError('SLU_ENV_TOOL', reason)
  if (areCached()) return LIB
  onProgress('fetching Apache Kafka from Maven Central …')
  await mkdir(ROOT, { recursive: true })
  // Beside, then renamed: an interrupted download is never taken for a whole one.
  const staging = `${ROOT}fetching-${process.pid}`
  try {
    await run('mvn', ['-B', '-q', '-f', POM, 'dependency:copy-dependencies', `-DoutputDirectory=${staging}`], { maxBuffer: 64 << 20 })
    await rm(LIB, { recursive: true, force: true })
    await rename(staging, LIB)
  } catch (cause) {
    await rm(staging, { recursive: true, force: true })
    if (!areCached()) throw new SluiceError('SLU_ENV_TOOL', 'mvn could not fetch the jars', cause)
  }
  return LIB
}
