/**
 * A member of a transactional function on real Kafka: the process that a test kills inside a transaction.
 *
 * argv: brokers, topic prefix, kind (map, task), where to stand still (`outputs`: outputs are written, the offset is not in the transaction yet;
 * `offset`: the offset is in it, nothing is committed; `commit`: the broker has committed, the answer is not heard; `never`), after how many
 * transactions. Prints `stands` when it stands there, and `at <committed>` as the partition moves on.
 */
import kafkajs from 'kafkajs'
import { nodeHashing } from '../../infra/hashing.ts'
import { systemClock, systemRandom } from '../../infra/clock.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, type AnyFunction, type MapFunction, type TaskFunction } from '../../streams/define-function.ts'
import { createRunner } from '../../streams/runner.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { silent } from '../helpers/runner-world.ts'

const [brokers = '', topicPrefix = '', kind = '', point = '', after = '0'] = process.argv.slice(2)

/** The client's transactions, with a place to stand still in. The first one of each producer is the opening. */
const { prototype } = kafkajs.Kafka
const producerOf = prototype.producer
let transactions = 0
const stand = async (here: string): Promise<void> => {
  if (here !== point || transactions <= Number(after)) return
  process.stdout.write('stands\n')
  await new Promise(() => {})
}
prototype.producer = function producer(this: kafkajs.Kafka, config) {
  const made = producerOf.call(this, config)
  const begin = made.transaction.bind(made)
  made.transaction = async () => {
    const transaction = await begin()
    return {
      ...transaction,
      sendOffsets: async (offsets) => {
        transactions++
        await stand('outputs')
        await transaction.sendOffsets(offsets)
        await stand('offset')
      },
      commit: async () => {
        await transaction.commit()
        await stand('commit')
      },
    }
  }
  return made
}

const decode = (r: { readonly value: Buffer | null }): string => {
  const value = r.value?.toString() ?? ''
  if (value.startsWith('bad')) throw new SluiceError('SLU_RECORD_UNDECODABLE', value)
  return value
}
const emits = (value: string) => [{ to: 'topic' as const, topic: 'out', key: value, value: Buffer.from(value) }]
const common = { name: 'copy', inputs: ['in'], outputs: ['out'], delivery: 'transactional' } as const
const definition: AnyFunction =
  kind === 'map'
    ? defineFunction<MapFunction<string>>({ ...common, kind: 'map', decode, handle: emits })
    : defineFunction<TaskFunction<string>>({
        ...common,
        kind: 'task',
        order: 'partition',
        concurrency: 2,
        deadlineMs: 10_000,
        decode,
        handle: (value) => Promise.resolve(emits(value)),
      })

const runner = createRunner({
  definition,
  driver: createKafkaDriver({ brokers: brokers.split(','), sessionMs: 2000 }),
  topicPrefix,
  site: 'hall',
  codecs: testCodecs(),
  clock: systemClock,
  random: systemRandom,
  hashing: nodeHashing,
  telemetry: silent,
  limits: { sessionMs: 2000 },
  onFatal: (error) => {
    process.stderr.write(`${error.stack ?? error.message}\n`)
    process.exit(2)
  },
})
await runner.start()
setInterval(() => {
  for (const { partition, committed } of runner.partitions()) process.stdout.write(`at ${partition} ${committed ?? '-'}\n`)
}, 100)
