"""Freed memory leaves the process: large blocks at once, the free heap when asked."""

import subprocess
import sys

import pytest

from pytest_aprqa.engines import allocator

SCRIPT = """
import sys
from pytest_aprqa.engines.allocator import LARGE, give_free_memory_back, give_large_blocks_back
import ctypes
from pathlib import Path

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

if sys.argv[1] == "given back":
    assert give_large_blocks_back()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
before = resident()
# The first freed block raises glibc's bound to its size; blocks that stay keep what lies between them in the heap.
libc.free(libc.malloc(LARGE * 4))
blocks = [libc.malloc(LARGE * 2) for _ in range(20)]
for block in blocks:
    ctypes.memset(block, 1, LARGE * 2)
held = resident()
for block in blocks[::2]:
    libc.free(block)
kept = resident()
give_free_memory_back()
print(held - before, kept - before, resident() - before)
"""


@pytest.mark.skipif(allocator._glibc() is None, reason="another allocator than glibc's")
@pytest.mark.parametrize("way", ["given back", "kept"])
def test_large_blocks_leave_when_they_are_freed(way):
    result = subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True)
    held, kept, trimmed = map(int, result.stdout.split())
    blocks = 40 * allocator.LARGE // 1024
    assert held > blocks * 0.9
    assert (kept < blocks * 0.6) == (way == "given back")
    assert trimmed < blocks * 0.6


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.give_large_blocks_back()
    allocator.give_free_memory_back()
