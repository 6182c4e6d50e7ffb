/**
 * What functions decide, as measurements (operations.md §1): verdicts by rule, the last closed window of each pool as `hw.*`, and whether the gate
 * holds.
 *
 * Owns: decorators of definitions. A function stays pure and says what it decided in what it emits; here that is read once more and measured.
 * Emits pass through unchanged, whatever the measuring makes of them. Replayed work is measured again: these are views, the topics are the record.
 */
import type { Codecs } from '../schemas/codec.ts'
import { SluiceError } from '../schemas/errors.ts'
import type { Telemetry } from '../schemas/ports.ts'
import type { WindowSummary } from '../schemas/records.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import type { AnyFunction, Emit, TaskFunction } from '../streams/define-function.ts'

/** What is shown of a window, by metric. */
const SHOWN: Readonly<Record<string, { readonly name: string; readonly valueOf: (w: WindowSummary) => number }>> = {
  'hw.gpu.utilization': { name: metricNames.hwGpuUtilization, valueOf: (w) => w.sum / w.count },
  'hw.temperature': { name: metricNames.hwTemperature, valueOf: (w) => w.max },
  'hw.power': { name: metricNames.hwPower, valueOf: (w) => w.sum / w.count },
  'hw.energy': { name: metricNames.hwEnergy, valueOf: (w) => w.sum },
  'hw.errors': { name: metricNames.hwErrors, valueOf: (w) => w.sum },
}

/** The definition, measured; the same one where nothing of it is. */
export function measureFunction(definition: AnyFunction, telemetry: Telemetry, codecs: Codecs): AnyFunction {
  const seen = <E extends Emit>(emits: readonly E[]): readonly E[] => {
    for (const emit of emits) {
      if (emit.to !== 'topic' || emit.value === null) continue
      if (emit.topic === 'metrics.windows') measureWindow(codecs.decode('WindowSummary', emit.value), telemetry)
      else if (emit.topic === 'hardware.health') {
        const { ruleId, verdict, pool } = codecs.decode('HealthEvent', emit.value)
        telemetry.count(metricNames.healthVerdicts, 1, { [attributeNames.rule]: ruleId, [attributeNames.verdict]: verdict, [attributeNames.pool]: pool ?? 'none' })
      }
    }
    return emits
  }
  if (definition.kind === 'combine' && definition.outputs.includes('metrics.windows'))
    return {
      ...definition,
      result: (...given) => {
        const emit = definition.result(...given)
        seen([emit])
        return emit
      },
    }
  if (definition.kind === 'task' && definition.outputs.includes('egress.receipts')) return measureHold(definition, telemetry)
  if (definition.kind !== 'fold' || !definition.outputs.includes('hardware.health')) return definition
  const { tick } = definition
  return {
    ...definition,
    fold: (...given) => {
      const [state, emits] = definition.fold(...given)
      return [state, seen(emits)]
    },
    ...(tick === undefined
      ? {}
      : {
          tick: {
            everyMs: tick.everyMs,
            run: (...given) => {
              const [state, emits] = tick.run(...given)
              return [state, seen(emits)]
            },
          },
        }),
  }
}

/** 1 while some partition of the gate meets a hold; a record that goes through ends the hold of its partition. */
function measureHold<T>(definition: TaskFunction<T>, telemetry: Telemetry): TaskFunction<T> {
  const held = new Set<number>()
  const measure = (): void => telemetry.gauge(metricNames.egressHold, held.size > 0 ? 1 : 0)
  measure()
  return {
    ...definition,
    handle: async (value, record, context) => {
      try {
        const emits = await definition.handle(value, record, context)
        if (held.delete(record.partition)) measure()
        return emits
      } catch (error) {
        if (error instanceof SluiceError && error.disposition === 'hold' && !held.has(record.partition)) {
          held.add(record.partition)
          measure()
        }
        throw error
      }
    },
  }
}

function measureWindow(window: WindowSummary, telemetry: Telemetry): void {
  const row = SHOWN[window.metric]
  // A partial window would show a dip that was none.
  if (row === undefined || window.partial || window.count === 0) return
  const series = Object.entries(window.attributes)
    .map(([name, value]) => `${name}=${value}`)
    .toSorted()
    .join(',')
  telemetry.gauge(row.name, row.valueOf(window), {
    [attributeNames.hwType]: 'gpu',
    [attributeNames.pool]: window.pool,
    ...(series === '' ? {} : { [attributeNames.series]: series }),
  })
}
