/**
 * What the labels of a dcgm-exporter series say: host, device, tenant, attributes (telemetry.md §2).
 *
 * Owns: every spelling of every exporter version (`Hostname` up to 4.5.3-4.8.2 and `hostname` after, `pod_namespace`, `model_name`, the NVLink
 * labels, MIG), and the device they name. Indexes are numbers or nothing; other label text becomes an attribute only through a closed list (N1).
 */
import type { AttributeMap } from '../../schemas/records.ts'
import { healthWatch, type DcgmField } from './dcgm-fields.ts'
import type { SampleLine } from './prometheus-line.ts'

/** null = the label is absent. */
export interface Labels {
  host: string | null
  gpu: string | null
  migInstance: string | null
  link: string | null
  linkSwitch: string | null
  namespace: string | null
  model: string | null
  xid: string | null
  watch: string | null
}

export function labelsOf(line: SampleLine): Labels {
  const l: Labels = { host: null, gpu: null, migInstance: null, link: null, linkSwitch: null, namespace: null, model: null, xid: null, watch: null }
  for (const [name, value] of line.labels)
    switch (name) {
      case 'gpu':
        l.gpu = value
        break
      case 'hostname':
      case 'Hostname':
        l.host = value
        break
      case 'GPU_I_ID':
        l.migInstance = value
        break
      case 'nvlink':
        l.link = value
        break
      case 'nvswitch':
        l.linkSwitch = value
        break
      case 'namespace':
      case 'pod_namespace':
        l.namespace = value
        break
      case 'modelName':
      case 'model_name':
        l.model = value
        break
      case 'xid':
        l.xid = value
        break
      case 'health_watch':
        l.watch = value
        break
      default:
    }
  return l
}

const isIndex = (text: string | null): text is string => text !== null && /^\d{1,5}$/.test(text)

/** Normalised: "07" and "7" are one index. */
const index = (text: string): string => String(Number(text))

export interface Place {
  readonly kind: 'gpu' | 'mig' | 'link'
  readonly index: string
  readonly parentGpu: string | null
}

/** The device a sample speaks of, or why that cannot be told. */
export function placeOf(l: Labels): Place | string {
  if (l.link !== null && l.link !== '') {
    if (!isIndex(l.link)) return 'label nvlink is not an index'
    if (isIndex(l.gpu)) return { kind: 'link', index: `${index(l.gpu)}/${index(l.link)}`, parentGpu: index(l.gpu) }
    return isIndex(l.linkSwitch) ? { kind: 'link', index: `switch-${index(l.linkSwitch)}/${index(l.link)}`, parentGpu: null } : 'label gpu is not an index'
  }
  if (!isIndex(l.gpu)) return l.gpu === null ? 'no label gpu' : 'label gpu is not an index'
  if (l.migInstance === null || l.migInstance === '') return { kind: 'gpu', index: index(l.gpu), parentGpu: null }
  return isIndex(l.migInstance) ? { kind: 'mig', index: `${index(l.gpu)}/${index(l.migInstance)}`, parentGpu: index(l.gpu) } : 'label GPU_I_ID is not an index'
}

/** The attributes of a field's rows, or why they cannot be told. */
export function attributesOf(field: DcgmField, l: Labels): AttributeMap | string {
  if (field.labelled === undefined) return field.attributes
  if (field.labelled === 'watch') return l.watch === null ? 'no label health_watch' : { watch: healthWatch(l.watch) }
  return isIndex(l.xid) ? { xid: index(l.xid) } : 'label xid is not a number'
}
