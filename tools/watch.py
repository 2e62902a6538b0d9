#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Shows a relay's flow table in the terminal, anew each second, until it is interrupted.

watch.py HOST:PORT [SECONDS]      SECONDS to end after; 0, the default, for never
"""

import http.client
import shutil
import signal
import ssl
import sys
import time


def page(connection, path):
    connection.request("GET", path)
    return connection.getresponse().read().decode(errors="replace")


def fit(line, columns):
    """Where the table is too wide, its columns for a mesh go first: one relay leaves them empty."""
    if len(line) > columns and "[" not in line[33:53]:
        line = line[:31] + line[53:]
    return line[:columns]


def main():
    server = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Only ever a relay that was started a moment ago with a certificate of its own.
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(server, timeout=10, context=context)
    end = time.monotonic() + seconds
    while not seconds or time.monotonic() < end:
        started = time.monotonic()
        columns, lines = shutil.get_terminal_size((100, 30))
        try:
            text = page(connection, f"/debug/flows?sort=bytes_per_s&limit={max(lines - 7, 5)}")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            text = f"no answer from {server}:\n{error}"
        head = [f"sluice demo: flows of the relay on {server}, busiest first; Ctrl-C ends it",
                f"the same in a browser: https://{server}/debug/flows", ""]
        rows = [fit(line, columns) for line in head + text.splitlines()][: lines - 1]
        if sys.stdout.isatty():
            sys.stdout.write("\033[H\033[2J")
        print("\n".join(rows), flush=True)
        time.sleep(max(0.0, 1 - (time.monotonic() - started)))


try:
    main()
except KeyboardInterrupt:
    pass
