/**
 * SIMULATED hosts: what dcgm-exporter and neuron-monitor would publish about them.
 *
 * Owns: the state of each accelerator (a seeded random walk that follows the load of the model servers on it), scripted faults by time, and
 * the order in which they act. The formats stand in dcgm-text.ts and neuron-json.ts. Pure: time, randomness and load are arguments.
 * Faults: `xid` sets the sticky gauge, and from the next scrape on the recovery action its code calls for; `thermal-ramp` raises the temperature
 * up to past the slow-down limit, then the answers take longer; `neuron-uncorrectable` raises an SRAM counter; `silent` publishes nothing.
 */
import type { Random } from '../../../schemas/ports.ts'
import type { Site } from '../../../schemas/site.ts'
import { SLOWDOWN_CEL, type Accelerator, type SimulatedHost } from './accelerator.ts'
import { dcgmText } from './dcgm-text.ts'
import { neuronJson } from './neuron-json.ts'

type Simulation = NonNullable<Site['simulation']>
export type SimulatedHostOptions = Simulation['hosts'][number]
export type SimulatedFault = Simulation['faults'][number]

export interface Scrape {
  readonly host: string
  readonly topic: 'telemetry.dcgm' | 'telemetry.neuron'
  readonly text: string
}

export interface SimulatedHardware {
  /** Moves every host to `atMs` (since the start) and returns what its exporters publish; `loadOf` = busy share of an accelerator, 0..1. */
  scrape(atMs: number, loadOf: (host: string, index: number) => number): Scrape[]
  /** How many times as long an accelerator takes now; 1 = as usual. */
  slowdownOf(host: string, index: number): number
}

const IDLE_CEL = 38
const LOAD_CEL = 30
const RAMP_CEL = 60
const HEAT_MAX_CEL = 92
const MEMORY_MIB = 189_471
const RECOVERY_ACTIONS: Readonly<Record<number, number>> = { 79: 2, 54: 2, 151: 2, 48: 1, 62: 1, 95: 1, 119: 1, 120: 1 }

const clamp = (value: number, min: number, max: number): number => Math.min(max, Math.max(min, value))

function newAccelerator(index: number, random: Random): Accelerator {
  return {
    index,
    utilization: 0.2 + 0.4 * random(),
    temperatureCel: IDLE_CEL + 10 * random(),
    powerWatts: 300,
    energyJoules: 1e9 + Math.floor(random() * 1e9),
    memoryMib: Math.floor(MEMORY_MIB * (0.5 + 0.3 * random())),
    xid: 0,
    recoveryAction: 0,
    eccCorrected: Math.floor(random() * 3),
    sramUncorrected: 0,
    heatCel: 0,
    executions: 0,
  }
}

/** One step of the walk. Base load drifts; the model servers' load comes on top. */
function step(a: Accelerator, load: number, passedMs: number, random: Random): void {
  a.utilization = clamp(0.9 * a.utilization + 0.1 * (0.25 + 0.65 * load) + (random() - 0.5) * 0.06, 0.02, 1)
  const target = IDLE_CEL + LOAD_CEL * a.utilization
  a.temperatureCel = clamp(a.temperatureCel - a.heatCel + (target - a.temperatureCel + a.heatCel) * 0.3 + (random() - 0.5), 20, HEAT_MAX_CEL) + a.heatCel
  a.powerWatts = 180 + 900 * a.utilization + 10 * random()
  a.energyJoules += (a.powerWatts * passedMs) / 1000
  a.memoryMib = clamp(a.memoryMib + Math.round((random() - 0.5) * 200), 1024, MEMORY_MIB)
  a.executions = Math.round(a.utilization * passedMs * 0.4)
}

export function createHardware(hosts: readonly SimulatedHostOptions[], faults: readonly SimulatedFault[], random: Random): SimulatedHardware {
  const states = hosts.map((h): SimulatedHost => ({
    host: h.host,
    kind: h.kind,
    namespace: h.namespace,
    accelerators: Array.from({ length: h.devices }, (_, i) => newAccelerator(i, random)),
  }))
  const byHost = new Map(states.map((state) => [state.host, state]))
  const done = new Set<SimulatedFault>()
  let movedMs: number | null = null

  const isSilent = (host: string, atMs: number): boolean => faults.some((f) => f.kind === 'silent' && f.host === host && atMs >= f.atMs && atMs < f.atMs + f.forMs)

  const applyFaults = (atMs: number): void => {
    for (const host of states) for (const a of host.accelerators) if (a.xid !== 0 && a.recoveryAction === 0) a.recoveryAction = RECOVERY_ACTIONS[a.xid] ?? 0
    for (const fault of faults) {
      if (atMs < fault.atMs || fault.kind === 'silent') continue
      const accelerator = byHost.get(fault.host)?.accelerators[fault.kind === 'neuron-uncorrectable' ? fault.device : fault.gpu]
      if (accelerator === undefined) continue
      if (fault.kind === 'thermal-ramp') {
        const heat = RAMP_CEL * clamp((atMs - fault.atMs) / fault.overMs, 0, 1)
        accelerator.temperatureCel = Math.min(HEAT_MAX_CEL, accelerator.temperatureCel - accelerator.heatCel + heat)
        accelerator.heatCel = heat
      } else if (!done.has(fault)) {
        done.add(fault)
        if (fault.kind === 'xid') accelerator.xid = fault.code
        else accelerator.sramUncorrected++
      }
    }
  }

  return {
    scrape: (atMs, loadOf) => {
      const passedMs = movedMs === null ? 0 : Math.max(0, atMs - movedMs)
      movedMs = atMs
      for (const host of states) for (const a of host.accelerators) step(a, loadOf(host.host, a.index), passedMs, random)
      applyFaults(atMs)
      return states
        .filter((host) => !isSilent(host.host, atMs))
        .map((host) =>
          host.kind === 'blackwell'
            ? { host: host.host, topic: 'telemetry.dcgm', text: dcgmText(host) }
            : { host: host.host, topic: 'telemetry.neuron', text: neuronJson(host, passedMs) },
        )
    },
    slowdownOf: (host, index) => {
      const accelerator = byHost.get(host)?.accelerators[index]
      return accelerator === undefined || accelerator.temperatureCel <= SLOWDOWN_CEL ? 1 : 3
    },
  }
}
