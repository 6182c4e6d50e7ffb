/**
 * Sealing a policy folder: writes the hashes of its files into the manifest.
 *
 * Owns: that one rewrite; everything else in the manifest stays as its author wrote it. Sealing is no signature: a sealed bundle is
 * `unsigned` until two roles sign it. Run as a program: `node infra/egress/seal.ts policy`.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BUNDLE_FILES, type BundleSection, type PolicyBundle } from '../../schemas/policy.ts'
import { hashOf, MANIFEST, parseStrictJson, readPolicyFolder, shippedSchemaBytes } from './policy-folder.ts'

/** Recomputes the hashes and returns the sealed bundle. Throws SLU_EGRESS_POLICY; the manifest is then as it was. */
export function sealPolicyFolder(dir: string, schemaBytes: Buffer = shippedSchemaBytes()): PolicyBundle {
  const path = join(dir, MANIFEST)
  const before = readFileSync(path)
  const manifest = parseStrictJson(MANIFEST, before) as Record<string, unknown>
  for (const section of Object.keys(BUNDLE_FILES) as BundleSection[]) {
    const file = BUNDLE_FILES[section]
    manifest[section] = { [file]: hashOf(section === 'schemas' ? schemaBytes : readFileSync(join(dir, file))) }
  }
  const replace = (bytes: string | Buffer): void => {
    const temporary = join(dir, `.${MANIFEST}`)
    writeFileSync(temporary, bytes)
    renameSync(temporary, path)
  }
  replace(`${JSON.stringify(manifest, null, 2)}\n`)
  try {
    return readPolicyFolder(dir, schemaBytes)
  } catch (error) {
    replace(before)
    throw error
  }
}

if (import.meta.main) {
  const bundle = sealPolicyFolder(process.argv[2] ?? 'policy')
  process.stdout.write(`${bundle.manifest.bundleId} v${bundle.manifest.version} (${bundle.signature}) ${bundle.hash}\n`)
}
