/**
 * Which DCGM series become which canonical metric (telemetry.md §2).
 *
 * Owns: the table by numeric field id with every name of the field (DCGM 4.6 renamed fields and kept the old names), the exact conversion
 * `value × multiply ÷ divide`, and the closed lists that label text is reduced to (N1): accelerator models and health watches.
 * A series that is not here is ignored: exporters are extended by their sites, which is no fault.
 */
import type { AttributeMap } from '../../schemas/records.ts'

export interface DcgmField {
  /** Numeric DCGM field id; 0 = made by the exporter itself (`DCGM_EXP_*`). */
  readonly id: number
  /** Full series names; nothing is guessed from a prefix. */
  readonly names: readonly string[]
  readonly metric: string
  readonly attributes: AttributeMap
  readonly multiply: number
  readonly divide: number
  /** A label whose (reduced) text becomes an attribute. */
  readonly labelled?: 'xid' | 'watch'
}

/** Not metrics: parts of `hw.gpu.memory.limit` = used + free + reserved, where the exporter gives no total. */
export const MEMORY_FREE = '(free)'
export const MEMORY_RESERVED = '(reserved)'

const MIB = 1_048_576
const f = (id: number, names: readonly string[], metric: string, more: Partial<DcgmField> = {}): DcgmField => ({
  id,
  names,
  metric,
  attributes: {},
  multiply: 1,
  divide: 1,
  ...more,
})
const dev = (...names: string[]): string[] => names.map((name) => `DCGM_FI_DEV_${name}`)
const prof = (...names: string[]): string[] => names.map((name) => `DCGM_FI_PROF_${name}`)
const ecc = (type: 'corrected' | 'uncorrected'): Partial<DcgmField> => ({ attributes: { 'error.type': type } })

export const dcgmFields: readonly DcgmField[] = [
  f(100, dev('SM_CLOCK', 'SM_CLOCK_MHZ'), 'sluice.gpu.clock', { multiply: 1e6 }),
  f(112, dev('CLOCK_THROTTLE_REASONS', 'CLOCKS_EVENT_REASONS'), 'sluice.gpu.throttle_reasons'),
  f(140, dev('MEMORY_TEMP', 'MEMORY_TEMP_CELSIUS'), 'hw.temperature', { attributes: { sensor: 'HBM' } }),
  f(150, dev('GPU_TEMP', 'GPU_TEMP_CELSIUS'), 'hw.temperature', { attributes: { sensor: 'GPU_DIE' } }),
  f(153, dev('GPU_TEMP_LIMIT', 'GPU_TEMP_MARGIN', 'THERMAL_MARGIN'), 'sluice.gpu.thermal_margin'),
  f(155, dev('POWER_USAGE', 'BOARD_POWER_WATTS'), 'hw.power'),
  f(156, dev('TOTAL_ENERGY_CONSUMPTION', 'TOTAL_ENERGY_CONSUMPTION_MJ'), 'hw.energy', { divide: 1000 }),
  f(174, dev('FABRIC_HEALTH_MASK'), 'sluice.gpu.fabric_health'),
  f(175, dev('FABRIC_HEALTH_SUMMARY'), 'sluice.gpu.fabric_status'),
  f(203, dev('GPU_UTIL', 'GPU_UTIL_RATIO'), 'hw.gpu.utilization', { divide: 100 }),
  f(230, dev('XID_ERRORS', 'XID_ERROR'), 'sluice.gpu.xid'),
  f(250, dev('FB_TOTAL', 'FB_TOTAL_MIB'), 'hw.gpu.memory.limit', { multiply: MIB }),
  f(251, dev('FB_FREE', 'FB_FREE_MIB'), MEMORY_FREE, { multiply: MIB }),
  f(252, dev('FB_USED', 'FB_USED_MIB'), 'hw.gpu.memory.usage', { multiply: MIB }),
  f(253, dev('FB_RESERVED', 'FB_RESERVED_MIB'), MEMORY_RESERVED, { multiply: MIB }),
  // Volatile only: the aggregate fields (312, 313) count the same errors a second time.
  f(310, dev('ECC_SBE_VOL_TOTAL'), 'hw.errors', ecc('corrected')),
  f(311, dev('ECC_DBE_VOL_TOTAL'), 'hw.errors', ecc('uncorrected')),
  f(393, dev('UNCORRECTABLE_REMAPPED_ROWS', 'ROW_REMAP_UNCORRECTABLE_TOTAL'), 'sluice.gpu.row_remap.uncorrectable'),
  f(394, dev('CORRECTABLE_REMAPPED_ROWS', 'ROW_REMAP_CORRECTABLE_TOTAL'), 'sluice.gpu.row_remap.correctable'),
  f(395, dev('ROW_REMAP_FAILURE', 'ROW_REMAP_FAILED'), 'sluice.gpu.row_remap.failure'),
  f(396, dev('ROW_REMAP_PENDING'), 'sluice.gpu.row_remap.pending'),
  f(1001, prof('GR_ENGINE_ACTIVE', 'GR_ENGINE_ACTIVE_RATIO'), 'sluice.gpu.engine_active'),
  f(1004, prof('PIPE_TENSOR_ACTIVE', 'PIPE_TENSOR_ACTIVE_RATIO'), 'sluice.gpu.tensor_active'),
  f(1009, prof('PCIE_TX_BYTES'), 'hw.gpu.io', { attributes: { direction: 'transmit' } }),
  f(1010, prof('PCIE_RX_BYTES'), 'hw.gpu.io', { attributes: { direction: 'receive' } }),
  f(1523, dev('GPU_RECOVERY_ACTION', 'GET_GPU_RECOVERY_ACTION', 'RECOVERY_ACTION'), 'sluice.gpu.recovery_action'),
  f(0, dev('NVLINK_PPCNT_RECOVERY_SUCCESSFUL_TOTAL'), 'sluice.gpu.nvlink.recoveries'),
  f(0, ['DCGM_EXP_XID_ERRORS_COUNT'], 'sluice.gpu.xid_count', { labelled: 'xid' }),
  f(0, ['DCGM_EXP_GPU_HEALTH_STATUS'], 'sluice.gpu.health_status', { labelled: 'watch' }),
]

export const dcgmFieldByName: ReadonlyMap<string, DcgmField> = new Map(dcgmFields.flatMap((field) => field.names.map((name) => [name, field] as const)))

const MODELS = ['GB300', 'GB200', 'B300', 'B200', 'B100', 'GH200', 'H200', 'H100', 'H800', 'H20', 'A100', 'A800', 'A40', 'A30', 'A10G', 'A10', 'L40S', 'L40', 'L4', 'T4', 'V100']

/** `nvidia-gb200` for "NVIDIA GB200"; null for a model not on the list: label text never travels (N1). */
export function nvidiaModel(text: string): string | null {
  const words = new Set(text.toUpperCase().split(/[^A-Z0-9]+/))
  const model = MODELS.find((name) => words.has(name))
  return model === undefined ? null : `nvidia-${model.toLowerCase()}`
}

const WATCHES = new Set(['PCIE', 'NVLINK', 'PMU', 'MCU', 'MEM', 'SM', 'INFOROM', 'THERMAL', 'POWER', 'DRIVER', 'NVSWITCH_NONFATAL', 'NVSWITCH_FATAL'])

/** DCGM's health watches as they are named; `OTHER` for anything else (N1). */
export function healthWatch(text: string): string {
  return WATCHES.has(text) ? text : 'OTHER'
}
