/** What a SIMULATED accelerator and its host are made of. Owns: the state the exporters' pages are printed from, and the two temperatures that matter. */

export interface Accelerator {
  readonly index: number
  utilization: number
  temperatureCel: number
  powerWatts: number
  energyJoules: number
  memoryMib: number
  xid: number
  recoveryAction: number
  eccCorrected: number
  sramUncorrected: number
  /** Added by a thermal fault. */
  heatCel: number
  executions: number
}

export interface SimulatedHost {
  readonly host: string
  readonly kind: 'blackwell' | 'trainium3'
  readonly namespace: string
  readonly accelerators: readonly Accelerator[]
}

/** Above it the silicon slows itself down. */
export const SLOWDOWN_CEL = 85
/** A GPU that nears it would switch itself off. */
export const SHUTDOWN_CEL = 95
