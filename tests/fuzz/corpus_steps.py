# SPDX-License-Identifier: BSD-3-Clause
"""Steps that fuzz_frames.c and fuzz_mesh.c both know, as bytes; how seeds are written."""
import pathlib

CORPUS = pathlib.Path(__file__).parent / "corpus"
SIZES = [0, 1, 22, 23, 61, 62, 63, 100, 1400, 4096, 9000, 16347, 32768, 49115, 65535, 65536]


def op(code, who, arg, rest=b""):
    return bytes([code | who << 3, arg]) + rest


def raw(who, data):
    return b"".join(op(0, who, len(data[i:i + 255]), data[i:i + 255])
                    for i in range(0, len(data), 255))


def kind(to, size, disco=False):
    return to | SIZES.index(size) << 3 | (0x80 if disco else 0)


def packet(who, to, size=100, disco=False):
    return op(1, who, kind(to, size, disco))


def turns(which=3, n=1):
    return op(2, 0, which | n - 1 << 2)


def read(who, n=0):
    return op(3, who, n)


def toggle(who, early=b""):
    return op(4, who, len(early), early)


def wait(ms):
    return b"".join(op(6, 0, a) for a in [255] * (ms // 65025) + [int((ms % 65025) ** .5)])


def cut(n):
    return op(7, 0, n << 3)


def jam(worker, whole=False, many=False):
    return op(7, 0, 1 | worker << 3 | whole << 4 | many << 5)


def shut(who, reading):
    return op(7, who, 3 if reading else 2)


def scatter(who, n):
    return op(7, who, 4 | n << 3)


def ask(clients=False):
    return op(7, 0, 5 | clients << 3)


def frame(type_, payload, length=None):
    return bytes([type_]) + (len(payload) if length is None else length).to_bytes(4, "big") + payload


def write(target, seeds, first):
    """`first`: limits, see begin() of the target; of what is not in it, none."""
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    for name, steps in seeds.items():
        (directory / name).write_bytes(bytes([first.get(name, 0)]) + steps)
