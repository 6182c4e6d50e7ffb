/**
 * The bytes that leave (egress.md §1).
 *
 * Owns: the published object (F): RFC 8785 restricted to integers and strings, fixed point by the bundle, padded to the bundle's size class.
 * A withheld cell has the same members but for a value of 0 and `status: withheld`, without a reason: neither absence nor size tells why
 * (E05, E33). No contributor, device, source, minimum, maximum, count or label has a member here (E27). Pure.
 */
import { canonicalJson } from '../../schemas/canonical-json.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { Permit, PolicyBundle } from '../../schemas/policy.ts'
import type { Projected } from './project.ts'

/** `value` × 10^scale, rounded to a multiple of `step`. Throws SLU_EGRESS_HOLD when that is no safe integer. */
export function fixedPoint(value: number, scale: number, step: number): number {
  const fixed = Math.round((value * 10 ** scale) / step) * step
  if (!Number.isSafeInteger(fixed)) throw new SluiceError('SLU_EGRESS_HOLD', 'a value does not fit the fixed point of its metric')
  return fixed === 0 ? 0 : fixed
}

/** The object of a cell. Throws SLU_EGRESS_HOLD when it does not fit its size class. */
export function canonicalObject(projected: Projected, permit: Permit, policy: PolicyBundle, status: 'value' | 'withheld'): Buffer {
  const { identity, metric, sum, count } = projected
  const body = {
    v: 1,
    ...identity,
    unit: metric.unit,
    statistic: permit.statistic,
    scale: permit.scale,
    status,
    value: status === 'value' ? fixedPoint(permit.statistic === 'sum' ? sum : sum / count, permit.scale, permit.step) : 0,
    bundle: policy.hash,
    version: policy.manifest.version,
  }
  const bare = Buffer.byteLength(canonicalJson({ ...body, pad: '' }))
  const missing = policy.caps.objectBytes - bare
  if (missing < 0) throw new SluiceError('SLU_EGRESS_HOLD', `${identity.metric}: an object of ${bare} bytes does not fit the size class of ${policy.caps.objectBytes}`)
  return Buffer.from(canonicalJson({ ...body, pad: '0'.repeat(missing) }))
}
