#!/bin/sh
# derper.sh [OUT]: build upstream's derper, the oracle of these tests and the rival of the
# benchmarks, at the version that go.mod names, unless OUT is there and up to date. Prints OUT.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/interop/derper}
mkdir -p "$(dirname "$out")"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")

if ! [ "$out" -nt "$here/go.mod" ] || ! [ "$out" -nt "$here/go.sum" ]; then
	# Two builds at once must not spoil each other, nor leave half a binary.
	new=$out.$$
	trap 'rm -f "$new"' EXIT
	(cd "$here" && go build -trimpath -o "$new" tailscale.com/cmd/derper) >&2
	touch "$new" # go build keeps a cached binary's old time
	mv "$new" "$out"
fi
echo "$out"
