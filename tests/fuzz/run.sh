#!/bin/sh
# Looks for inputs that break a parser: each target under libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer (clang).
#
#     tests/fuzz/run.sh [SECONDS [TARGET...]]     SECONDS a target, default $FUZZ_SECONDS or 30
#
# Builds in $FUZZ_BUILD (default build-fuzz beside the sources). New inputs that reach new code stay
# there, in corpus/<target>, and serve the next run; findings in findings/. Exit status 1: a finding.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${FUZZ_BUILD:-$root/build-fuzz}
seconds=${1:-${FUZZ_SECONDS:-30}}
[ $# -gt 0 ] && shift

if [ ! -f "$build/build.ninja" ]; then
	CC=${FUZZ_CC:-clang} meson setup "$build" "$root" -Db_sanitize=address,undefined \
		-Db_lundef=false \
		-Dc_args="-fsanitize=fuzzer-no-link -fno-sanitize-recover=all" >&2
fi

# The list is meson.build's.
known=$(ninja -C "$build" -t targets all | sed -n 's,^tests/fuzz/fuzz-\([a-z0-9_]*\): .*,\1,p')
[ -n "$known" ] || { echo "no fuzz targets in $build" >&2; exit 2; }
targets=${*:-$known}

programs=
for t in $targets; do
	programs="$programs tests/fuzz/fuzz-$t"
done
# shellcheck disable=SC2086
ninja -C "$build" $programs

export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
status=0
mkdir -p "$build/findings"
for t in $targets; do
	echo "== fuzz-$t, $seconds s"
	mkdir -p "$build/corpus/$t"
	log=$build/findings/$t.log
	dict=
	[ -f "$here/$t.dict" ] && dict=-dict=$here/$t.dict
	if "$build/tests/fuzz/fuzz-$t" -max_total_time="$seconds" -max_len=20000 -timeout=10 \
		-rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$build/findings/$t-" \
		${dict:+"$dict"} \
		"$build/corpus/$t" "$here/corpus/$t" >"$log" 2>&1; then
		grep -E 'cov: |stat::number_of_executed_units' "$log" | tail -n 2
		continue
	fi
	status=1
	tail -n 60 "$log"
	found=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
	echo "FINDING in fuzz-$t (whole log: $log)"
	echo "  to reproduce: $build/tests/fuzz/fuzz-$t ${found:-<no input was kept>}"
	echo "  once mended, keep it: cp ${found:-INPUT} $here/corpus/$t/"
done
exit $status
