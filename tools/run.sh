#!/bin/bash
# Starts a relay for trying out and says how to use it. Ctrl-C ends it.
#
#   run.sh BINARY      environment: HOST (an IP address, 127.0.0.1), PORT (4443; TCP, and UDP for STUN)
#
# Key and certificate stay beside the binary in run/, so that clients know the relay again.
set -euo pipefail

binary=$1
HOST=${HOST:-127.0.0.1}
PORT=${PORT:-4443}
state=$(dirname "$binary")/run
. "$(dirname "$0")/relay.sh"

trap 'exit 0' INT TERM
trap stop_relay EXIT
start_relay
wait_relay

name=sha256-raw:$(cert_sum)
cat <<END

The relay runs. Open
  https://$url/debug/        its pages (accept the self-signed certificate)
  https://$url/debug/flows   every flow that it carries

A client comes here when its tailnet's DERP map has the region. In Tailscale's policy file:

  "derpMap": {"Regions": {"900": {"RegionID": 900, "RegionCode": "sluice", "Nodes": [
    {"Name": "900a", "RegionID": 900, "HostName": "$HOST", "DERPPort": $PORT, "STUNPort": $PORT,
     "CertName": "$name"}]}}}

In Headscale: the same region in a file of derp.paths. Without a tailnet: make demo, or
  $binary bench chatter -server $url

END
[ "$HOST" != 127.0.0.1 ] || echo "Only this machine reaches 127.0.0.1; for others: make run HOST=<an address of this machine>"
echo "Ctrl-C ends it."
echo
wait_end
