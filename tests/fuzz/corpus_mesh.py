#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seeds of fuzz_mesh.c into tests/fuzz/corpus/mesh/: small programs of what the nodes and
clients of a region do.

The files are committed; run this after a change of the target's steps.
"""
import sys

sys.dont_write_bytecode = True
from corpus_steps import (SIZES, ask, cut, frame, jam, kind, op, packet, raw, read,  # noqa: E402
                          shut, toggle, turns, wait, write)

# Who: clients 0 to 3 (0, 1 of the first worker), 4 and 5 have the keys of 0 and 2; mesh peers 6 to
# 9, where 8 has the key of 6 and 9 that of client 1; links.
N0, N1, N0B, N1C, L0, L1 = 6, 7, 8, 9, 10, 11
# Keys: those of clients 0 to 3, two that are elsewhere, of either worker, and the servers'.
E0, E1, S0, S1 = 4, 5, 6, 7


def forward(who, src, to, size=100, disco=False):
    return op(1, who, kind(to, size, disco), bytes([src]))


def present(link, key, other=False):
    return op(1, link, key | other << 4)


def gone(link, key, other=False):
    return op(1, link, key | 8 | other << 4)


def link(who, server, again=False, early=b""):
    return op(4, who, server | again << 1 | len(early) << 2, early)


def many(n):
    return n if n < 64 else 0x80 | n // 32


def flood(who, to, size, n, disco=False, src=None):
    return op(5, who, many(n), bytes([kind(to, size, disco)] + ([] if src is None else [src])))


def churn(who, what, n):
    return op(5, who, many(n), bytes([what]))


def crowd(worker):
    return op(7, 0, 6 | worker << 3)


def pings(who, n):
    return op(7, who, 5 | n << 3)


def health(who, n):
    return op(7, who, 6 | n // 64 << 3)


def ping(who, more=0, pong=False):
    return op(7, who, 7 | more << 3 | pong << 7)


def watch(who):
    return op(7, who, 6)


def close(who, key):
    return op(7, who, 7 | key << 3)


EVERYONE = b"".join(present(w, k) for w in (L0, L1) for k in range(8)) + turns(3, 3)
SMALL_LINKS = 16
SEEDS = {
    "crossings": present(L0, E0) + present(L1, E1) + turns(3, 2)
    + b"".join(packet(w, k, s, s == 62) for w in range(4) for k in (E0, E1) for s in (0, 23, 62, 1400))
    + turns(3, 3) + gone(L0, E0) + present(L1, E0) + gone(L1, E1) + present(L0, E1) + turns(3, 2)
    + b"".join(packet(w, k, s) for w in range(4) for k in (E0, E1) for s in SIZES[-4:]) + turns(3, 3),
    "forwarded": b"".join(forward(m, s, d, n, n == 62) for m in (N0, N1) for s in (E0, E1, 0, S0, S1)
                          for d in range(4) for n in (1, 62, 1400)) + turns(3, 3) + ask(),
    "forwarded_mixed": b"".join(flood(m, d, n, 20, n == 62, 8) for m in (N0, N1) for d in range(4)
                                for n in (0, 62, 1400)) + turns(3, 3),
    "forwarded_large": b"".join(forward(m, E0, d, n) for m in (N0, N1) for d in (0, 2)
                                for n in SIZES[-5:]) + turns(3, 3),
    "forwarded_cut": cut(31) + flood(N0, 0, 100, 5, False, 8) + flood(N1, 2, 23, 9, False, 12)
    + forward(N0, E0, 3, 9000) + turns(3, 2),
    "on_forward": EVERYONE + b"".join(forward(m, 1, d, n, n == 62) for m in (N0, N1) for d in (E0, E1)
                                      for n in (23, 62)) + turns(3, 3),
    "everyone": EVERYONE + b"".join(packet(a, b, 100, a == b) for a in range(4) for b in range(8))
    + turns(3, 3) + ask() + ask(True) + turns(3, 2),
    "two_links": present(L0, E0) + turns() + present(L1, E0) + turns(3, 2) + packet(0, E0) + turns(3, 2)
    + forward(N0, E0, 0) + turns(3, 2) + gone(L0, E0) + turns(3, 2) + packet(0, E0) + gone(L0, E0)
    + turns(3, 2) + toggle(L1) + turns(3, 3) + packet(0, E0),
    "local_wins": present(L0, 0) + present(L1, 2) + turns(3, 2) + packet(1, 0) + packet(1, 2) + turns(3, 2)
    + toggle(0) + toggle(2) + turns(3, 2) + packet(1, 0) + packet(1, 2) + turns(3, 2) + toggle(0)
    + packet(1, 0) + turns(3, 2) + toggle(0) + gone(L0, 0) + turns(3, 2),
    "heard_by_mesh": forward(N0, E0, 2) + forward(N1, E1, 0) + turns(3, 3) + present(L0, E0)
    + present(L1, E1) + turns(3, 2) + gone(L0, E0) + gone(L1, E1) + turns(3, 3),
    "again": EVERYONE + link(L0, 0, True) + turns() + present(L0, E0) + turns(3, 2) + packet(0, E0)
    + link(L0, 0, True, b"\x09\0\0\0\x33") + turns(3, 2) + toggle(L0) + turns(3, 2) + link(L0, 1)
    + present(L0, E1) + turns(3, 2) + packet(2, E1) + turns(3, 2),
    "swapped": toggle(L0) + toggle(L1) + turns(3, 2) + link(L0, 1) + link(L1, 0) + EVERYONE
    + b"".join(packet(w, k) for w in range(4) for k in (E0, E1)) + turns(3, 3) + toggle(L1)
    + packet(0, E0) + packet(2, E1) + turns(1) + turns(2) + turns(3, 2),
    "same_server": toggle(L1) + turns(3, 2) + link(L1, 0) + EVERYONE + toggle(L0) + turns(3, 2)
    + packet(0, E0) + turns(3, 2) + forward(N0, E0, 0) + turns(3, 2),
    "no_links": toggle(L0) + toggle(L1) + turns(3, 2) + packet(0, E0) + forward(N0, 0, E0)
    + forward(N1, E0, 2) + turns(3, 3),
    "watch": watch(N0) + watch(N1) + turns(3, 3) + toggle(0) + toggle(2) + turns(3, 3) + watch(N0)
    + toggle(4) + toggle(0) + toggle(5) + turns(3, 3) + toggle(N0) + turns(3, 2) + toggle(N0)
    + watch(N0) + turns(3, 3),
    "watch_more": toggle(N0B) + toggle(N1C) + watch(N0B) + watch(N1C) + watch(N0) + turns(3, 3)
    + toggle(1) + turns(3, 2) + toggle(N0) + toggle(1) + turns(3, 2) + close(N0B, S0) + turns(3, 3),
    "watch_slow": b"".join(watch(m) for m in (N0, N1))
    + b"".join(toggle(k % 4) + turns() for k in range(40)) + turns(3, 2),
    "watch_ends": watch(N0) + watch(N1) + toggle(N0) + turns(1) + toggle(N1) + turns(2) + turns(3, 3),
    "watch_shut": watch(N0) + shut(N0, True) + watch(N1) + shut(N1, True) + turns(3, 2) + toggle(0)
    + toggle(2) + turns(3, 3),
    "watch_jammed": jam(0, True) + watch(N0) + turns(1) + jam(1, True) + watch(N1) + turns(2) + turns(3, 3)
    + toggle(N0) + watch(N0) + turns(3, 2) + jam(1, True) + jam(0, True) + toggle(0) + toggle(2)
    + turns(1) + turns(2) + toggle(N0) + turns(1) + turns(3, 3),
    "unwatch_jammed": watch(N0) + watch(N1) + turns(3, 3) + jam(0, True) + toggle(N0) + turns(1)
    + turns(3, 3) + toggle(2) + turns(3, 2) + jam(1, True) + toggle(N1) + turns(2) + turns(3, 2)
    + toggle(0) + turns(3, 3),
    "close": close(N0, 0) + close(N0, 2) + close(N1, 1) + close(N1, E0) + close(N0, E1) + turns(3, 3)
    + toggle(0) + toggle(4) + turns() + close(N1, 0) + turns(3, 2) + close(N0, S0) + close(N1, S0)
    + jam(0, True) + close(N0, 3) + turns(3, 3),
    "server_is_self": watch(N0) + watch(N1) + turns(3, 3),
    "pings": pings(L0, 3) + ping(L1) + ping(L1, 15) + ping(L0, 0, True) + health(L0, 1024)
    + health(L1, 64) + turns(3, 2) + wait(5100) + turns(3, 2) + read(L0) + read(L1) + turns(3, 2)
    + wait(5100) + turns() + read(L0) + turns() + wait(5100) + turns() + wait(16000) + turns(3, 2),
    "ping_flood": b"".join(pings(L0, 31) for _ in range(200)) + turns(3, 2),
    "ping_control": present(L0, E0) + turns() + b"".join(flood(0, E0, 1400, 32) + turns() for _ in range(6))
    + b"".join(pings(L0, 31) for _ in range(170)) + turns(3, 2),
    "link_bad": raw(L0, frame(0x09, b"\1" * 31)) + turns() + link(L0, 0) + raw(L0, frame(0x08, b""))
    + turns(3, 2) + link(L0, 0) + raw(L0, frame(0x12, b"", 1001)) + raw(L1, frame(0x77, b"", 2**20 + 1))
    + turns(3, 2) + link(L0, 0) + link(L1, 1) + turns(),
    "link_skip": raw(L0, frame(0x05, b"skipped", 300)) + turns() + raw(L0, b"s" * 293
                                                                    + frame(0x09, b"A" * 51)) + turns()
    + raw(L1, b"\x09\0\0") + turns() + raw(L1, b"\0\x33" + b"B" * 9) + turns() + raw(L1, b"B" * 42)
    + turns(3, 2) + raw(L0, frame(0x12, b"pi") + frame(0x13, b"po")) + turns(),
    "link_early": toggle(L0) + turns(3, 2) + link(L0, 0, False, frame(0x09, b"A" * 51)[:56]) + turns(3, 2)
    + packet(0, E0) + turns(3, 2),
    "churn": b"".join(churn(w, s, 63) + turns() for w in (L0, L1) for s in (0, 8, 3, 11)) + turns(3, 2)
    + churn(L0, 0, 128) + packet(0, E0) + packet(1, E1) + turns(3, 3),
    "presence_jammed": jam(0) + churn(L0, 0, 20) + turns(1) + jam(1) + churn(L1, 0, 20) + turns(2)
    + turns(3, 3),
    "presence_stuck": jam(0, True) + churn(L0, 0, 20) + turns(1) + wait(256) + turns(1, 2) + turns(3, 3)
    + jam(1, True) + churn(L1, 0, 20) + turns(2) + wait(256) + turns(2, 2) + turns(3, 3),
    "link_jammed": toggle(L0) + turns(3, 2) + jam(0, True) + link(L0, 0) + turns(3, 3) + jam(1, True)
    + toggle(L1) + turns(2) + turns(3, 3) + link(L1, 1) + turns(3, 2),
    "moved_jammed": EVERYONE + jam(0, True) + toggle(L0) + turns(1) + link(L0, 1) + turns(3, 3)
    + present(L0, E0) + turns(3, 2) + packet(0, E0),
    "crowded": EVERYONE + crowd(0) + crowd(1) + toggle(L0) + toggle(L1) + turns(3, 2) + link(L0, 0, True)
    + turns(3, 2) + link(L1, 1) + turns(3, 2),
    "slow_link": EVERYONE + flood(0, E0, 1400, 60) + turns(3, 2) + flood(2, E0, 1400, 60)
    + flood(1, E1, 62, 60, True) + turns(3, 2) + read(L0, 40) + turns(3, 2) + packet(0, E0) + turns(3, 2)
    + wait(1100) + flood(3, E1, 1400, 3) + turns(3, 2) + read(L0) + read(L1) + turns(3, 2),
    "slow_link_large": EVERYONE + b"".join(flood(w, E0, 65536, 3) + turns(3, 2) for w in range(4))
    + toggle(L0) + turns(3, 2),
    "slow_link_disco": EVERYONE + b"".join(flood(w % 4, E0, 62, 1024, True) + turns(3, 4)
                                           for w in range(9)),
    "slow_link_dies": EVERYONE + flood(0, E0, 9000, 20) + turns(3, 3) + wait(31000) + turns(3, 2),
    "link_shut": EVERYONE + shut(L0, True) + packet(0, E0) + shut(L1, True) + packet(2, E1) + turns(3, 3)
    + packet(2, E0) + turns(3, 2),
    "link_half": EVERYONE + shut(L0, False) + packet(2, E0) + turns(2) + turns(3, 2),
    "no_memory": EVERYONE + b"".join(flood(w, E0, 4096, 40) + turns(3, 2) for w in range(4)),
    "put_back": present(L0, E1) + turns(3, 2) + jam(1) + packet(0, E1) + flood(0, E1, 1400, 9)
    + flood(1, E1, 1400, 9) + turns(1) + turns(2, 3) + packet(2, 1) + turns(2) + turns(3, 3),
    "put_back_stuck": present(L0, E1) + turns(3, 2) + jam(1) + flood(0, E1, 1400, 9) + turns(1)
    + turns(2) + wait(256) + turns(2, 2) + flood(0, E1, 62, 9, True) + turns(1) + turns(2) + turns(3, 3),
    "put_back_ends": present(L0, E1) + turns(3, 2) + jam(1) + flood(0, E1, 1400, 9) + turns(1)
    + turns(2) + gone(L0, E1) + toggle(L0) + turns(3, 3),
    "owner_stuck": jam(0) + flood(0, 2, 1400, 20) + turns(1) + wait(256) + turns(1) + flood(1, 3, 9000, 9)
    + forward(N0, E0, 2) + turns(1, 2) + turns(3, 2),
    "paused_ends": jam(1) + flood(2, 0, 1400, 9) + flood(N1, 0, 1400, 9, False, 8) + turns(2)
    + toggle(2) + toggle(N1) + turns(2) + turns(3, 3),
    "paused_shut": jam(0) + flood(0, 2, 1400, 9) + shut(0, False) + turns(1) + shut(0, True)
    + flood(1, 0, 100, 3) + turns(1) + turns(3, 3),
    "link_paused_ends": jam(0) + churn(L0, 0, 20) + flood(0, 2, 100, 9) + turns(1) + toggle(0) + toggle(L0)
    + turns(1) + turns(3, 3),
    "not_here_jammed": jam(1, True) + flood(0, E1, 62, 9, True) + flood(N0, E1, 62, 9, True, 8) + turns(1)
    + turns(2) + turns(3, 3),
    "close_jammed": jam(0, True) + close(N0, 2) + close(N0, E1) + turns(1) + turns(3, 3),
    "close_cut": cut(7) + close(N0, 2) + watch(N0) + close(N1, 0) + turns(3, 3),
    "present_late": EVERYONE + jam(0, False, True) + gone(L0, E1) + present(L0, E1) + turns(1)
    + toggle(L0) + turns(1) + link(L0, 1) + turns(3, 3) + present(L0, E1) + turns(3, 2) + packet(0, E1),
    "moved_late": EVERYONE + jam(0, False, True) + toggle(L0) + turns(1) + link(L0, 1) + turns(3, 3)
    + present(L0, E0) + turns(3, 2) + packet(0, E0) + turns(3, 2),
    "gone_unknown": gone(L0, E0) + gone(L1, E0) + gone(L0, E1) + gone(L1, E1, True) + turns(3, 2)
    + gone(L0, 0) + present(L0, E0, True) + turns(3, 2) + gone(L0, E0, True) + turns(3, 2),
    "again_at_once": b"".join(raw(L0, frame(0x09, k * 51)) + turns(3, 2)
                              + link(L0, 0, True, frame(0x09, k * 51)) + turns(3, 2)
                              for k in (b"A", b"B", b"C", b"D", b"E", b"F")),
    "watch_gone": watch(N1) + turns(3, 2) + toggle(0) + toggle(1) + toggle(N0) + turns(3, 2) + toggle(N1)
    + turns(3, 2) + toggle(N1) + watch(N1) + turns(3, 2) + toggle(0) + turns(3, 2),
    "watch_acks_jammed": watch(N0) + turns(1) + turns(2) + jam(0, True) + turns(1) + toggle(2) + turns(2)
    + turns(3, 3) + toggle(2) + turns(3, 3),
    "unwatch_at_end": watch(N0) + watch(N1) + turns(3, 3) + jam(0, True) + jam(1, True) + toggle(N0)
    + toggle(N1),
    "link_moves_slowly": present(L0, E0) + turns() + flood(0, E0, 1400, 40) + turns(3, 2) + b"".join(
        ping(L0, 0, True) + (read(L0, 63) if i % 6 == 5 else b"") + turns() + wait(2980) + turns()
        for i in range(20)) + turns(3, 2),
    "gone_jammed": packet(0, 2) + packet(1, 3) + forward(N0, E0, 2) + turns(3, 3) + present(L0, E0) + turns(3, 2)
    + jam(0, True) + toggle(0) + gone(L0, E0) + toggle(1) + turns(1, 2) + toggle(1) + turns(3, 3)
    + toggle(0) + turns(3, 2),
    "gone_before_asked": packet(0, 2) + turns(1) + toggle(0) + turns(1) + turns(2) + turns(3, 2),
    "ask_jammed": packet(0, 2) + forward(N0, E0, 2) + turns(1) + jam(1, True) + turns(2, 2) + turns(3, 3)
    + toggle(0) + turns(3, 2),
    "hop_jammed": EVERYONE + gone(L0, E0) + turns(3, 2) + packet(0, E0) + turns(3, 2) + jam(0)
    + flood(0, E0, 1400, 9) + flood(1, E0, 1400, 9) + turns(1, 2) + wait(256) + turns(1, 2)
    + flood(0, E0, 100, 9) + turns(1) + turns(3, 3),
    "stale_forward": EVERYONE + gone(L0, E0) + turns(3, 2) + packet(0, E0, 1400) + turns(1) + toggle(L1)
    + turns(2) + turns(3, 2) + link(L1, 1) + turns(3, 2),
    "expand": EVERYONE + gone(L0, E1) + turns(3, 2)
    + b"".join(flood(w, E1, 0, 1984) + turns(1) for w in (0, 1) * 9) + turns(2) + turns(3, 2),
    "mesh_raw": raw(N0, frame(0x0a, b"A" * 32 + b"B" * 32 + b"x") + frame(0x0a, b"B" * 64)
                    + frame(0x10, b"") + frame(0x11, b"A" * 32)) + turns(3, 2)
    + raw(N1, frame(0x0a, b"A" * 63)) + turns(3, 2) + toggle(N1) + raw(N1, frame(0x11, b"A" * 31))
    + toggle(N0B) + raw(N0B, frame(0x10, b"x")) + toggle(N1C) + raw(N1C, frame(0x0a, b"", 65601))
    + turns(3, 2) + raw(0, frame(0x10, b"")) + turns(),
    "evict": b"".join(forward(m, s, d, 1) for m in (N0, N1) for s in range(8) for d in range(8))
    + turns(3, 2) + packet(0, E0) + EVERYONE + b"".join(packet(w, k, 1) for w in range(4)
                                                      for k in range(8)) + turns(3, 2),
    "gone_in_flight": EVERYONE + packet(0, E1) + packet(1, E0) + turns(1) + gone(L0, E1) + gone(L1, E1)
    + turns(2) + turns(3, 2),
    "nobody": toggle(N0) + watch(N0) + link(L0, 1) + link(L1, 1) + toggle(0) + turns(3, 2) + present(L1, E0)
    + turns(3, 2) + packet(0, E0) + turns(3, 2),
    "idle": EVERYONE + b"".join(wait(4900) + turns() + read(L0) + read(L1) for _ in range(20)) + turns()
    + wait(70000) + turns(3, 2),
}
# The first byte: limits, see begin() of the target.
FIRST = {"watch_slow": 12, "server_is_self": 32, "ping_flood": SMALL_LINKS, "ping_control": SMALL_LINKS,
         "slow_link": SMALL_LINKS, "slow_link_large": SMALL_LINKS, "slow_link_disco": SMALL_LINKS,
         "slow_link_dies": SMALL_LINKS | 64, "no_memory": SMALL_LINKS | 2,
         "link_moves_slowly": SMALL_LINKS, "idle": 64, "nobody": 128}

write("mesh", SEEDS, FIRST)
