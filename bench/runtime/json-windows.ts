/**
 * A window over JSON as an application team would write it: count, sum, min and max per node, device and metric.
 *
 * Owns: the function of the JSON case of `npm run bench -- runtime`. Nothing of it is tuned to the runtime but that an accumulator is an object changed
 * in place. What it emits are 32 bytes a group, as its peer does, and the markers of W7.
 */
import { defineFunction, type WindowFunction, type WindowParameters } from '../../streams/define-function.ts'
import { codecs } from '../scrapes.ts'

interface Scrape {
  readonly node: string
  readonly ts: number
  readonly samples: readonly { readonly d: string; readonly m: string; readonly v: number }[]
}

interface Sum {
  count: number
  sum: number
  min: number
  max: number
}

const NAME = 'bench-json-windows'
const PARTIALS = 'metrics.partials'

export function jsonWindows(parameters: WindowParameters): WindowFunction<Scrape, Sum> {
  return defineFunction<WindowFunction<Scrape, Sum>>({
    kind: 'window',
    name: NAME,
    inputs: ['hardware.telemetry'],
    outputs: [PARTIALS],
    partialsTopic: PARTIALS,
    parameters,
    decode: (record) => JSON.parse((record.value as Buffer).toString('utf8')) as Scrape,
    eventTimeMs: (scrape) => scrape.ts,
    identity: (scrape) => `${scrape.node}|${scrape.ts}`,
    add: (window, { node, samples }) => {
      for (const { d, m, v } of samples) {
        const sum = window.group(`${node}/${d}/${m}`, () => ({ count: 0, sum: 0, min: Infinity, max: -Infinity }))
        sum.count++
        sum.sum += v
        if (v < sum.min) sum.min = v
        if (v > sum.max) sum.max = v
      }
    },
    encodePartial: ({ key, startMs, state }) => {
      const value = Buffer.allocUnsafe(32)
      value.writeBigInt64BE(BigInt(state.count), 0)
      value.writeDoubleBE(state.sum, 8)
      value.writeDoubleBE(state.min, 16)
      value.writeDoubleBE(state.max, 24)
      return { key: `${key}@${startMs}`, value }
    },
    encodeMarker: ({ functionName, readThrough, neededFrom, ...marker }) =>
      codecs.encode('WindowMarker', { ...marker, function: functionName, readThrough: Number(readThrough), neededFrom: Number(neededFrom) }),
    decodeMarker: (record) => {
      if (record.value === null || codecs.nameOf(record.value) !== 'WindowMarker') return null
      const { function: functionName, readThrough, neededFrom, ...marker } = codecs.decode('WindowMarker', record.value)
      return { ...marker, functionName, readThrough: BigInt(readThrough), neededFrom: BigInt(neededFrom) }
    },
  })
}
