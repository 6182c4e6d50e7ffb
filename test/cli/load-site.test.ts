import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { loadSite, SiteProblemsError } from '../../cli/load-site.ts'

const dir = mkdtempSync(join(tmpdir(), 'sluice-site-'))
mkdirSync(join(dir, 'policy'))
writeFileSync(join(dir, 'rules.yaml'), 'rules: []\n')
test.after.always(() => rmSync(dir, { recursive: true, force: true }))

const write = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text)
  return join(dir, name)
}
const problems = (file: string): readonly { line: number | null; key: string; message: string }[] => {
  try {
    loadSite(file)
    return []
  } catch (error) {
    if (error instanceof SiteProblemsError) return error.problems
    throw error
  }
}
const good = `site: hall-1
pseudonyms: { keyEnv: KEY }
functions:
  assess-health: { rules: rules.yaml }
`

test('load site: a sound file gives its values and where each came from', (t) => {
  const loaded = loadSite(write('good.yaml', good))
  t.is(loaded.site.site, 'hall-1')
  t.regex(loaded.originOf(['site']), /good\.yaml:1$/)
  t.regex(loaded.originOf(['functions', 'assess-health', 'rules']), /good\.yaml:4$/)
  t.is(loaded.originOf(['functions', 'aggregate-metrics', 'windowMs']), 'default')
})

test('load site: every problem comes with its line, in one go', (t) => {
  const found = problems(
    write(
      'bad.yaml',
      `site: hall-1
pseudonyms: { keyEnv: KEY }
polls: []
functions:
  assess-health: { rules: rules.yaml }
  aggregate-metrics:
    windowMs: 5
    gracems: 1
pools:
  - name: a
    accelerator: x
    endpoints:
      - { id: e, url: ftp://x, api: openai, models: [m], slots: 1 }
`,
    ),
  )
  t.deepEqual(
    found.map((p) => [p.line, p.key]),
    [
      [3, 'polls'],
      [7, 'functions.aggregate-metrics.windowMs'],
      [8, 'functions.aggregate-metrics.gracems'],
      [13, 'pools[0].endpoints[0].url'],
    ],
  )
})

test('load site: files it names and that are missing are problems with their line', (t) => {
  const found = problems(write('missing.yaml', `${good}egress: { policy: nowhere }\n`))
  t.deepEqual(
    found.map((p) => [p.line, p.key, p.message]),
    [[5, 'egress.policy', 'nowhere: no such folder']],
  )
})

test('load site: a site for handlers of its own needs no policy and no health rules; who runs the function that reads them does', (t) => {
  const alone = mkdtempSync(join(tmpdir(), 'sluice-own-'))
  t.teardown(() => rmSync(alone, { recursive: true, force: true }))
  const file = join(alone, 'site.yaml')
  writeFileSync(file, 'site: hall-1\npseudonyms: { keyFile: key, create: true }\n')
  const { absent, cannotRun } = loadSite(file)
  t.deepEqual(cannotRun, ['assess-health', 'forward-summaries'])
  t.deepEqual(
    absent.map((one) => one.split('; ')[1]?.split(' ')[0]),
    ['assess-health', 'forward-summaries'],
  )
  t.regex(absent[1] ?? '', /^egress\.policy: \.\/policy: no such folder; /)
  const missedBy = (name: string): readonly string[] =>
    (t.throws(() => loadSite(file, (one) => one === name)) as SiteProblemsError).problems.map(({ key, message }) => `${key} ${message}`)
  t.deepEqual(missedBy('forward-summaries'), ['egress.policy ./policy: no such folder'])
  t.is(missedBy('assess-health').length, 1)
  writeFileSync(file, 'site: hall-1\npseudonyms: { keyFile: key, create: true }\negress: { policy: ./policy }\n')
  t.throws(() => loadSite(file), { message: /SLU_CONFIG_INVALID/ }, 'what is written is looked for')
})

test('load site: keys, references, files and keys that stand twice are problems of one list, each with its line', (t) => {
  const found = problems(
    write(
      'all.yaml',
      `site: hall-1
pseudonyms: { keyFile: no.key }
polls: []
functions:
  assess-health: { rules: policy }
  aggregate-metrics: { windowMs: 5s }
pools:
  - name: a
    accelerator: x
    endpoints:
      - { id: e, url: http://x, api: openai, models: [m], slots: 1 }
      - { id: e, url: http://x, api: openai, models: [m] }
contracts:
  - { name: c, model: m, substitutes: [n] }
simulation:
  faults:
    - { atMs: 1, kind: silent, host: gone, forMs: 1 }
egress: { policy: nowhere }
site: hall-2
`,
    ),
  )
  t.deepEqual(
    found.map((p) => [p.line, p.key, p.message.slice(0, 24)]),
    [
      [2, 'pseudonyms.keyFile', 'no.key: no such file'],
      [3, 'polls', 'unknown key polls; did y'],
      [5, 'functions.assess-health.rules', 'policy: no such file'],
      [6, 'functions.aggregate-metrics.windowMs', 'must be a whole number o'],
      [12, 'pools[0].endpoints[1].slots', 'is missing: needs a whol'],
      [12, 'pools[0].endpoints[1].id', 'endpoint e is declared t'],
      [14, 'contracts[0].substitutes[0]', 'no endpoint serves n'],
      [17, 'simulation.faults[0].host', 'gone is not among simula'],
      [18, 'egress.policy', 'nowhere: no such folder'],
      [19, '', 'Map keys must be unique'],
    ],
  )
})

test('load site: broken YAML, duplicate keys and alias bombs are problems, never a crash or a hang', (t) => {
  t.is(problems(write('broken.yaml', 'site: hall-1\npools: [\n'))[0]?.line, 3)
  t.regex(
    problems(write('twice.yaml', 'site: a\nsite: b\n'))
      .map((p) => p.message)
      .join(),
    /unique/i,
  )
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x]',
    ...Array.from({ length: 12 }, (_, i) => `${'bcdefghijklm'[i]}: &${'bcdefghijklm'[i]} [${Array(9).fill(`*${'abcdefghijkl'[i]}`).join(',')}]`),
  ].join('\n')
  t.throws(() => loadSite(write('bomb.yaml', bomb)), { message: /SLU_CONFIG_INVALID/ })
  t.throws(() => loadSite(join(dir, 'nowhere.yaml')), { message: /SLU_CONFIG_MISSING/ })
  t.true(problems(write('empty.yaml', '')).length > 0)
})
