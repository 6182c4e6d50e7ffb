/** Opens the log driver a site names, with its secrets taken from the environment variables and files it names (SLU_ENV_SECRET). */
import { readFileSync } from 'node:fs'
import { SluiceError } from '../schemas/errors.ts'
import type { LogDriver } from '../schemas/log.ts'
import type { LoadedSite } from './load-site.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * The value of an environment variable that a site names; where it is not set, the content of the file that `<NAME>_FILE` names,
 * as orchestrators mount secrets. Throws SLU_ENV_SECRET.
 */
export function secret(environment: Environment, name: string): string {
  const value = environment[name]
  if (value !== undefined && value !== '') return value
  const path = environment[`${name}_FILE`]
  if (path === undefined || path === '') throw new SluiceError('SLU_ENV_SECRET', name)
  let content: string
  try {
    content = readFileSync(path, 'utf8').trim()
  } catch (cause) {
    throw new SluiceError('SLU_ENV_SECRET', `${name}_FILE ${path}`, cause)
  }
  if (content === '') throw new SluiceError('SLU_ENV_SECRET', `${name}_FILE ${path} is empty`)
  return content
}

export async function openLog(loaded: LoadedSite, environment: Environment): Promise<LogDriver> {
  const { log } = loaded.site
  // Only the driver in use is loaded.
  if (log.driver === 'embedded') {
    const { createEmbeddedDriver } = await import('../infra/log/embedded/driver.ts')
    return createEmbeddedDriver({ dir: loaded.pathOf(log.embedded.dir) })
  }
  const kafka = log.kafka
  if (kafka === undefined) throw new SluiceError('SLU_CONFIG_INVALID', 'log.kafka is missing')
  const read = (named: string | undefined): string | undefined => (named === undefined ? undefined : readFileSync(loaded.pathOf(named), 'utf8'))
  const [ca, cert, key] = [read(kafka.tls?.caFile), read(kafka.tls?.certFile), read(kafka.tls?.keyFile)]
  const { createKafkaDriver } = await import('../infra/log/kafka/driver.ts')
  return createKafkaDriver({
    brokers: kafka.brokers,
    clientId: `sluice-${loaded.site.site}`,
    sessionMs: kafka.sessionMs,
    ...(kafka.tls === undefined ? {} : { tls: { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) } }),
    ...(kafka.sasl === undefined
      ? {}
      : { sasl: { mechanism: kafka.sasl.mechanism, username: secret(environment, kafka.sasl.usernameEnv), password: secret(environment, kafka.sasl.passwordEnv) } }),
  })
}
