/**
 * `npm run kafka`: Apache Kafka on this machine until a signal comes.
 *
 * Owns: its options and output: progress on stderr, one line (or with --json one document) on stdout when it is ready. Exit codes as `sluice`.
 */
import { parseArgs } from 'node:util'
import { asSluiceError, causeChain, errors } from '../../../schemas/errors.ts'
import { startKafka } from './cluster.ts'

const USAGE = 'usage: npm run kafka -- [--brokers 1|3] [--port N] [--dir FOLDER] [--json]'

async function main(): Promise<number> {
  let values: { brokers?: string; port?: string; dir?: string; json?: boolean; help?: boolean }
  try {
    ;({ values } = parseArgs({ options: { brokers: { type: 'string' }, port: { type: 'string' }, dir: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean' } } }))
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`)
    return 1
  }
  const brokers = Number(values.brokers ?? 1)
  const port = values.port === undefined ? undefined : Number(values.port)
  if (values.help === true || ![1, 3].includes(brokers) || (port !== undefined && !(port > 0 && port + brokers <= 65_536))) {
    process.stderr.write(`${USAGE}\n`)
    return values.help === true ? 0 : 1
  }
  // A signal while starting is kept: the cluster is stopped as soon as it can be.
  const signal = new Promise<string>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => resolve(name))
  })
  try {
    const cluster = await startKafka({
      brokers,
      ...(port === undefined ? {} : { port }),
      ...(values.dir === undefined ? {} : { dir: values.dir }),
      onProgress: (line) => process.stderr.write(`${line}\n`),
    })
    process.stdout.write(
      values.json === true ? `${JSON.stringify({ brokers: cluster.bootstrap, pids: cluster.pids, dir: cluster.dir })}\n` : `ready: ${cluster.bootstrap.join(',')}   Ctrl-C stops\n`,
    )
    process.stderr.write(`${await signal}: stopping\n`)
    await cluster.stop()
    return 0
  } catch (thrown) {
    const error = asSluiceError(thrown, 'SLU_INTERNAL')
    process.stderr.write(
      [`${error.code}  ${errors[error.code].what}`, `  ${error.detail}`, ...causeChain(error.cause).map((m) => `  because ${m.split('\n')[0]}`), `  fix: ${error.fix}`, ''].join(
        '\n',
      ),
    )
    return errors[error.code].exit
  }
}

process.exitCode = await main()
