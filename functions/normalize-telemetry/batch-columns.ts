/**
 * The columns of a NodeBatch while they are being filled.
 *
 * Owns: the dictionaries (devices, metrics with their attributes), one row per (device, metric), and their bytes in the record's layout
 * (uint16 and float64 little endian: every platform Node runs on is little endian, asserted once). Rows keep first-seen order.
 * Invariant N3: the same input gives the same bytes.
 */
import type { Codecs } from '../../schemas/codec.ts'
import { SluiceError } from '../../schemas/errors.ts'
import { metricByName } from '../../schemas/metrics.ts'
import type { AttributeMap, LayoutDevice, LayoutMetric } from '../../schemas/records.ts'

/** uint16 columns. */
export const DICTIONARY_MAX = 65_536

if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) throw new SluiceError('SLU_INTERNAL', 'this platform is big endian')

/** The bytes that stay equal while the shape of a scrape does. */
export interface BatchShape {
  readonly layout: Buffer
  readonly deviceIndex: Buffer
  readonly metricIndex: Buffer
  readonly rows: number
}

/** A device while its facts are still being gathered. */
export type Device = { -readonly [K in keyof LayoutDevice]: LayoutDevice[K] }

export interface BatchColumns {
  readonly devices: readonly Device[]
  readonly rows: number
  /** Index of the device with this local key, made by `create` on first use; null = the dictionary is full. */
  device(localKey: string, create: () => Device): number | null
  /** Row of (device, metric, attributes): `isNew` false if there is one already; null = the dictionary is full. */
  row(device: number, metric: string, attributes: AttributeMap): { readonly row: number; readonly isNew: boolean } | null
  shape(codecs: Codecs): BatchShape
}

export function createBatchColumns(): BatchColumns {
  const devices: Device[] = []
  const metrics: LayoutMetric[] = []
  const deviceByKey = new Map<string, number>()
  const metricByKey = new Map<string, number>()
  const rowByPair = new Map<number, number>()
  const deviceOfRow: number[] = []
  const metricOfRow: number[] = []

  /** Attribute objects of the field table come again for every device: known by identity. */
  const recent = new Map<AttributeMap, { readonly name: string; readonly index: number }>()

  const metricIndex = (name: string, attributes: AttributeMap): number | null => {
    const seen = recent.get(attributes)
    if (seen?.name === name) return seen.index
    const index = metricIndexByText(name, attributes)
    if (index !== null) recent.set(attributes, { name, index })
    return index
  }

  const metricIndexByText = (name: string, attributes: AttributeMap): number | null => {
    const key = `${name}\0${Object.entries(attributes)
      .map(([k, v]) => `${k}=${v}`)
      .join('\0')}`
    const known = metricByKey.get(key)
    if (known !== undefined) return known
    if (metrics.length >= DICTIONARY_MAX) return null
    const row = metricByName.get(name)
    if (row === undefined) throw new SluiceError('SLU_INTERNAL', `${name} is not a canonical metric`)
    metrics.push({ name, unit: row.unit, kind: row.kind, attributes, startMs: null })
    metricByKey.set(key, metrics.length - 1)
    return metrics.length - 1
  }

  return {
    devices,
    get rows() {
      return deviceOfRow.length
    },
    device: (localKey, create) => {
      const known = deviceByKey.get(localKey)
      if (known !== undefined) return known
      if (devices.length >= DICTIONARY_MAX) return null
      devices.push(create())
      deviceByKey.set(localKey, devices.length - 1)
      return devices.length - 1
    },
    row: (device, name, attributes) => {
      const metric = metricIndex(name, attributes)
      if (metric === null) return null
      const pair = metric * DICTIONARY_MAX + device
      const known = rowByPair.get(pair)
      if (known !== undefined) return { row: known, isNew: false }
      rowByPair.set(pair, deviceOfRow.length)
      deviceOfRow.push(device)
      metricOfRow.push(metric)
      return { row: deviceOfRow.length - 1, isNew: true }
    },
    shape: (codecs) => ({
      layout: codecs.encodeBare('NodeLayout', { devices, metrics }),
      deviceIndex: bytesOf(Uint16Array.from(deviceOfRow)),
      metricIndex: bytesOf(Uint16Array.from(metricOfRow)),
      rows: deviceOfRow.length,
    }),
  }
}

/** The bytes of a column, not copied. */
export function bytesOf(column: Uint16Array | Int32Array | Float64Array): Buffer {
  return Buffer.from(column.buffer, column.byteOffset, column.byteLength)
}
