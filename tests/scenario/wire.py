"""Wires: TCP connections between nodes that a test can cut and mend.

A wire listens at one address and carries every connection to another, in a thread of its own:

    cut()      nothing gets through any more, and nobody is told
    snap()     every connection is reset, and new ones are
    mend()     all is well again; what was held up by a cut arrives

Until the far end has been there once, connections wait for it, so that it doesn't matter which node
of a region is started first; later they are reset when it isn't there.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time

import derp

PATIENCE = 10 * derp.SCALE


class Wires:
    """The thread that all wires of a test share."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.all = []

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(derp.TIMEOUT)

    def stretch(self, address, target):
        wire = Wire(self, address, target)
        self.do(wire.open())
        self.all.append(wire)
        return wire

    def close(self):
        for wire in self.all:
            wire.snap()
        self.do(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _end(self):
        for wire in self.all:
            wire.listener.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Wire:
    """From one address to another. What begins with _ runs in the wires' thread."""

    def __init__(self, wires, address, target):
        self.wires = wires
        self.address, self.target = address, target
        self.whole = None  # an event: not cut
        self.snapped = False
        self.reached = False  # the far end has been there once
        self.ends = set()
        self.dials = []  # when connections came

    async def open(self):
        self.whole = asyncio.Event()
        self.whole.set()
        self.listener = await asyncio.start_server(self._carry, *self.address)

    def cut(self):
        self.wires.do(self._set(whole=False))

    def snap(self):
        self.wires.do(self._set(snapped=True))

    def mend(self):
        self.wires.do(self._set())

    async def _set(self, whole=True, snapped=False):
        self.snapped = snapped
        (self.whole.set if whole else self.whole.clear)()
        if snapped:
            for end in list(self.ends):
                reset(end)

    async def _carry(self, reader, writer):
        self.dials.append(time.monotonic())
        ends = {writer}
        self.ends |= ends
        try:
            far_reader, far_writer = await self._reach()
            ends.add(far_writer)
            self.ends.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:
            pass
        finally:
            self.ends -= ends
            for end in ends:
                reset(end)

    async def _reach(self):
        if self.snapped:
            raise ConnectionResetError
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                ends = await asyncio.open_connection(*self.target)
                self.reached = True
                return ends
            except OSError:
                if self.reached or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.01)

    async def _pump(self, reader, writer):
        while data := await reader.read(65536):
            await self.whole.wait()
            writer.write(data)
            await writer.drain()
        await self.whole.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()


def reset(writer):
    """Close with RST. After both directions have ended this says nothing to anybody."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
