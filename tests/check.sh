#!/bin/bash
# Runs the tests on one build or several and counts them.
#
#   check.sh [plain|engines|asan|tsan|tsan-subset]...    default: plain engines asan tsan-subset
#
# The last line is `N passed, N failed, N skipped`; it is also left in build/check-summary. What was
# counted: unit tests (cmocka's cases), replays of the fuzz corpora, scenario tests, interop tests,
# loads of `sluice bench`, the test bed for long lines, and the layers. A failing part shows its
# log. Exit status: 0 when nothing failed.
#
# Go builds upstream's derper, which the mesh tests want beside ours.
#
# CI=1: interop tests that can't run are a failure, not skipped, and so are those beside derper.
set -uo pipefail

cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- plain engines asan tsan-subset
meson=$(compgen -G /usr/bin/meson || echo meson)
python=/usr/bin/python3 # pytest is Debian's, whatever Python comes first in PATH
passed=0 failed=0 skipped=0
mark=0 # when the part before ended, in SECONDS
unit_args=() # more for meson test

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=0:exitcode=66
export PYTHONDONTWRITEBYTECODE=1
# Tests make sockets below it, whose paths may have 107 characters.
tmp=${TMPDIR:-/tmp}
[ ${#tmp} -le 24 ] || export TMPDIR=/tmp

# add PART STATUS LOG "N passed, N failed, N skipped": counts a part, shows its log when it failed.
add() {
	local part=$1 status=$2 log=$3 p f s _
	read -r p _ f _ s _ <<<"$4"
	# A part that fails without a failing test, or in which nothing ran, has failed as a whole.
	if [ "$f" -eq 0 ] && { [ "$status" -ne 0 ] || [ $((p + s)) -eq 0 ]; }; then
		f=1
	fi
	if [ "$f" -gt 0 ]; then
		echo "---- $part: log ($log)"
		cat "$log"
		echo "---- $part: end of log"
	fi
	printf '%-18s %d passed, %d failed, %d skipped (%d s)\n' "$part:" "$p" "$f" "$s" $((SECONDS - mark))
	mark=$SECONDS
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# run PART COUNTER COMMAND...: COUNTER is given the log and prints the three numbers.
run() {
	local part=$1 counter=$2 status=0
	local log=$dir/check-logs/${part//: /-}.log
	shift 2
	mkdir -p "$dir/check-logs"
	"$@" >"$log" 2>&1 </dev/null || status=$?
	add "$part" $status "$log" "$($counter "$log" $status)"
}

one() {
	if [ "$2" -eq 0 ]; then echo "1 passed, 0 failed, 0 skipped"; else echo "0 passed, 1 failed, 0 skipped"; fi
}

# Cases inside meson's tests: cmocka says how many there were, any other program counts as one.
count_unit() {
	"$python" tests/count.py meson "$dir/meson-logs/testlog.json"
}

count_scenario() {
	"$python" tests/count.py junit "$dir/check-logs/scenario.xml"
}

count_waits() {
	"$python" tests/count.py junit "$dir/check-logs/waits.xml"
}

count_interop() {
	local line
	if [ "$2" -eq 77 ]; then
		echo "0 passed, $([ -n "${CI:-}" ] && echo "1 failed, 0" || echo "0 failed, 1") skipped"
	elif line=$(grep '^interop: [0-9]* passed, [0-9]* failed, [0-9]* skipped$' "$1" | tail -n 1) &&
		[ -n "$line" ]; then
		echo "${line#interop: }"
	else
		echo "0 passed, 1 failed, 0 skipped"
	fi
}

count_smoke() {
	local line
	line=$(grep '^[0-9]* passed, [0-9]* failed, [0-9]* skipped$' "$1" | tail -n 1)
	echo "${line:-0 passed, 1 failed, 0 skipped}"
}

# The interop tests; without Go they are skipped, loudly.
interop() {
	local log=$dir/check-logs/$1-interop.log status=0
	tests/interop/run.sh "$dir/sluice" >"$log" 2>&1 </dev/null || status=$?
	if [ $status -eq 77 ]; then
		echo "**** $(grep -m 1 SKIPPED "$log" || echo 'INTEROP SKIPPED')" >&2
		[ -n "${CI:-}" ] || status=0
		add "$1: interop" $status "$log" "$(count_interop "$log" 77)"
	else
		add "$1: interop" $status "$log" "$(count_interop "$log" $status)"
	fi
}

# Real nodes on a long line, for a moment; where that can't be it is skipped, loudly.
wan() {
	local log=$dir/check-logs/$1-wan.log status=0
	"$python" tests/bench/wan/wan --quick --quiet --sluice "$dir/sluice" >"$log" 2>&1 </dev/null || status=$?
	if [ $status -eq 77 ]; then
		grep -m 1 SKIPPED "$log" >&2
		add "$1: wan" 0 "$log" "0 passed, 0 failed, 1 skipped"
	else
		add "$1: wan" $status "$log" "$(one "$log" $status)"
	fi
}

# Builds derper once, for scenario tests with both in a region; without Go these are skipped, loudly.
find_derper() {
	local log=$dir/check-logs/derper.log
	[ -z "${SLUICE_DERPER:-}" ] || return 0
	mkdir -p "$dir/check-logs"
	if SLUICE_DERPER=$(GOTOOLCHAIN=local tests/interop/derper.sh 2>"$log" </dev/null); then
		export SLUICE_DERPER
	elif [ -n "${CI:-}" ]; then
		add derper 1 "$log" "0 passed, 1 failed, 0 skipped"
	else
		echo "**** NO DERPER: regions with both sluice and derper are skipped (see $log)" >&2
	fi
}

# scenario_on XML [PYTEST_ARGS...]: scenario tests on the build in $dir.
scenario_on() {
	local xml=$dir/check-logs/$1.xml
	shift
	rm -f "$xml"
	SLUICE_BIN=$PWD/$dir/sluice "$python" -m pytest -q -rfE --junitxml="$xml" "$@" tests/scenario
}

# scenario NAME [PYTEST_ARGS...]: those that don't wait for long.
scenario() {
	local name=$1
	shift
	run "$name: scenario" count_scenario scenario_on scenario "$@"
}

# Scenario tests that wait for long, in a process group of their own that this script ends if it must.
waiting=
trap '[ -z "$waiting" ] || kill -INT -- "-$waiting" 2>/dev/null' EXIT
trap 'exit 130' INT

begin_waits() {
	mkdir -p "$dir/check-logs"
	set -m
	scenario_on waits -m slow >"$dir/check-logs/$1-waits.log" 2>&1 </dev/null &
	waiting=$!
	set +m
}

end_waits() {
	local status=0
	wait "$waiting" || status=$?
	waiting=
	add "$1: waits" $status "$dir/check-logs/$1-waits.log" "$(count_waits)"
}

# tests NAME [PYTEST_ARGS...]: all that runs on the build in $dir. Those that wait, wait beside the others.
tests() {
	local name=$1 fast=()
	shift
	find_derper
	if [ -n "${SLUICE_SLOW:-}" ]; then
		begin_waits "$name"
		fast=(-m "not slow")
	fi
	rm -f "$dir/meson-logs/testlog.json"
	run "$name: unit" count_unit "$meson" test -C "$dir" --no-rebuild "${unit_args[@]}" \
		--timeout-multiplier "${SLUICE_TIME_SCALE:-1}"
	scenario "$name" "${fast[@]}" "$@"
	[ -z "$waiting" ] || end_waits "$name"
}

# build NAME DIRECTORY [MESON_ARGS...]
build() {
	local name=$1 log
	dir=$2
	shift 2
	mkdir -p "$dir/check-logs"
	log=$dir/check-logs/$name-build.log
	if ! { [ -f "$dir/build.ninja" ] || "$meson" setup "$dir" -Dwerror=true "$@"; } >"$log" 2>&1 ||
		! ninja -C "$dir" >>"$log" 2>&1; then
		add "$name: build" 1 "$log" "0 passed, 0 failed, 0 skipped"
		return 1
	fi
	printf '%-18s done (%d s)\n' "$name: build:" $((SECONDS - mark))
	mark=$SECONDS
}

check_plain() {
	# Tests that wait long, a minute at most: where it decides.
	[ -z "${CI:-}" ] || local -x SLUICE_SLOW=1
	build plain build || return
	tests plain
	run "plain: bench" count_smoke "$python" tests/bench/smoke "$dir/sluice"
	interop plain
	wan plain
}

# The other ways in which records can be sealed and opened: without ipsec-mb, and by OpenSSL.
check_engines() {
	build libcrypto build-libcrypto -Dipsec_mb=disabled || return
	tests libcrypto -m subset
	local -x SLUICE_TLS_ENGINE=openssl
	scenario openssl -m subset
}

check_asan() {
	local -x SLUICE_SANITIZER=1 SLUICE_TIME_SCALE=${SLUICE_TIME_SCALE:-3}
	[ -z "${CI:-}" ] || local -x SLUICE_SLOW=1
	build asan build-asan -Db_sanitize=address,undefined -Db_lundef=false \
		-Dc_args=-fno-sanitize-recover=all || return
	tests asan
	run "asan: bench" count_smoke "$python" tests/bench/smoke "$dir/sluice"
	interop asan
}

# Fences are the one thing that gcc's TSan can't see; it says so at each, and would stop the build.
build_tsan() {
	build tsan build-tsan -Db_sanitize=thread -Db_lundef=false -Dc_args=-Wno-tsan
}

check_tsan-subset() {
	local unit_args=(--no-suite one-thread)
	local -x SLUICE_SANITIZER=1 SLUICE_TIME_SCALE=${SLUICE_TIME_SCALE:-5}
	build_tsan || return
	tests tsan -m subset
}

check_tsan() {
	local unit_args=(--no-suite one-thread)
	local -x SLUICE_SANITIZER=1 SLUICE_TIME_SCALE=${SLUICE_TIME_SCALE:-5}
	build_tsan || return
	tests tsan
	interop tsan
}

for what in "$@"; do
	if ! declare -F "check_$what" >/dev/null; then
		echo "check: there is no build \"$what\": plain, engines, asan, tsan or tsan-subset" >&2
		exit 2
	fi
done

dir=build
run layers one tests/check-layers
for what in "$@"; do
	"check_$what"
done

summary="$passed passed, $failed failed, $skipped skipped"
mkdir -p build
echo "$summary" >build/check-summary
echo "$summary"
[ "$failed" -eq 0 ]
