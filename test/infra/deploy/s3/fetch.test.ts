import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { ensureS3Server, findS3Server } from '../../../../infra/deploy/s3/fetch.ts'

function folder(): { dir: string; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-s3-fetch-'))
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

/** A program that stands for Go. */
function fakeGo(dir: string, script: string): string {
  const path = join(dir, 'go')
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, 0o755)
  return path
}

test('S3 server: one that was built before is used and not built again', async (t) => {
  const { dir, remove } = folder()
  writeFileSync(join(dir, 'versitygw'), '')
  chmodSync(join(dir, 'versitygw'), 0o755)
  t.deepEqual(await ensureS3Server(() => t.fail('it was built'), dir, '/nowhere/go'), { binary: join(dir, 'versitygw'), reason: null })
  remove()
})

test('S3 server: without Go the reason is said, nothing is thrown', async (t) => {
  const { dir, remove } = folder()
  const said: string[] = []
  const found = await ensureS3Server((text) => said.push(text), dir, '/nowhere/go')
  t.is(found.binary, null)
  t.regex(found.reason ?? '', /Go is not installed/)
  t.is(said.length, 1)
  t.regex((await findS3Server(dir)).reason ?? '', /not built/)
  remove()
})

test('S3 server: Go builds the pinned version into the folder given; a failed build names its last words', async (t) => {
  const { dir, remove } = folder()
  const target = join(dir, 'bin')
  const go = fakeGo(
    dir,
    'test "$1" = install || exit 9; case "$2" in */versitygw@v1.8.0) ;; *) exit 8;; esac; printf "#!/bin/sh\\n" > "$GOBIN/versitygw"; chmod +x "$GOBIN/versitygw"',
  )
  t.is((await ensureS3Server(() => {}, target, go)).binary, join(target, 'versitygw'))
  t.true(existsSync(join(target, 'versitygw')))
  const broken = fakeGo(dir, 'echo "module lookup failed" >&2; exit 1')
  t.regex((await ensureS3Server(() => {}, join(dir, 'other'), broken)).reason ?? '', /module lookup failed/)
  remove()
})
