import test from 'ava'
import { underWay, type NamedRunner } from '../../cli/site-status.ts'

const runner = (name: string, inFlight: readonly number[]): NamedRunner =>
  ({ name, runner: { partitions: () => inFlight.map((records, partition) => ({ topic: 'jobs', partition, inFlight: records })) } }) as unknown as NamedRunner

test('site status: what is under way is named by function and partition, members together, and never at any length', (t) => {
  t.is(underWay([]), '')
  t.is(underWay([runner('idle', [0, 0])]), '')
  t.is(underWay([runner('f', [0, 1]), runner('g', [3]), runner('f', [2])]), 'f: jobs/1 (1 record), jobs/0 (2 records); g: jobs/0 (3 records)')
  t.regex(underWay([runner('f', Array<number>(300).fill(1))]), /jobs\/4 \(1 record\), 295 more$/)
})
