#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seeds of fuzz_frames.c into tests/fuzz/corpus/frames/: small programs of what clients do.

The files are committed; run this after a change of the target's steps.
"""
import sys

sys.dont_write_bytecode = True
from corpus_steps import (SIZES, ask, cut, frame, jam, kind, op, packet, raw, read,  # noqa: E402
                          scatter, shut, toggle, turns, wait, write)

# Keys are one letter, repeated: which letters are whose follows from the hash, so any will do.
A, B = b"A" * 32, b"B" * 32


def flood(who, to, size, n, disco=False):
    return op(5, who, n, bytes([kind(to, size, disco)]))


ALL_SIZES = b"".join(packet(0, to, s) + turns() for to in (1, 2) for s in SIZES)
SEEDS = {
    "sizes": ALL_SIZES,
    "sizes_cut": cut(29) + b"".join(packet(0, 2, s, s == 62) for s in SIZES[:9]),
    "everyone": b"".join(packet(a, b, 100, a == b) for a in range(4) for b in range(8)) + turns(3, 3),
    "frames": raw(0, frame(0x07, b"\1") + frame(0x12, b"pingpong") + frame(0x12, b"pingpong" * 9)
                  + frame(0x04, A + b"hello") + frame(0x13, b"pongpong") + frame(0x7f, b"later")
                  + frame(0x04, B) + frame(0x07, b"\0")) + turns(),
    "bad_lengths": b"".join(raw(w, f) for w, f in enumerate([
        frame(0x04, A[:31]), frame(0x04, A, 65569), frame(0x07, b""), frame(0x12, b"pi")])) + turns(),
    "mesh_frames": b"".join(raw(w, f) for w, f in enumerate([
        frame(0x0a, A + B + b"x"), frame(0x10, b""), frame(0x11, A), frame(0x04, A, 2**32 - 1)]))
    + turns(),
    "skip": raw(0, frame(0x30, b"skipped", 300)) + turns() + raw(0, b"s" * 293
                                                                + frame(0x04, B + b"after")) + turns(),
    "split_header": raw(1, b"\x04\0\0") + turns() + raw(1, b"\0\x25" + A[:9]) + turns()
    + raw(1, A[9:] + b"parts") + turns(),
    "slow": flood(0, 1, 1400, 40) + turns() + flood(2, 1, 1400, 40) + turns()
    + flood(0, 1, 62, 50, True) + turns() + read(1, 20) + turns() + packet(0, 1, 23) + turns(),
    "slow_old": flood(0, 1, 1400, 40) + turns() + wait(251) + flood(2, 1, 1400, 3) + turns()
    + read(1) + turns(),
    "slow_large": flood(0, 3, 65536, 30) + turns(3, 4) + turns(3, 4) + turns(3, 4) + read(3, 99)
    + turns(3, 4),
    "write_timeout": flood(0, 3, 9000, 30) + turns() + wait(2100) + turns() + toggle(3)
    + turns(),
    "few_packets": flood(0, 1, 100, 60) + flood(2, 1, 1400, 9) + turns(3, 2),
    "no_memory": flood(0, 1, 4096, 60) + flood(2, 3, 16347, 30) + turns(3, 4) + turns(3, 4),
    "rest_no_memory": b"".join(
        raw(w, frame(0x04, A + b"x", 65000)) + packet(w, 0, 65535) + turns() for w in range(4)),
    "jammed": packet(0, 2, 100) + jam(0) + flood(0, 2, 1400, 20) + flood(1, 2, 1400, 9) + turns(1, 3)
    + packet(0, 1, 100) + turns(1) + turns(3, 2),
    "stuck": jam(0) + flood(0, 2, 1400, 20) + turns(1) + wait(256) + turns(1) + flood(1, 3, 9000, 9)
    + turns(1, 2) + turns(3, 2),
    "paused_ends": jam(1) + flood(2, 0, 1400, 9) + turns(2) + flood(3, 0, 1400, 9) + turns(2) + toggle(2)
    + turns(2) + toggle(2) + turns(3, 3),
    "paused_shut": jam(0) + packet(0, 2, 100) + flood(0, 1, 49115, 5) + packet(1, 2, 100) + turns(1)
    + shut(1, True) + turns(3, 3),
    "gone": packet(0, 2, 23) + packet(2, 0, 23) + turns() + toggle(0) + turns(3, 2) + toggle(0)
    + packet(0, 2, 1) + toggle(2) + turns(1) + turns(3, 2),
    "early": toggle(1) + turns() + toggle(1, frame(0x04, A + b"early") + b"\x04\0\0") + turns(),
    "not_here": flood(0, 5, 62, 9, True) + flood(0, 6, 62, 9, True) + turns(3, 2) + wait(1100)
    + flood(0, 6, 62, 9, True) + turns(3, 2),
    "duplicates": toggle(4) + packet(1, 0, 100) + turns() + packet(0, 1, 23) + turns()
    + packet(2, 0, 100) + turns(3, 2) + toggle(0) + packet(2, 0, 22) + turns(3, 2) + toggle(0)
    + toggle(5) + packet(5, 0, 1) + toggle(2) + turns(3, 2),
    "evict": b"".join(packet(w, k, 1) for w in range(4) for k in range(8)) + turns() + toggle(4)
    + b"".join(packet(4, k, 1) for k in range(8))
    + b"".join(raw(0, frame(0x04, bytes([k]) * 32)) for k in range(20)) + turns(),
    "many_drops": b"".join(scatter(w, 31) for w in range(4)) + turns(3, 2) + scatter(0, 31)
    + scatter(0, 31) + scatter(0, 31) + turns(3, 2),
    "jammed_whole": packet(0, 2, 100) + packet(2, 0, 100) + turns() + jam(0, True) + jam(1, True)
    + packet(1, 2, 100) + scatter(2, 9) + toggle(0) + turns(1, 2) + turns(2) + turns(3, 3),
    "snapshots": flood(0, 1, 100, 9) + packet(3, 0, 62, True) + ask() + turns() + scatter(2, 20)
    + ask(True) + turns() + toggle(0) + ask() + ask(True),
    "idle": packet(0, 1, 1) + turns() + wait(66000) + turns() + wait(300000) + turns() + turns(),
}
# The first byte: limits, see begin() of the target.
FIRST = {"slow": 12, "slow_old": 12, "slow_large": 12, "write_timeout": 12, "few_packets": 13,
         "no_memory": 14, "rest_no_memory": 2}

write("frames", SEEDS, FIRST)
