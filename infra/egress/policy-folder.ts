/**
 * The policy bundle as a folder (egress.md §5).
 *
 * Owns: reading. Stages: every file once → manifest → hash of each file against the manifest → strict JSON → schemas and rules → frozen.
 * What was verified is what is used: nothing is read again (E11). A file that the manifest does not name, a missing one, one edited after
 * sealing, duplicate members or odd numbers in a file (E03) → SLU_EGRESS_POLICY, nothing leaves. The schema the classes stand in is the
 * shipped one: when it changes, the bundle must be sealed anew (E01).
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SluiceError } from '../../schemas/errors.ts'
import { BUNDLE_FILES, manifestSchema, parsePolicyBundle, type BundleSection, type PolicyBundle } from '../../schemas/policy.ts'

export const MANIFEST = 'manifest.json'

const SCHEMA_FOLDER = new URL('../../schemas/avro/', import.meta.url)
const FILE_BYTES_MAX = 1 << 20

/** SHA-256 in hex. */
export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The bytes of the shipped exportable schema. */
export function shippedSchemaBytes(): Buffer {
  return readFileSync(new URL(BUNDLE_FILES.schemas, SCHEMA_FOLDER))
}

function unusable(detail: string, cause?: unknown): SluiceError {
  return new SluiceError('SLU_EGRESS_POLICY', detail, cause)
}

/** JSON without white space outside strings must be what the parsed value prints: no duplicate members, no `1e999`, `-0` or 2^53+1 (E03). */
export function parseStrictJson(file: string, bytes: Buffer): unknown {
  let value: unknown
  const text = bytes.toString('utf8')
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw unusable(`${file}: not JSON`, cause)
  }
  if (JSON.stringify(value) !== text.replaceAll(/"(?:\\.|[^"\\])*"|\s+/g, (m) => (m.startsWith('"') ? m : '')))
    throw unusable(`${file}: duplicate members, or values that have another spelling`)
  return value
}

/** Every file of the folder by name; files that begin with a dot are not part of a bundle. */
function readOnce(dir: string): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  try {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue
      if (!entry.isFile()) throw unusable(`${join(dir, entry.name)}: not a file`)
      const bytes = readFileSync(join(dir, entry.name))
      if (bytes.length > FILE_BYTES_MAX) throw unusable(`${join(dir, entry.name)}: larger than ${FILE_BYTES_MAX} bytes`)
      files.set(entry.name, bytes)
    }
  } catch (error) {
    if (error instanceof SluiceError) throw error
    throw unusable(`${dir} cannot be read`, error)
  }
  return files
}

/** Reads, verifies and freezes the bundle of a folder. Throws SLU_EGRESS_POLICY naming the file. */
export function readPolicyFolder(dir: string, schemaBytes: Buffer = shippedSchemaBytes()): PolicyBundle {
  const files = readOnce(dir)
  const manifestBytes = files.get(MANIFEST)
  if (manifestBytes === undefined) throw unusable(`${join(dir, MANIFEST)} is missing`)
  const parsedManifest = parseStrictJson(MANIFEST, manifestBytes)
  const manifest = manifestSchema.safeParse(parsedManifest)
  if (!manifest.success) throw unusable(manifest.error.issues.map((i) => `${MANIFEST} ${i.path.join('.')}: ${i.message}`).join('; '))
  files.delete(MANIFEST)
  files.set(BUNDLE_FILES.schemas, schemaBytes)
  const parts: Partial<Record<BundleSection, unknown>> = {}
  for (const section of Object.keys(BUNDLE_FILES) as BundleSection[]) {
    const file = BUNDLE_FILES[section]
    const hashes = manifest.data[section]
    const named = Object.keys(hashes)
    if (named.length !== 1 || named[0] !== file) throw unusable(`${MANIFEST} ${section}: must name ${file} alone`)
    const bytes = files.get(file)
    if (bytes === undefined) throw unusable(`${join(dir, file)} is missing`)
    if (hashOf(bytes) !== hashes[file]) throw unusable(`${file} is not the file that the manifest names: it was edited after sealing`)
    parts[section] = parseStrictJson(file, bytes)
    files.delete(file)
  }
  if (files.size > 0) throw unusable(`${[...files.keys()].sort().join(', ')}: not named by the manifest`)
  return parsePolicyBundle({ ...(parts as Record<BundleSection, unknown>), manifest: parsedManifest }, hashOf(manifestBytes))
}
