/**
 * `sluice <verb>`: the command line (design.md §4.4).
 *
 * Owns: the list of verbs and global options, and turning what a verb throws into one error and an exit code:
 * 0 ok, 1 bad use or bad input, 2 environment, 3 refused by policy or verification. Each verb is a file of its own.
 */
import { Command, CommanderError, Option } from 'commander'
import { errors, SluiceError } from '../schemas/errors.ts'
import { configCheck, configReference, configSchema } from './config.ts'
import { dlqList, dlqRetry, dlqShow } from './dlq.ts'
import { doctor } from './doctor.ts'
import { egressVerify } from './egress.ts'
import { help } from './help.ts'
import type { Verb } from './invocation.ts'
import { createOutput, reportError } from './output.ts'
import { ps } from './ps.ts'
import { run } from './run.ts'
import { send } from './send.ts'
import { start } from './start.ts'
import { tail } from './tail.ts'
import { topicsApply, topicsList } from './topics.ts'
import { VERSION } from './version.ts'

function buildProgram(done: (code: number) => void): Command {
  const program = new Command('sluice')
    .description('Event pipeline of an on-prem AI factory: telemetry and inference requests in, permitted summaries out.')
    .version(VERSION)
    .addOption(new Option('--site <file>', 'site configuration').default('site.yaml').env('SLUICE_SITE'))
    .option('--json', 'machine-readable output on stdout')
    .exitOverride()
    .showSuggestionAfterError()
    .enablePositionalOptions()
    .configureHelp({ showGlobalOptions: true })

  const verb = (parent: Command, usage: string, description: string, act: Verb): Command =>
    parent
      .command(usage)
      .description(description)
      .option('--json', 'machine-readable output on stdout')
      .addOption(new Option('--site <file>', 'site configuration').env('SLUICE_SITE'))
      .exitOverride()
      .action(async (...given: unknown[]) => {
        const command = given.at(-1) as Command
        const options = command.optsWithGlobals<Record<string, unknown>>()
        const isJson = options['json'] === true || program.opts()['json'] === true
        const siteFile = command.opts<{ site?: string }>().site ?? program.opts<{ site: string }>().site
        const output = createOutput(isJson)
        try {
          done(await act({ siteFile, output, environment: process.env }, command.args, options))
        } catch (error) {
          done(reportError(error, output))
        }
      })

  verb(program, 'start', 'run the whole site in this process', start)
    .option('--for <duration>', 'stop by itself after e.g. 20s, 5m and print what happened')
    .option('--fresh', 'with the embedded log: begin from an empty site (log, ledger and carry folder of the site are removed)')
    .option('--quiet', 'no live screen')
  verb(program, 'run [functions...]', 'run some functions of the site, or a handler file (path/to/handler.ts)', run)
    .option('--topics <list>', 'topics of an AWS Lambda handler, separated by commas')
    .option('--name <name>', 'its name, and that of its consumer group (default: its file’s)')
    .option('--batch-size <n>', 'its records a batch, 1 to 10000 (default 100)')
    .option('--batch-window <duration>', 'how long its batch may wait to fill (default 500ms)')
    .option('--timeout <duration>', 'its time for one invocation (default 60s)')
  verb(program, 'ps', 'what the running processes of the site do: lags by partition, and why one stands still', ps).option(
    '--url <url...>',
    'where processes answer, e.g. on other hosts; default: those of this host',
  )
  const topics = program.command('topics').description('the topics of the site').exitOverride()
  const more = '--topics <list>'
  const moreText = 'topics by their names, separated by commas; the inputs of an AWS Lambda handler'
  const which = 'of the site, or of handler files and --topics alone; a function of the site beside them stands for all of the site'
  verb(topics, 'apply [functions...]', `create what is missing, check what exists: topics ${which}`, topicsApply).option(more, moreText)
  verb(topics, 'ls [functions...]', `partitions, settings and sizes: topics ${which}`, topicsList).option(more, moreText)
  verb(program, 'send <topic>', 'append standard input or a file as it is, byte for byte, as one record; of an empty one nothing', send)
    .option('--key <key>', 'record key')
    .option('--file <file>', 'read the value from a file instead of standard input')
    .option('--lines', 'one record per line, without its line break; empty lines are skipped')
    .option('--header <name=value...>', 'record header, repeatable')
  verb(program, 'tail <topic>', 'print records as they come, decoded', tail)
    .option('--from <where>', 'start, end, or a number of records back per partition', 'end')
    .option('--limit <n>', 'stop after this many records')
    .option('--until-end', 'stop at the end of the topic as it is now')
    .option('--full', 'values of any length whole; --json shows them whole anyway')
  const dlq = program.command('dlq').description('records that could not be handled').exitOverride()
  verb(dlq, 'ls [topic]', 'dead letters by topic and error code', dlqList)
  const only = (command: Command): Command =>
    command
      .option('--code <code>', 'only those with this error code')
      .option('--function <name>', 'only those that this function parked')
      .option('--at <partition/offset>', 'only this one, by its place in the DLQ')
      .option('--limit <n>', 'at most this many, oldest first')
  only(verb(dlq, 'show <topic>', 'dead letters of a source topic: why, from where, the record itself', dlqShow))
    .option('--after <partition/offset>', 'only those behind this one: the next page')
    .option('--full', 'values of any length whole; --json shows them whole anyway')
  only(verb(dlq, 'retry <topic>', 'put them back on their source topic, each once, for the function that parked it', dlqRetry))
    .option('--to-all', 'for every function that reads the topic: where the one that parked them goes by another name now')
    .option('--dry-run', 'only say what would be put back')
  const config = program.command('config').description('the site configuration').exitOverride()
  verb(config, 'check', 'validate and print the resolved configuration with the origin of each value', configCheck)
  verb(config, 'schema', 'JSON Schema of site.yaml for editors', configSchema)
  verb(config, 'reference', 'reference of every key as Markdown', configReference)
  const egress = program.command('egress').description('what left the site').exitOverride()
  verb(egress, 'verify [dir]', 'verify a ledger offline with nothing but its files', egressVerify).option('--key <vkey>', 'verifier key; default: the one beside the ledger')
  verb(program, 'doctor', 'check configuration, log, topics, policy, ledger, ports', doctor)
  verb(program, 'help [code]', 'explain an error code, or list the verbs', help)
  program.helpCommand(false)
  return program
}

async function main(argv: readonly string[]): Promise<number> {
  let code = 0
  const program = buildProgram((c) => (code = c))
  try {
    await program.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(error, createOutput(argv.includes('--json')))
    // Commander has printed usage or help; --help and --version are no errors.
    if (error.exitCode === 0) return 0
    if (error.code === 'commander.help') return errors.SLU_USE.exit
    return reportError(new SluiceError('SLU_USE', error.message.replace(/^error: /, '')), createOutput(argv.includes('--json')))
  }
  return code
}

// Everything a verb opened is closed and stdout is written synchronously: a connection that a server never ends must not keep the process.
process.exit(await main(process.argv.slice(2)))
