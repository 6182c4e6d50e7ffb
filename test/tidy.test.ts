/**
 * The shape of the tree as a test (style.md): import direction, purity, a test per source file, names, the runner's glob,
 * commands the README shows. Each check counts what it looked at and fails on zero; each was seen failing once.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { MUTANTS, type Mutant } from './simulation/mutants.ts'

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const CORE = ['schemas', 'streams', 'functions'] as const
const SOURCE = [...CORE, 'infra', 'cli'] as const

/** Which folders a folder may import from. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  schemas: ['schemas'],
  streams: ['streams', 'schemas'],
  functions: ['functions', 'streams', 'schemas'],
  infra: ['infra', 'schemas'],
  cli: ['cli', 'functions', 'streams', 'infra', 'schemas'],
}

/** Packages the pure folders may import: pure ones only. */
const PURE_PACKAGES = new Set(['avsc', 'zod', 'fastest-levenshtein'])

/**
 * Globals that the pure folders may use; every other one of Node or a browser is refused, those of a later version too. Kept from this list though
 * the language has them: Date, Intl (the machine's zone and locale), eval and Function (text that no check reads), Atomics (waiting), WeakRef and
 * FinalizationRegistry (when memory is freed), globalThis. Lint has the same list as `globals`; here it needs no configuration.
 */
const PURE_GLOBALS = new Set(
  `AggregateError Array ArrayBuffer BigInt BigInt64Array BigUint64Array Boolean DataView Error Float32Array Float64Array Infinity Int16Array Int32Array
  Int8Array Iterator JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set String Symbol SyntaxError TypeError
  URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakSet decodeURI decodeURIComponent encodeURI encodeURIComponent isFinite isNaN
  parseFloat parseInt structuredClone undefined AbortController AbortSignal Buffer TextDecoder TextEncoder`.split(/\s+/),
)
/** Not among the globals of this Node: of other hosts, of other versions, of CommonJS. */
const FOREIGN_GLOBALS = ['self', 'importScripts', 'Worker', 'XMLHttpRequest', 'EventSource', 'Bun', 'Deno', 'Temporal', 'require', 'module', '__dirname', '__filename']
const BANNED = [...new Set([...Object.getOwnPropertyNames(globalThis), ...FOREIGN_GLOBALS])].filter((name) => /^[A-Za-z_]\w*$/.test(name) && !PURE_GLOBALS.has(name)).sort()
/** What reaches outside through what is allowed. */
const BANNED_FORMS: readonly (readonly [string, RegExp])[] = [
  ['Math.random', /\bMath\s*(?:\?\.|\.)\s*random\b|\bMath\s*\[|\brandom\s*\}\s*=\s*Math\b/],
  ['AbortSignal.timeout', /\bAbortSignal\s*(?:\?\.|\.)\s*timeout\b|\bAbortSignal\s*\[|\btimeout\s*\}\s*=\s*AbortSignal\b/],
  ['import()', /\bimport\s*\(/],
  ['import.meta', /\bimport\s*\.\s*meta\b/],
  ['constructor', /(?:\.|\?\.)\s*constructor\b/],
]

/** Files of types only, and files whose behaviour another test shows: named, with the reason. */
const WITHOUT_OWN_TEST: Readonly<Record<string, string>> = {
  'schemas/log.ts': 'types; the conformance suite is their test',
  'schemas/ports.ts': 'types',
  'infra/log/embedded/consumer.ts': 'the conformance suite, and test/fakes/memory-log.test.ts for members that die',
  'infra/log/embedded/database.ts': 'its refusals stand in driver.test.ts',
  'infra/log/embedded/local-driver.ts': 'the conformance suite',
  'infra/log/embedded/local-log.ts': 'the conformance suite',
  'infra/log/embedded/sqlite-store.ts': 'the conformance suite; durability stands in driver.test.ts',
  'streams/partition.ts': 'types',
  'streams/processor.ts': 'types',
}

function files(folder: string, ending = '.ts'): string[] {
  const full = join(ROOT, folder)
  if (!existsSync(full)) return []
  return readdirSync(full, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending) && !name.includes('node_modules') && statSync(join(full, name)).isFile())
    .map((name) => join(folder, name))
    .sort()
}

interface Import {
  readonly file: string
  readonly specifier: string
}

/** Static, type-only and dynamic imports and re-exports, as text. */
function importsOf(file: string, source: string): Import[] {
  const found = [
    ...source.matchAll(
      /^\s*(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|\brequire\(\s*['"]([^'"]+)['"]\s*\)|import\(['"]([^'"]+)['"]\)/gm,
    ),
  ]
  return found.map((m) => ({ file, specifier: (m[1] ?? m[2] ?? m[3] ?? m[4] ?? m[5]) as string }))
}

/** What is wrong with the imports of one file. */
export function importProblems(file: string, source: string): string[] {
  const folder = file.split('/')[0] as string
  const allowed = MAY_IMPORT[folder] ?? []
  const isPure = (CORE as readonly string[]).includes(folder)
  return importsOf(file, source).flatMap(({ specifier }) => {
    if (specifier.startsWith('.')) {
      const target = relative(ROOT, resolve(ROOT, dirname(file), specifier)).split('/')[0] as string
      return allowed.includes(target) ? [] : [`${file} imports ${specifier}: ${folder} may import ${allowed.join(', ')}`]
    }
    const name = specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : (specifier.split('/')[0] as string)
    if (isPure && (specifier.startsWith('node:') || builtinModules.includes(name))) return [`${file} imports ${specifier}: ${folder} is pure`]
    if (isPure && !PURE_PACKAGES.has(name)) return [`${file} imports ${specifier}: not on the list of pure packages`]
    return []
  })
}

/** Files that import each other in a circle, types counted: each circle once, as a path. `sources` by file name. */
export function importCircles(sources: ReadonlyMap<string, string>): string[] {
  const targets = (file: string): string[] =>
    importsOf(file, sources.get(file) ?? '').flatMap(({ specifier }) => (specifier.startsWith('.') ? [relative(ROOT, resolve(ROOT, dirname(file), specifier))] : []))
  const done = new Set<string>()
  const circles: string[] = []
  const walk = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file)
    if (at >= 0) circles.push([...path.slice(at), file].join(' → '))
    if (at >= 0 || done.has(file)) return
    for (const target of targets(file)) walk(target, [...path, file])
    done.add(file)
  }
  for (const file of sources.keys()) walk(file, [])
  return circles
}

const LINES_MAX = 300

/** A file over the limit says in its opening comment why it is one thing. */
export function lengthProblems(file: string, source: string): string[] {
  const lines = source.split('\n').length
  const opening = /^\/\*\*[\s\S]*?\*\//.exec(source)?.[0] ?? ''
  return lines <= LINES_MAX || /over 300 lines/i.test(opening) ? [] : [`${file} has ${lines} lines and does not say why it is "over 300 lines"`]
}

/** Strings and comments blanked, so that words in them are not taken for code. */
function codeOnly(source: string): string {
  return source.replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/g, (m) => m.replaceAll(/[^\n]/g, ' '))
}

/** Banned globals used in one file. */
export function globalProblems(file: string, source: string): string[] {
  const code = codeOnly(source)
  const used = BANNED.filter(
    (name) =>
      new RegExp(`(?<![.\\w$'])${name}(?=\\s*[.(\\[]|\\b(?!\\s*[:?]))`).test(code) && !new RegExp(`\\b(?:const|let|function|class|interface|type)\\s+${name}\\b`).test(code),
  )
  const forms = BANNED_FORMS.filter(([, form]) => form.test(code)).map(([name]) => name)
  return [...used, ...forms].map((name) => `${file} uses ${name}: clock, randomness and I/O are arguments here`)
}

/** The test file a source file must have. */
export function testOf(file: string): string {
  return join('test', file.replace(/\.ts$/, '.test.ts'))
}

test('tidy: no import goes against schemas ← streams ← functions, schemas ← infra, cli → everything', (t) => {
  const sources = SOURCE.flatMap((folder) => files(folder))
  t.true(sources.length > 20)
  t.deepEqual(
    sources.flatMap((file) => importProblems(file, readFileSync(join(ROOT, file), 'utf8'))),
    [],
  )
})

test('tidy: the import check refuses infra in streams, node: in schemas and an unlisted package in functions', (t) => {
  t.is(importProblems('streams/x.ts', `import { a } from '../infra/clock.ts'`).length, 1)
  t.is(importProblems('schemas/x.ts', `import { readFileSync } from 'node:fs'`).length, 1)
  t.is(importProblems('functions/x/y.ts', `import { request } from 'undici'`).length, 1)
  t.is(importProblems('infra/x.ts', `import type { A } from '../streams/runner.ts'`).length, 1)
  t.is(importProblems('schemas/x.ts', `export type { A } from '../streams/runner.ts'`).length, 1)
  t.is(importProblems('functions/x/y.ts', `import { z } from '../../streams/window.ts'\nimport type { R } from '../../schemas/log.ts'`).length, 0)
})

test('tidy: no files import each other in a circle, types counted', (t) => {
  const sources = new Map(SOURCE.flatMap((folder) => files(folder)).map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]))
  t.true(sources.size > 100)
  t.deepEqual(importCircles(sources), [])
  const circle = new Map([
    ['a/x.ts', `import type { Y } from './y.ts'`],
    ['a/y.ts', `export { z } from './z.ts'`],
    ['a/z.ts', `import { x } from './x.ts'`],
  ])
  t.deepEqual(importCircles(circle), ['a/x.ts → a/y.ts → a/z.ts → a/x.ts'])
})

test('tidy: a file over 300 lines says why in its opening comment', (t) => {
  const sources = SOURCE.flatMap((folder) => files(folder))
  t.deepEqual(
    sources.flatMap((file) => lengthProblems(file, readFileSync(join(ROOT, file), 'utf8'))),
    [],
  )
  const long = '\n'.repeat(LINES_MAX)
  t.is(lengthProblems('x.ts', `/** Owns: x. */${long}`).length, 1)
  t.is(lengthProblems('x.ts', `/** Owns: x. Why over 300 lines: one state machine. */${long}`).length, 0)
})

test('tidy: no core file reaches for the clock, timers, randomness, network or process', (t) => {
  const sources = CORE.flatMap((folder) => files(folder))
  t.true(sources.length > 15)
  t.deepEqual(
    sources.flatMap((file) => globalProblems(file, readFileSync(join(ROOT, file), 'utf8'))),
    [],
  )
})

test('tidy: the purity check refuses Date.now, process.env, setTimeout and Math.random, not words in comments', (t) => {
  t.is(globalProblems('schemas/x.ts', 'const a = Date.now()').length, 1)
  t.is(globalProblems('schemas/x.ts', 'const a = process.env').length, 1)
  t.is(globalProblems('schemas/x.ts', 'setTimeout(() => {}, 1)').length, 1)
  t.is(globalProblems('schemas/x.ts', 'const a = Math.random()').length, 1)
  t.is(globalProblems('schemas/x.ts', '// Date of birth, process of elimination\nconst a = "console"').length, 0)
  t.is(globalProblems('streams/x.ts', 'const e = processor.process(records)').length, 0)
})

/** One a line: each reaches outside of a pure folder in its own way. */
const REACHES = [
  'export const a = Date.now()',
  'export const b = process.env',
  'setTimeout(() => {}, 1)',
  'export const c = Math.random()',
  'export const d = AbortSignal.timeout(5)',
  'export const e = Temporal.Now.instant()',
  "export const f = new Function('return 1')",
  "export const g = eval('1')",
  'export const h = self',
  'export const i = navigator.hardwareConcurrency',
  'export const j = globalThis',
  'export const k = new Intl.DateTimeFormat()',
  'export const l = performance.now()',
  'export const m = new Worker(x)',
  'export const n = localStorage',
  'export const o = crypto.randomUUID()',
  'export const p = new WebSocket(x)',
  'export const q = global',
  'export const r = new BroadcastChannel(x)',
  'export const s = new WeakRef({})',
]
const BY_TIDY_ALONE = [
  'export const t = await import(x)',
  "export const u = await import('node:' + x)",
  'export const v = import.meta.dirname',
  'export const w = [].constructor.constructor(x)()',
]

test('tidy: whatever reaches outside is refused in a pure folder, by this check and by lint', (t) => {
  for (const line of [...REACHES, ...BY_TIDY_ALONE]) t.true(globalProblems('streams/x.ts', line).length >= 1, line)
  for (const line of ['const { random } = Math', "Math['random']()", 'const { timeout } = AbortSignal', 'AbortSignal?.timeout(1)'])
    t.is(globalProblems('streams/x.ts', line).length, 1, line)
  t.deepEqual(globalProblems('streams/x.ts', 'const x = AbortSignal.any([y.signal]); new AbortController().abort(); setting.timeout; z.self; const o = { self: 1, fetch: 2 }'), [])
  const dir = mkdtempSync(join(tmpdir(), 'sluice-lint-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const { options: _typeAware, ...config } = JSON.parse(readFileSync(join(ROOT, '.oxlintrc.json'), 'utf8')) as Record<string, unknown>
  writeFileSync(join(dir, '.oxlintrc.json'), JSON.stringify(config))
  for (const folder of [...CORE, 'infra']) {
    mkdirSync(join(dir, folder, 'deep'), { recursive: true })
    writeFileSync(join(dir, folder, 'deep/probe.ts'), `const x = 'x'\n${REACHES.join('\n')}\n`)
  }
  const lint = spawnSync(join(ROOT, 'node_modules/.bin/oxlint'), ['--format', 'json'], { cwd: dir, encoding: 'utf8' })
  const { diagnostics } = JSON.parse(lint.stdout) as { diagnostics: { filename: string; severity: string; labels: { span: { line: number } }[] }[] }
  const errorLines = (folder: string): number[] => [
    ...new Set(diagnostics.filter((d) => d.severity === 'error' && d.filename.startsWith(folder)).flatMap((d) => d.labels.map((l) => l.span.line))),
  ]
  for (const folder of CORE)
    t.deepEqual(
      REACHES.filter((_, i) => !errorLines(folder).includes(i + 2)),
      [],
      folder,
    )
  t.true(errorLines('infra').length < 5, 'the rule is for the pure folders')
})

test('tidy: every source file of schemas, streams, functions and infra has its test', (t) => {
  const sources = [...CORE, 'infra'].flatMap((folder) => files(folder)).filter((file) => !file.endsWith('.d.ts'))
  t.true(sources.length > 20)
  t.deepEqual(
    sources.filter((file) => WITHOUT_OWN_TEST[file] === undefined && !existsSync(join(ROOT, testOf(file)))).map((file) => `${file} needs ${testOf(file)}`),
    [],
  )
  t.deepEqual(
    Object.keys(WITHOUT_OWN_TEST).filter((file) => !existsSync(join(ROOT, file))),
    [],
    'the list names files that are gone',
  )
})

/** `a.test.ts`, or `a.part.test.ts` for a part of what `a.ts` must do. */
const sourceOf = (file: string): string => file.replace(/^test\//, '').replace(/(?:\.[a-z-]+)?\.test\.ts$/, '.ts')

test('tidy: every test of a source file stands where its source is, none is left behind', (t) => {
  const tests = SOURCE.flatMap((folder) => files(join('test', folder), '.test.ts'))
  t.true(tests.length > 20)
  t.deepEqual(
    tests.filter((file) => !existsSync(join(ROOT, sourceOf(file)))),
    [],
  )
})

test('tidy: file names are kebab-case', (t) => {
  const sources = [...SOURCE, 'test', 'bench', 'examples'].flatMap((folder) => files(folder))
  t.true(sources.length > 40)
  t.deepEqual(
    sources.filter((file) => !/^[a-z0-9]+(?:-[a-z0-9]+)*(?:(?:\.[a-z-]+)?\.test|\.d)?\.ts$/.test(basename(file))),
    [],
  )
})

test('tidy: every source file opens by saying what it owns', (t) => {
  const sources = SOURCE.flatMap((folder) => files(folder))
  t.true(sources.length > 20)
  t.deepEqual(
    sources.filter((file) => !/^(?:#![^\n]*\n)?\/\*\*/.test(readFileSync(join(ROOT, file), 'utf8'))),
    [],
  )
})

test('tidy: every test file matches the glob of the runner', (t) => {
  const { ava } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { ava: { files: string[] } }
  t.deepEqual(ava.files, ['test/**/*.test.ts'])
  const odd = files('test').filter((file) => /\bfrom 'ava'/.test(readFileSync(join(ROOT, file), 'utf8')) && !file.endsWith('.test.ts'))
  t.deepEqual(
    odd.filter(
      (file) => !file.startsWith('test/conformance/') && !file.startsWith('test/helpers/') && !/import type [^\n]* from 'ava'/.test(readFileSync(join(ROOT, file), 'utf8')),
    ),
    [],
  )
})

test('tidy: npm scripts and files that README and ARCHITECTURE name exist', (t) => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  let seen = 0
  for (const page of ['README.md', 'ARCHITECTURE.md']) {
    const text = readFileSync(join(ROOT, page), 'utf8')
    for (const m of text.matchAll(/npm (?:-s )?(?:run )?([a-z][a-z-]*)/g)) {
      if (['ci', 'install', 'i'].includes(m[1] as string)) continue
      seen++
      t.true((m[1] as string) in scripts || m[1] === 'test' || m[1] === 'start', `${page}: npm run ${m[1]}`)
    }
    for (const m of text.matchAll(/`((?:schemas|streams|functions|infra|cli|test|bench|examples|docs|policy)\/[\w./-]+?)`/g)) {
      seen++
      t.true(existsSync(join(ROOT, m[1] as string)), `${page} names ${m[1]}`)
    }
  }
  t.true(seen > 10)
})

/** Source files that the file map names, each with a phrase; a name is of the folder its row begins with, or has its own. */
export function filesOfMap(page: string): string[] {
  const map = page.split('## File map')[1]?.split('\n## ')[0] ?? ''
  return map.split('\n').flatMap((line) => {
    const [, head = '', cell = ''] = line.split('|')
    const folder = /`([\w/-]+\/)`/.exec(head)?.[1]
    if (folder === undefined || !SOURCE.some((source) => folder.startsWith(`${source}/`))) return []
    return [...cell.matchAll(/`([\w./-]+\.ts)` (?=[\w`])/g)].map((m) => ((m[1] as string).includes('/') ? (m[1] as string) : folder + m[1]))
  })
}

test('tidy: ARCHITECTURE names every source file once, with a phrase, and none that is gone', (t) => {
  const named = filesOfMap(readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8'))
  const sources = SOURCE.flatMap((folder) => files(folder)).filter((file) => !file.endsWith('.d.ts'))
  t.true(sources.length > 100)
  t.deepEqual(
    sources.filter((file) => !named.includes(file)),
    [],
    'not in the file map',
  )
  t.deepEqual(
    named.filter((file, i) => !sources.includes(file) || named.indexOf(file) !== i),
    [],
    'gone, or named twice',
  )
  const page = '## File map\n| `streams/` x | `a.ts` what it does · `b.ts`, `c.ts` both · `infra/d.ts` e |\n| `test/` | `f.ts` no source |\n\n## Next\n| `cli/` | `g.ts` after |'
  t.deepEqual(filesOfMap(page), ['streams/a.ts', 'streams/c.ts', 'infra/d.ts'])
})

test('tidy: no file leaves work to a comment, none names a path of somebody’s machine', (t) => {
  const sources = [...SOURCE, 'test', 'bench', 'examples'].flatMap((folder) => files(folder))
  t.true(sources.length > 40)
  const left = /\b(?:TO_?DO|FIX_?ME)\b|(?<![\w.])\/(?:home|Users|root|mnt|work(?:space)?)\//
  t.regex(['', 'home', 'somebody', 'log'].join('/'), left)
  t.deepEqual(
    sources.filter((file) => left.test(readFileSync(join(ROOT, file), 'utf8'))),
    [],
  )
})

/** C1–C8, D1–D6, W1–W11, T1–T3 and R1: the runtime's that are in force. */
const INVARIANTS = [
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => `C${n}`),
  ...[1, 2, 3, 4, 5, 6].map((n) => `D${n}`),
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((n) => `W${n}`),
  ...[1, 2, 3].map((n) => `T${n}`),
  'R1',
]

const named = (id: string, text: string): boolean => new RegExp(`(?<![A-Za-z0-9])${id}(?![0-9])`).test(text)

/** Titles of the tests of a file, also where they are made by a helper that takes the title first. */
const titlesOf = (source: string): string => [...source.matchAll(/^\s*(?:\w*[tT]est(?:\.\w+)*|check)\(\s*(['"`])((?:(?!\1)[^\n])*)/gm)].map((m) => m[2]).join('\n')

/** What is wrong with the row of one invariant: its cells are code, tests, and the mutants of the simulation or `none: why`. */
export function rowProblems(id: string, row: string, readOf: (file: string) => string | null, mutants: readonly Pick<Mutant, 'name' | 'invariants'>[]): string[] {
  const [code = '', tests = '', faults = ''] = row.split('|').slice(3)
  const quoted = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map((m) => m[1] as string)
  const problems: string[] = []
  for (const [what, cell, textOf] of [
    ['code', code, (source: string) => source],
    ['tests', tests, titlesOf],
  ] as const) {
    if (quoted(cell).length === 0) problems.push(`${id}: no ${what}`)
    for (const file of quoted(cell)) {
      const source = readOf(file)
      if (source === null) problems.push(`${id}: ${file} is not there`)
      else if (!named(id, textOf(source))) problems.push(`${id}: ${file} does not name it in its ${what === 'tests' ? 'titles' : 'text'}`)
    }
  }
  const names = quoted(faults)
  if (names.length === 0 && !/^ none: \S/.test(faults)) problems.push(`${id}: neither a mutant nor the reason why there is none`)
  for (const name of names) if (mutants.find((m) => m.name === name)?.invariants.includes(id) !== true) problems.push(`${id}: no mutant ${name} of it`)
  return problems
}

test('tidy: every invariant of the runtime has its row in ARCHITECTURE, with code, tests and mutants that are there', (t) => {
  const page = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8')
  const rows = new Map([...page.matchAll(/^\| ([CDWTR]\d+) \|.*$/gm)].map((m) => [m[1] as string, m[0]]))
  const readOf = (file: string): string | null => (existsSync(join(ROOT, file)) ? readFileSync(join(ROOT, file), 'utf8') : null)
  t.deepEqual([...rows.keys()], INVARIANTS, 'a row each, in order')
  t.deepEqual(
    [...rows].flatMap(([id, row]) => rowProblems(id, row, readOf, MUTANTS)),
    [],
  )
})

test('tidy: the invariant check refuses a file that is gone, a title that does not name it, a mutant of another one and an empty cell', (t) => {
  const sources: Record<string, string> = { 'a.ts': '// C1', 'b.test.ts': "test('a: b (C1)', () => 1)", 'c.test.ts': "test('C11', () => 'C1')" }
  const problems = (row: string): number => rowProblems('C1', row, (file) => sources[file] ?? null, [{ name: 'm', invariants: ['C1'] }]).length
  t.is(problems('| C1 | what | `a.ts` | `b.test.ts` | kills: `m` |'), 0)
  t.is(problems('| C1 | what | `a.ts` | `b.test.ts` | none: it is a measurement |'), 0)
  t.is(problems('| C1 | what | `gone.ts` | `b.test.ts` | kills: `m` |'), 1)
  t.is(problems('| C1 | what | `a.ts` | `c.test.ts` | kills: `m` |'), 1)
  t.is(problems('| C1 | what | `a.ts` | `b.test.ts` | kills: `n` |'), 1)
  t.is(problems('| C1 | what |  |  |  |'), 3)
})
