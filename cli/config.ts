/** `sluice config check|schema|reference`: the resolved configuration, its JSON Schema, its reference page. */
import { siteJsonSchema, siteReference, withoutEffect } from '../schemas/site.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { toJson } from './output.ts'

interface Leaf {
  readonly key: string
  readonly value: unknown
  readonly origin: string
}

function leaves(value: unknown, path: readonly (string | number)[], originOf: (path: readonly (string | number)[]) => string): Leaf[] {
  const isBranch = typeof value === 'object' && value !== null && Object.keys(value).length > 0
  if (isBranch && !(Array.isArray(value) && value.every((v) => typeof v !== 'object')))
    return Object.entries(value).flatMap(([k, v]) => leaves(v, [...path, Array.isArray(value) ? Number(k) : k], originOf))
  const key = path.reduce<string>((text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`), '')
  return [{ key, value, origin: originOf(path) }]
}

export async function configCheck({ siteFile, output }: Invocation): Promise<number> {
  const loaded = loadSite(siteFile)
  const rows = leaves(loaded.site, [], loaded.originOf)
  const notes = withoutEffect(loaded.site)
  output.json({ file: loaded.file, site: loaded.site, origins: Object.fromEntries(rows.map((r) => [r.key, r.origin])), withoutEffect: notes, absent: loaded.absent })
  const width = Math.min(64, Math.max(...rows.map((r) => r.key.length)))
  for (const r of rows) output.line(`${r.key.padEnd(width)}  ${(typeof r.value === 'string' ? r.value : toJson(r.value)).padEnd(24)}  ${r.origin}`)
  for (const n of notes) output.line(`without effect: ${n}`)
  for (const one of loaded.absent) output.line(`not there: ${one}`)
  output.line(`ok  ${loaded.file}: ${rows.length} values`)
  return 0
}

export async function configSchema({ output }: Invocation): Promise<number> {
  const text = siteJsonSchema()
  output.json(text)
  output.line(JSON.stringify(text, null, 2))
  return 0
}

/** docs/configuration.md is this text; a test compares them. */
export function referencePage(): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
  const rows = siteReference().map((r) => `| \`${r.key}\` | ${cell(r.type)} | ${r.default === '' ? '' : `\`${cell(r.default)}\``} | ${cell(r.notes)} |`)
  return [
    '# site.yaml',
    '',
    'Made by `sluice config reference` from `schemas/site.ts`. Unknown keys are errors.',
    '',
    '| key | type | default | notes |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

export async function configReference({ output }: Invocation): Promise<number> {
  output.json(siteReference())
  output.line(referencePage().trimEnd())
  return 0
}
