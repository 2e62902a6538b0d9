# SPDX-License-Identifier: BSD-3-Clause
"""Tables of what came out: a path has one for each phase, a relay is a line of it."""

import math
import re
import statistics

from phases import PHASES


def short(v):
    if v is None or math.isinf(v):
        return "lost"
    return f"{v:.0f}" if abs(v) >= 100 else f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}"


def spread(values):
    """Median and range over the rounds; a percentile that no probe has reached is the longest."""
    values = [math.inf if v is None else v for v in values]
    if not values:
        return "–"
    middle = short(statistics.median_high(values) if math.inf in values
                   else statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} [{short(min(values))}–{short(max(values))}]"


def progress(phase, run):
    """What progress tells of one run."""
    out = []
    if "goodput_mbit" in run:
        out.append(f"{run['goodput_mbit']:.1f} Mbit/s")
    if "first_ms" in run:
        out.append(f"300 KB in {short(run['first_ms'])} ms")
    for who in PHASES[phase].probes[:1]:
        probe = run["probes"][who]
        out.append(f"p50 {short(probe['p50_ms'])}, p95 {short(probe['p95_ms'])} ms, "
                   f"{probe['lost']} of {probe['sent']} lost")
    return ", ".join([*out, f"CPU {100 * run['cpu_busy']:.0f} %"])


def lost(runs, who):
    sent = sum(r["probes"][who]["sent"] for r in runs)
    gone = sum(r["probes"][who]["lost"] for r in runs)
    return f"{gone} of {sent}"


def drops(runs):
    """Why the relay dropped packets, mean of the rounds."""
    reasons = {}
    for r in runs:
        for name, value in r["relay"].items():
            found = re.match(r"derp_packets_dropped\{.*reason=\"(\w+)\"", name)
            if found and value > 0:
                reasons[found[1]] = reasons.get(found[1], 0) + value / len(runs)
    return ", ".join(f"{reason} {n:.0f}" for reason, n in sorted(reasons.items())) or "none"


def columns(phase, runs):
    """Titles and texts of one relay's line."""
    out = {}

    def add(title, key):
        if any(key in r for r in runs):
            out[title] = spread([r[key] for r in runs if key in r])

    if PHASES[phase].flows:
        add("Mbit/s", "goodput_mbit")
        add("from the start", "first_mbit")
        add("after 15 s", "late_mbit")
        add("Jain", "jain")
        add("the rival's", "rival_mbit")
        add("the first, ms", "first_ms")
        add("the others, ms", "again_ms")
    for i, who in enumerate(PHASES[phase].probes):
        mark = f" {who}" if i else ""
        for p in "p50", "p95":
            out[f"{p}, ms{mark}"] = spread([r["probes"][who][f"{p}_ms"] for r in runs])
        out[f"lost{mark}"] = lost(runs, who)
    out["CPU, %"] = spread([100 * r["cpu_busy"] for r in runs])
    if any(r["cpu_bound"] for r in runs):
        out["CPU, %"] += " CPU-bound"
    if PHASES[phase].flows:
        out["dropped by the relay"] = drops(runs)
    return out


def table(path, phase, by_relay):
    """by_relay: name → runs. Prints one table."""
    lines = {name: columns(phase, runs) for name, runs in by_relay.items() if runs}
    if not lines:
        return
    titles = list(dict.fromkeys(t for line in lines.values() for t in line))
    rows = [["", *titles]] + [[name, *(line.get(t, "–") for t in titles)]
                              for name, line in lines.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles) + 1)]
    print(f"\n{path.title}; {PHASES[phase].title}")
    for row in rows:
        print("  " + row[0].ljust(widths[0]) +
              "".join(f"   {text:>{w}}" for text, w in zip(row[1:], widths[1:])))
    for name, runs in by_relay.items():
        for error in sorted({e for r in runs for e in r.get("errors", [])}):
            print(f"  {name}: {error}")
