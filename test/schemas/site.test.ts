import { readFileSync } from 'node:fs'
import test from 'ava'
import { parse } from 'yaml'
import { siteJsonSchema, siteReference, withoutEffect } from '../../schemas/site.ts'
import { validateSite } from '../../schemas/validate-site.ts'

const minimal = { site: 'hall-1', pseudonyms: { keyEnv: 'KEY' } }

test('site: what is left out gets its default, and a minimal site is valid', (t) => {
  const { site } = validateSite(minimal)
  t.is(site?.log.driver, 'embedded')
  t.is(site?.functions['aggregate-metrics'].windowMs, 60_000)
  t.is(site?.log.topics.maxMessageBytes, 8 * 1024 * 1024)
  t.is(site?.observability.metrics.listen, '127.0.0.1:9464', 'metrics are not shown to the network unless asked')
})

test('site: the site file of the repository is valid', (t) => {
  t.deepEqual(validateSite(parse(readFileSync(new URL('../../site.yaml', import.meta.url), 'utf8'))).problems, [])
})

test('site: names of the contract without code behind them are said so, not silently accepted', (t) => {
  const { site } = validateSite({ ...minimal, frontDoor: { listen: '127.0.0.1:8080' } })
  t.regex(site === null ? '' : (withoutEffect(site)[0] ?? ''), /frontDoor/)
})

test('site: the JSON Schema for editors refuses unknown keys and every key stands in the reference', (t) => {
  const schema = siteJsonSchema() as { additionalProperties: boolean; properties: Record<string, unknown> }
  t.false(schema.additionalProperties)
  const keys = siteReference().map((r) => r.key)
  t.true(keys.includes('functions.aggregate-metrics.graceMs'))
  t.true(keys.includes('pools[].endpoints[].slots'))
  for (const top of Object.keys(schema.properties))
    t.true(
      keys.some((k) => k === top || k.startsWith(`${top}.`) || k.startsWith(`${top}[`)),
      top,
    )
})
