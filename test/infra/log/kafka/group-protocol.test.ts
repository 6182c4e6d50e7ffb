/** The decision table of the group protocol, code by code. */
import { createRequire } from 'node:module'
import test from 'ava'
import { decide, type GroupDecision } from '../../../../infra/log/kafka/group-protocol.ts'

const EXPECTED: Readonly<Record<string, GroupDecision>> = {
  REBALANCE_IN_PROGRESS: 'rejoin',
  ILLEGAL_GENERATION: 'lost',
  UNKNOWN_MEMBER_ID: 'forget',
  FENCED_INSTANCE_ID: 'forget',
  NOT_COORDINATOR_FOR_GROUP: 'coordinator',
  GROUP_COORDINATOR_NOT_AVAILABLE: 'coordinator',
  GROUP_LOAD_IN_PROGRESS: 'coordinator',
  GROUP_AUTHORIZATION_FAILED: 'fatal',
  TOPIC_AUTHORIZATION_FAILED: 'fatal',
  INCONSISTENT_GROUP_PROTOCOL: 'fatal',
  INVALID_GROUP_ID: 'fatal',
  INVALID_SESSION_TIMEOUT: 'fatal',
  GROUP_MAX_SIZE_REACHED: 'fatal',
  SASL_AUTHENTICATION_FAILED: 'fatal',
  UNSUPPORTED_SASL_MECHANISM: 'fatal',
}

for (const [type, decision] of Object.entries(EXPECTED)) test(`group protocol: ${type} means ${decision}, nothing else`, (t) => t.is(decide(type), decision))

test('group protocol: the names are those of the client’s own table, so that none is misspelt and never met', (t) => {
  const { errorCodes } = createRequire(import.meta.url)('kafkajs/src/protocol/error') as { errorCodes: readonly { type: string }[] }
  const known = new Set(errorCodes.map((e) => e.type))
  t.true(known.size > 50)
  t.deepEqual(
    Object.keys(EXPECTED).filter((type) => !known.has(type)),
    [],
  )
})

test('group protocol: every other name of the protocol, and an unknown one, is tried again and never ends the member', (t) => {
  const { errorCodes } = createRequire(import.meta.url)('kafkajs/src/protocol/error') as { errorCodes: readonly { type: string }[] }
  const others = [...errorCodes.map((e) => e.type), 'A_CODE_OF_NEXT_YEAR', ''].filter((type) => EXPECTED[type] === undefined)
  t.true(others.length > 40)
  for (const type of others) t.is(decide(type), 'again', type)
})

test('group protocol: an error without a name is the transport’s: the coordinator is looked up again, the ownership is not dropped', (t) => {
  t.is(decide(null), 'coordinator')
})
