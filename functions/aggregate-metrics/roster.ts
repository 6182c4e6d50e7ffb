/**
 * Who a cell's values come from, numbered: the same contributors and devices from window to window.
 *
 * Owns: numbers for the names of a cell (a name keeps its number, so a row knows its number once a shape, not once a window), their order by name, and
 * the members of a window as bytes, encoded anew only when they are others than last time; and the tables that its windows hand on.
 * What is emitted depends on who was in the window alone, never on whom a roster has seen before (W3): members stand in the order of their names.
 */
import type { Codecs } from '../../schemas/codec.ts'
import { BucketTable } from './bucket-table.ts'
import { PLACE, type FoldPlan } from './fold-plan.ts'

/** A roster is begun anew after so many emissions, so that whoever is long gone is forgotten. */
export const EMISSIONS_MAX = 4096

class Names {
  readonly list: string[] = []
  private readonly numbers = new Map<string, number>()
  private order: readonly number[] | null = null

  numberOf(name: string): number {
    const known = this.numbers.get(name)
    if (known !== undefined) return known
    const made = this.list.push(name) - 1
    this.numbers.set(name, made)
    this.order = null
    return made
  }

  /** All numbers, in the order of their names. */
  sorted(): readonly number[] {
    const { list } = this
    this.order ??= list.map((_, number) => number).sort((a, b) => ((list[a] as string) < (list[b] as string) ? -1 : 1))
    return this.order
  }
}

interface Encoded {
  readonly contributors: readonly number[]
  readonly devices: readonly number[]
  readonly bytes: Buffer
}

const areSame = (a: readonly number[], b: readonly number[]): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

export class Roster {
  readonly contributors: Names = new Names()
  readonly devices: Names = new Names()
  /** Of windows that are over: as many as were ever open at once. */
  private readonly tables: BucketTable[] = []
  private readonly encoded = new Map<number, Encoded>()
  private emissions = 0

  /** An empty table, of the size that an earlier window needed. */
  takeTable(): BucketTable {
    return this.tables.pop() ?? new BucketTable()
  }

  giveTable(table: BucketTable): void {
    this.tables.push(table.emptied())
  }

  /** Writes the numbers of a plan's cell into its places; once, unless another roster wrote there since. */
  number(plan: FoldPlan, at: number): void {
    if (plan.rosterOfCell[at] === this) return
    const { places, startOfCell } = plan
    for (let place = startOfCell[at] as number; place < (startOfCell[at + 1] as number); place++) {
      const row = places[place * PLACE] as number
      places[place * PLACE + 1] = this.contributors.numberOf(plan.contributorOfRow[row] as string)
      places[place * PLACE + 2] = this.devices.numberOf(plan.deviceOfRow[row] as string)
    }
    plan.rosterOfCell[at] = this
  }

  /** CellMembers without a frame; both lists are numbers in the order of their names. A source partition mostly has the same ones again. */
  members(sourcePartition: number, contributors: readonly number[], devices: readonly number[], codecs: Codecs): Buffer {
    this.emissions++
    const last = this.encoded.get(sourcePartition)
    if (last !== undefined && areSame(last.contributors, contributors) && areSame(last.devices, devices)) return last.bytes
    const names = (of: Names, numbers: readonly number[]): string[] => numbers.map((n) => of.list[n] as string)
    const bytes = codecs.encodeBare('CellMembers', { contributors: names(this.contributors, contributors), devices: names(this.devices, devices) })
    this.encoded.set(sourcePartition, { contributors, devices, bytes })
    return bytes
  }

  isWornOut(): boolean {
    return this.emissions >= EMISSIONS_MAX
  }
}
