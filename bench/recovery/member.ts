/**
 * One member of assess-health that takes all partitions over, in a process of its own: its peak memory is that of the recovery.
 *
 * argv: the log (`embedded <dir>` or `kafka <host:port>`), the topic prefix. One JSON line on stdout: wall ms from the start until every partition
 * is open and idle, the restore duration of each partition as the runtime measures it, peak resident MiB, devices restored.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { parse } from 'yaml'
import { assessHealth } from '../../functions/assess-health/assess-health.ts'
import { systemClock, systemRandom } from '../../infra/clock.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import { createEmbeddedDriver } from '../../infra/log/embedded/driver.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { silentTelemetry } from '../../infra/observability/telemetry.ts'
import { parseHealthRules } from '../../schemas/health-rules.ts'
import { metricNames } from '../../schemas/telemetry-names.ts'
import { createRunner } from '../../streams/runner.ts'
import { codecs } from '../scrapes.ts'

export interface Recovered {
  readonly wallMs: number
  readonly restoreMs: readonly number[]
  readonly peakMiB: number
}

const [log = '', where = '', topicPrefix = ''] = process.argv.slice(2)
const driver = log === 'kafka' ? createKafkaDriver({ brokers: [where] }) : createEmbeddedDriver({ dir: where })
const restoreMs: number[] = []
const rules = parseHealthRules(parse(readFileSync(new URL('../../schemas/health-rules.yaml', import.meta.url), 'utf8')))
const runner = createRunner({
  definition: assessHealth({ site: 'bench', rules, endpoints: [], expectedPeriodMs: {} }),
  driver,
  group: `${topicPrefix}${process.pid}`,
  topicPrefix,
  site: 'bench',
  codecs,
  clock: systemClock,
  random: systemRandom,
  hashing: nodeHashing,
  telemetry: {
    ...silentTelemetry,
    record: (name, seconds) => {
      if (name === metricNames.stateRestoreDuration) restoreMs.push(Math.round(seconds * 1000))
    },
  },
  onFatal: (error) => {
    throw error
  },
})
const partitions = (await driver.admin().ranges(`${topicPrefix}hardware.telemetry`)).length
const from = performance.now()
await runner.start()
while (restoreMs.length < partitions) await delay(2)
const recovered: Recovered = { wallMs: performance.now() - from, restoreMs, peakMiB: process.resourceUsage().maxRSS / 1024 }
process.stdout.write(`${JSON.stringify(recovered)}\n`)
await runner.stop(1000)
await driver.close()
