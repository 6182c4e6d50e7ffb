#!/bin/sh
# Makes a random key in each named file that does not exist yet: 32 bytes as hex, readable by its owner only.
# A file appears whole or not at all; one that exists is never touched, since pseudonyms and signatures depend on it.
set -eu
umask 277
for file in "$@"; do
  [ ! -e "$file" ] || continue
  rm -f "$file.new"
  od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$file.new"
  [ "$(wc -c <"$file.new")" -eq 64 ]
  mv "$file.new" "$file"
done
