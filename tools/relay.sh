# Sourced by run.sh and demo.sh: one relay with a self-signed certificate, as a child. They set
# binary, state, HOST and PORT, and RELAY_LOG when its log is to go into a file.

# Clients are told this address, and the certificate is for it.
case $HOST in
0.0.0.0 | :: | *[!0-9A-Fa-f.:]*)
	echo "HOST=$HOST: what is needed is the IP address that clients connect to" >&2
	exit 1
	;;
*:*) url=[$HOST]:$PORT ;;
*) url=$HOST:$PORT ;;
esac
relay=

# Whether anybody listens there. An address that isn't this machine's may swallow the question.
answers() {
	timeout 1 bash -c ': <>"/dev/tcp/$0/$1"' "$HOST" "$PORT" 2>/dev/null
}

start_relay() {
	# Who answers before the relay has started would be taken for the relay.
	if answers; then
		echo "another program listens on $url; choose another port, as in PORT=$((PORT + 1))" >&2
		exit 1
	fi
	mkdir -p "$state"
	exec 3>&2
	[ -z "${RELAY_LOG:-}" ] || exec 3>"$RELAY_LOG"
	"$binary" -a "$url" -certmode manual -hostname "$HOST" -certdir "$state" -http-port -1 \
		-stun-port "$PORT" -c "$state/derper.key" 2>&3 3>&- &
	relay=$!
	exec 3>&-
}

# Waits until it takes connections.
wait_relay() {
	local i
	for ((i = 0; i < 100; i++)); do
		if ! kill -0 "$relay" 2>/dev/null; then
			[ -z "${RELAY_LOG:-}" ] || cat "$RELAY_LOG" >&2
			wait "$relay" || exit $?
			exit 1
		fi
		if answers; then
			return
		fi
		sleep 0.1
	done
	echo "the relay doesn't answer on $url" >&2
	stop_relay
	exit 1
}

stop_relay() {
	[ -n "$relay" ] || return 0
	kill -TERM "$relay" 2>/dev/null || true
	wait "$relay" 2>/dev/null || true
	relay=
}

# Until it ends by itself, with its exit status.
wait_end() {
	local status=0
	wait "$relay" || status=$?
	relay=
	exit "$status"
}

# The fingerprint that clients pin: SHA-256 of the certificate as it goes over the wire.
cert_sum() {
	local file=$state/$(printf %s "$HOST" | tr -cd 'A-Za-z0-9.-').crt
	sed '/^-----/d' "$file" | base64 -d | sha256sum | cut -d ' ' -f 1
}
