/**
 * The health rules as data (telemetry.md §3): shape, bounds and validation of `schemas/health-rules.yaml`.
 *
 * Owns: `parseHealthRules`, which lists every problem of a rules file at once (SLU_HEALTH_RULES). Rules are versioned; each verdict names
 * rule and version. The vendors disagree, so a site may change any of them; code knows only the kinds below.
 */
import { z } from 'zod'
import { SluiceError } from './errors.ts'
import { metricByName } from './metrics.ts'

const ms = z.int('must be a whole number of milliseconds').min(0).max(2_592_000_000)
const signal = z.string().refine((name) => metricByName.has(name), 'is not a canonical metric')
const attributes = z.record(z.string(), z.string()).default({})
const id = z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must match [a-z0-9-]')

const common = {
  id,
  version: z.int().min(1).default(1),
  /** What is checked; a healthy sign of one check never clears another (H1). */
  check: id,
  action: z.string().min(1).max(64).default('NONE'),
  /** Exempt from the breaker on ourselves (H2). */
  isExempt: z.boolean().default(false),
  /** Where the rule comes from. */
  basis: z.string().default(''),
}
const scope = z.enum(['device', 'host']).default('device')
const verdict = z.enum(['DEPRIORITISE', 'DO_NOT_ROUTE', 'DRAIN', 'ISOLATE_DOMAIN'])

/** A code in a sticky gauge or a count of codes: acted on when it changes. */
const codeRule = z.strictObject({
  ...common,
  kind: z.literal('code'),
  codes: z.array(z.int().min(1).max(9999)).min(1),
  /** `RECORD`: written down, routing unchanged. */
  verdict: z.union([verdict, z.literal('RECORD')]),
  scope,
  /** Acts only from this many within the time on. */
  repeat: z.strictObject({ count: z.int().min(2), withinMs: ms }).optional(),
  /** Cleared this long after the last recurrence, once the gauge was seen reset to 0. Without it only `isClearedByRecoveryAction`. */
  clearAfterMs: ms.optional(),
  /** Recovery action 0 is a healthy sign for it. */
  isClearedByRecoveryAction: z.boolean().default(false),
})

const condition = z
  .strictObject({
    equals: z.array(z.number()).min(1).optional(),
    /** Above 0 and none of these: unknown values fail closed. */
    noneOf: z.array(z.number()).min(1).optional(),
    below: z.number().optional(),
    above: z.number().optional(),
    /** Any of these bits. */
    bits: z.int().min(1).optional(),
    /** Any 2-bit field that holds this value. */
    packed2: z.int().min(0).max(3).optional(),
  })
  .refine((c) => Object.keys(c).length === 1, 'needs exactly one of equals, noneOf, below, above, bits, packed2')

/** Holds while the signal says so. */
const levelRule = z.strictObject({ ...common, kind: z.literal('level'), signal, attributes, when: condition, verdict, scope })
/** A counter that rises. */
const riseRule = z.strictObject({ ...common, kind: z.literal('rise'), signal, attributes, verdict, scope, clearAfterMs: ms.optional() })
/** Steps the weight down per evaluation window and back up: all or nothing would oscillate. */
const gradedRule = z.strictObject({
  ...common,
  kind: z.literal('graded'),
  any: z.array(z.strictObject({ signal, attributes, when: condition })).min(1),
  windowMs: ms.min(1),
  down: z.number().gt(0).max(1),
  up: z.number().gt(0).max(1),
  floor: z.number().gt(0).max(1),
})

const rulesSchema = z
  .strictObject({
    version: z.int().min(1),
    /** Events older than this at their append never change routing (H3). */
    maxAgeMs: ms.default(600_000),
    /** An event dated later than its append by more is not believed. */
    skewMs: ms.default(30_000),
    hold: z.strictObject({ baseMs: ms, capMs: ms, forgetMs: ms }),
    breaker: z.strictObject({ share: z.number().gt(0).max(1), endpointsMin: z.int().min(1) }),
    deprioritisedWeight: z.number().gt(0).max(1),
    refreshMs: ms.min(100),
    expiresMs: ms.min(100),
    /** Devices not heard of for this long are forgotten. */
    forgetDeviceMs: ms.min(60_000),
    silence: z.strictObject({ id, version: z.int().min(1), periods: z.number().min(1), sourceLostShare: z.number().gt(0).max(1), sourceLostNodesMin: z.int().min(1) }),
    rules: z.array(z.discriminatedUnion('kind', [codeRule, levelRule, riseRule, gradedRule])).min(1),
  })
  .superRefine((file, context) => {
    const ids = new Set<string>([file.silence.id])
    const codes = new Map<number, string>()
    file.rules.forEach((rule, i) => {
      if (ids.has(rule.id)) context.addIssue({ code: 'custom', path: ['rules', i, 'id'], message: `${rule.id} is declared twice` })
      ids.add(rule.id)
      if (rule.kind !== 'code') return
      for (const code of rule.codes) {
        if (codes.has(code)) context.addIssue({ code: 'custom', path: ['rules', i, 'codes'], message: `code ${code} belongs to ${codes.get(code)} already` })
        codes.set(code, rule.id)
      }
    })
    if (file.expiresMs <= file.refreshMs) context.addIssue({ code: 'custom', path: ['expiresMs'], message: 'must be longer than refreshMs, else rows expire between two rewrites' })
  })

export type HealthRules = z.output<typeof rulesSchema>
export type HealthRule = HealthRules['rules'][number]
export type CodeRule = Extract<HealthRule, { kind: 'code' }>
export type GradedRule = Extract<HealthRule, { kind: 'graded' }>
export type Condition = z.output<typeof condition>

/** Takes the parsed YAML. Throws SLU_HEALTH_RULES naming every problem with its path. */
export function parseHealthRules(parsed: unknown): HealthRules {
  const result = rulesSchema.safeParse(parsed)
  if (result.success) return result.data
  throw new SluiceError('SLU_HEALTH_RULES', result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '))
}
