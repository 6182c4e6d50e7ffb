import test from 'ava'
import fc from 'fast-check'
import { readScrape, type Scrape } from '../../../functions/normalize-telemetry/dcgm-scrape.ts'
import { createTemplateCache, makeTemplate, scanTemplate, type ScrapeTemplate } from '../../../functions/normalize-telemetry/scrape-template.ts'
import { sample, scrapeContext } from '../../helpers/telemetry.ts'

const read = (text: string): Scrape => readScrape(text, 'tray-07', scrapeContext) as Scrape
const template = (text: string): ScrapeTemplate | null => makeTemplate(text, read(text), new Map())
const one = (value: string): string => `# TYPE\nDCGM_FI_DEV_GPU_TEMP{gpu="0"} ${value}\n# EOF\n`

test('scrape-template: a number in any spelling reads as the correct path reads it, to the last bit', (t) => {
  const made = template(one('1')) as ScrapeTemplate
  const spellings = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.tuple(fc.integer(), fc.nat(999_999)).map(([a, b]) => `${a}.${String(b).padStart(6, '0')}`),
    fc.constantFrom('NaN', '-0', '0', '99999999999999', '999999999999999', '9999999999999999', '140737488355328', '0.000000000000001', '000000000000000000.1'),
  )
  fc.assert(
    fc.property(spellings, (value) => {
      t.deepEqual(scanTemplate(made, one(value)), read(one(value)).values)
    }),
    { numRuns: 500 },
  )
})

test('scrape-template: text that differs, before, between or behind the numbers, is never taken for the template', (t) => {
  const text = sample('dcgm-exporter.prom').toString('latin1')
  const made = template(text) as ScrapeTemplate
  t.truthy(scanTemplate(made, text))
  t.is(scanTemplate(made, `${text}x 1\n`), null)
  t.is(scanTemplate(made, `#${text}`), null)
  t.is(scanTemplate(made, text.replace('tray-07', 'tray-08')), null)
  t.is(scanTemplate(made, text.slice(0, -1)), null)
  t.is(scanTemplate(made, ''), null)
  t.is(scanTemplate(made, text.replace(' 1965\n', ' 19x5\n')), null)
})

test('scrape-template: a scrape with problems or line timestamps makes no template', (t) => {
  t.is(template('DCGM_FI_DEV_GPU_TEMP{gpu="0"} 1\n???\n'), null)
  t.is(template('DCGM_FI_DEV_GPU_TEMP{gpu="0"} 1 1700000000000\n'), null)
})

test('scrape-template: the cache never holds more than its bytes, and drops the least recently used first', (t) => {
  const made = template(one('1')) as ScrapeTemplate
  const cache = createTemplateCache(made.bytes * 2)
  cache.put('a', made)
  cache.put('b', made)
  cache.get('a')
  cache.put('c', made)
  t.is(cache.get('b'), undefined)
  t.truthy(cache.get('a'))
  cache.put('a', made)
  t.is(cache.bytes, made.bytes * 2)
  cache.drop('a')
  cache.drop('c')
  t.is(cache.bytes, 0)
})
