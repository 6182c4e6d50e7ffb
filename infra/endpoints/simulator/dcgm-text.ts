/** The page of a SIMULATED dcgm-exporter: Prometheus text 0.0.4 with the labels a recent exporter prints. Owns: which fields, their order and units. */
import { SHUTDOWN_CEL, SLOWDOWN_CEL, type Accelerator, type SimulatedHost } from './accelerator.ts'

interface Field {
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter'
  readonly value: (a: Accelerator) => number
}

const MEMORY_TOTAL_MIB = 189_471
const MEMORY_RESERVED_MIB = 640
/** NVML: HW thermal slowdown. */
const HW_THERMAL = 0x40
const round = (value: number, digits: number): number => Math.round(value * 10 ** digits) / 10 ** digits
const field = (name: string, help: string, type: Field['type'], value: Field['value']): Field => ({ name, help, type, value })

const fields: readonly Field[] = [
  field('DCGM_FI_DEV_SM_CLOCK', 'SM clock frequency (in MHz).', 'gauge', (a) => Math.round(a.temperatureCel > SLOWDOWN_CEL ? 900 : 1200 + 765 * a.utilization)),
  field('DCGM_FI_DEV_GPU_TEMP', 'GPU temperature (in C).', 'gauge', (a) => Math.round(a.temperatureCel)),
  field('DCGM_FI_DEV_MEMORY_TEMP', 'Memory temperature (in C).', 'gauge', (a) => Math.round(a.temperatureCel + 4)),
  field('DCGM_FI_DEV_GPU_TEMP_LIMIT', 'Thermal margin to the shutdown temperature (in C).', 'gauge', (a) => Math.round(SHUTDOWN_CEL - a.temperatureCel)),
  field('DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'Throttle reasons bitmask.', 'gauge', (a) => (a.temperatureCel > SLOWDOWN_CEL ? HW_THERMAL : 0)),
  field('DCGM_FI_DEV_POWER_USAGE', 'Power draw (in W).', 'gauge', (a) => round(a.powerWatts, 3)),
  field('DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'Total energy consumption since boot (in mJ).', 'counter', (a) => Math.round(a.energyJoules * 1000)),
  field('DCGM_FI_DEV_GPU_UTIL', 'GPU utilization (in %).', 'gauge', (a) => Math.round(a.utilization * 100)),
  field('DCGM_FI_DEV_FB_USED', 'Framebuffer memory used (in MiB).', 'gauge', (a) => a.memoryMib),
  field('DCGM_FI_DEV_FB_FREE', 'Framebuffer memory free (in MiB).', 'gauge', (a) => MEMORY_TOTAL_MIB - a.memoryMib),
  field('DCGM_FI_DEV_FB_RESERVED', 'Framebuffer memory reserved (in MiB).', 'gauge', () => MEMORY_RESERVED_MIB),
  field('DCGM_FI_DEV_XID_ERRORS', 'Value of the last XID error encountered.', 'gauge', (a) => a.xid),
  field('DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', 'Total number of single-bit volatile ECC errors.', 'counter', (a) => a.eccCorrected),
  field('DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'Total number of double-bit volatile ECC errors.', 'counter', () => 0),
  field('DCGM_FI_DEV_ROW_REMAP_FAILURE', 'Whether remapping of rows has failed.', 'gauge', () => 0),
  field('DCGM_FI_DEV_ROW_REMAP_PENDING', 'Whether remapping of rows is pending.', 'gauge', () => 0),
  field('DCGM_FI_DEV_GPU_RECOVERY_ACTION', 'Recovery action the driver asks for.', 'gauge', (a) => a.recoveryAction),
  field('DCGM_FI_PROF_GR_ENGINE_ACTIVE', 'Ratio of time the graphics engine is active.', 'gauge', (a) => round(a.utilization, 6)),
  field('DCGM_FI_PROF_PIPE_TENSOR_ACTIVE', 'Ratio of cycles the tensor pipe is active.', 'gauge', (a) => round(a.utilization * 0.7, 6)),
]

/** Stable per host and GPU; shaped like a real one. */
function uuid(host: string, index: number): string {
  let hash = 0
  for (const c of `${host}/${index}`) hash = (hash * 31 + (c.codePointAt(0) as number)) >>> 0
  return `GPU-51111a7e-0000-4000-8000-${hash.toString(16).padStart(12, '0')}`
}

export function dcgmText(host: SimulatedHost): string {
  const labels = host.accelerators.map(
    (a) =>
      `gpu="${a.index}",UUID="${uuid(host.host, a.index)}",pci_bus_id="0000000${(a.index % 8) + 1}:01:00.0",device="nvidia${a.index}",modelName="NVIDIA GB200",` +
      `hostname="${host.host}",DCGM_FI_DRIVER_VERSION="simulated",container="server",namespace="${host.namespace}",pod="llm-${a.index}"`,
  )
  const lines: string[] = []
  for (const f of fields) {
    lines.push(`# HELP ${f.name} ${f.help}`, `# TYPE ${f.name} ${f.type}`)
    for (const a of host.accelerators) lines.push(`${f.name}{${labels[host.accelerators.indexOf(a)]}} ${f.value(a)}`)
  }
  return `${lines.join('\n')}\n`
}
