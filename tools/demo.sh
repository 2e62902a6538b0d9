#!/bin/bash
# A relay with synthetic clients, and its flow table, live. Ctrl-C ends everything.
#
#   demo.sh BINARY     environment: HOST, PORT as in run.sh; DEMO_SECONDS to end by itself
set -euo pipefail

binary=$1
HOST=${HOST:-127.0.0.1}
PORT=${PORT:-4443}
state=$(dirname "$binary")/demo
here=$(dirname "$0")
RELAY_LOG=$state.log
. "$here/relay.sh"

# Talk of all sizes: many clients that say little, a few pairs that move data.
chatter=(chatter -clients 24 -partners 3 -rate 5)
bulk=(bulk -pairs 3 -size 1400 -rate 200 -both)
bench=()

finish() {
	trap - EXIT
	local ran=$relay
	[ ${#bench[@]} -eq 0 ] || kill -TERM "${bench[@]}" 2>/dev/null || true
	stop_relay
	[ -z "$ran" ] || printf '\n%s\n' "The relay's log is in $RELAY_LOG"
	exit "$1"
}
trap 'finish 0' INT TERM
trap 'finish $?' EXIT

start_relay
wait_relay
for load in chatter bulk; do
	declare -n arguments=$load
	"$binary" bench "${arguments[@]}" -server "$url" -seconds 86400 \
		>"$state-$load.log" 2>&1 </dev/null &
	bench+=($!)
done
# In the background, because a trap runs only between the shell's own commands.
/usr/bin/python3 "$here/watch.py" "$url" "${DEMO_SECONDS:-0}" &
watch=$!
bench+=("$watch")
wait "$watch"
