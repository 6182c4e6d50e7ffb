import test from 'ava'
import { nodeHashing } from '../../infra/hashing.ts'
import { createPseudonyms } from '../../schemas/pseudonym.ts'

const key = Buffer.from('a site key of some length')

test('pseudonym: the same host gives the same id, another key another one, and the host cannot be read from it (N1)', (t) => {
  const a = createPseudonyms(nodeHashing, key)
  const b = createPseudonyms(nodeHashing, key)
  const other = createPseudonyms(nodeHashing, Buffer.from('another key'))
  t.is(a.node('tray-07'), b.node('tray-07'))
  t.not(a.node('tray-07'), other.node('tray-07'))
  t.regex(a.node('tray-07'), /^node-[0-9a-f]{20}$/)
  t.false(a.device('tray-07', 'gpu', 0).includes('tray'))
})

test('pseudonym: kind, host and index never run together into one id', (t) => {
  const p = createPseudonyms(nodeHashing, key)
  const ids = [
    p.device('tray-1', 'gpu', '10'),
    p.device('tray-11', 'gpu', '0'),
    p.device('tray-1', 'gpu', 1),
    p.device('tray-1', 'neuron', '10'),
    p.device('tray-1', 'mig', '1/0'),
    p.node('tray-1'),
  ]
  t.is(new Set(ids).size, ids.length)
  t.is(p.device('a', 'gpu', 1), p.device('a', 'gpu', '1'))
})

test('pseudonym: a flood of host names does not grow the cache without bound', (t) => {
  const p = createPseudonyms(nodeHashing, key, 10)
  const first = p.node('host-0')
  for (let i = 0; i < 100; i++) p.node(`host-${i}`)
  t.is(p.node('host-0'), first)
})

test('pseudonym: a tenant named after its namespace does not show the namespace, nor share an id with a host of that name (N1)', (t) => {
  const p = createPseudonyms(nodeHashing, key)
  t.regex(p.tenant('team-a'), /^tenant-[0-9a-f]{20}$/)
  t.is(p.tenant('team-a'), p.tenant('team-a'))
  t.not(p.tenant('team-a').slice(7), p.node('team-a').slice(5))
})
