#!/bin/bash
# Run the interop tests and count what they say.
#
#   run.sh SERVER_BINARY [SERVER_FLAG...]   test a server, started with these flags as well
#   run.sh --oracle                         test upstream's derper, which the tests are measured by
#
# INTEROP_RUN, a regular expression, picks tests by name. Exit status: 0 all passed, 77 no suitable
# Go, anything else a failure.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
export GOTOOLCHAIN=local # never download another Go

usage() {
	sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

# The version that go.mod asks for, which is what tailscale.com needs.
need=$(sed -n 's/^go //p' "$here/go.mod")
have=$(go env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//') || true
if [ -z "$have" ] || [ "$(printf '%s\n' "$need" "$have" | sort -V | head -n 1)" != "$need" ]; then
	echo "INTEROP SKIPPED: needs Go >= 1.26 (go.mod says $need, found ${have:-none})"
	exit 77
fi

[ $# -ge 1 ] || usage
# Some tests join the server to a region of derper's.
INTEROP_DERPER=$("$here/derper.sh")
export INTEROP_DERPER
case $1 in
--oracle)
	server=$INTEROP_DERPER
	export INTEROP_ORACLE=1
	;;
-*) usage ;;
*)
	server=$(realpath -e "$1")
	export INTEROP_ORACLE=0
	;;
esac
shift
export INTEROP_SERVER=$server INTEROP_FLAGS="$*"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
(cd "$here" && go test -count=1 -v -timeout 300s -run "${INTEROP_RUN:-.}" . 2>&1) | tee "$log" || status=$?

# Count the leaves: a test with subtests is only their sum. A test that began and never ended, in a
# crash or a time-out, has failed.
awk -v status="$status" '
	$1 == "===" && $2 == "RUN" { result[$3] = "unfinished" }
	$1 == "---" { sub(":", "", $2); result[$3] = $2 }
	END {
		for (name in result)
			for (parent = name; sub("/[^/]*$", "", parent); )
				inner[parent] = 1
		for (name in result)
			if (!(name in inner))
				count[result[name]]++
		failed = count["FAIL"] + count["unfinished"]
		if (status != 0 && failed == 0)
			failed = 1 # outside any one test, or in the body around subtests
		printf "interop: %d passed, %d failed, %d skipped\n", count["PASS"], failed, count["SKIP"]
		exit failed > 0 || count["PASS"] == 0
	}
' "$log"
