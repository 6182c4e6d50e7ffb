/**
 * `npm run bench -- <name> [group…] [--json]`: runs one benchmark of `bench/`, or some groups of its cases.
 *
 * Owns: the list of benchmarks and the output: with --json one line per case on stdout (design.md §4.4), else the conditions and a table.
 * Exit codes: 0 measured, 1 no such benchmark.
 */
import { humanNumber, machine, type Bench, type BenchCase } from './report.ts'

/** Loaded on demand: a benchmark may need what another does not. */
const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  telemetry: async () => (await import('./telemetry.ts')).telemetry,
  router: async () => (await import('./router.ts')).routerBench,
  pipeline: async () => (await import('./pipeline.ts')).pipelineBench,
  recovery: async () => (await import('./recovery.ts')).recoveryBench,
  runtime: async () => (await import('./runtime.ts')).runtimeBench,
}

const row = (result: BenchCase): string => {
  const peers = Object.entries(result.peers).map(([name, value]) => `${name} ${humanNumber(value)}`)
  return `  ${result.case.padEnd(44)} ${`${humanNumber(result.value)} ${result.unit}`.padStart(20)}   ${peers.join(', ')}`
}

async function main(args: readonly string[]): Promise<number> {
  const isJson = args.includes('--json')
  const [name, ...only] = args.filter((arg) => !arg.startsWith('--'))
  const load = name === undefined ? undefined : benches[name]
  if (name === undefined || load === undefined) {
    process.stderr.write(`usage: npm run bench -- <name> [group…] [--json]\nbenchmarks: ${Object.keys(benches).join(', ')}\n`)
    return 1
  }
  const bench = await load()
  const conditions = { ...machine(), ...bench.conditions }
  if (!isJson)
    process.stdout.write(
      `${bench.question}\n${Object.entries(conditions)
        .map(([k, v]) => `  ${k}: ${v}`)
        .join('\n')}\n\n`,
    )
  await bench.run((result) => {
    const line = isJson ? JSON.stringify({ bench: name, ...result, conditions }) : row(result)
    process.stdout.write(`${line}\n`)
  }, only)
  return 0
}

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 2))
process.exitCode = await main(process.argv.slice(2))
