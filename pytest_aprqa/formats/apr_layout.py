"""The fixed parts of an APR v2 file (header, flags, dtype codes, checksums, alignment), shared by reader and writer.

Numbers are those of the published container (64-byte header, sections aligned to 64 bytes, CRC-32 as in zlib).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"APR\0"
HEADER_BYTES: Final = 64
ALIGNMENT: Final = 64
FOOTER_BYTES: Final = 4
MAX_NAME_BYTES: Final = 256
MAX_DIMENSIONS: Final = 8
MAX_METADATA_BYTES: Final = 16 * 2**20
_HEADER: Final = struct.Struct("<4sBBHIQIQQ")

LZ4_COMPRESSED: Final = 0x0001
ZSTD_COMPRESSED: Final = 0x0002
ENCRYPTED: Final = 0x0004
SIGNED: Final = 0x0008
SHARDED: Final = 0x0010
QUANTIZED: Final = 0x0020
HAS_VOCAB: Final = 0x0200
LAYOUT_ROW_MAJOR: Final = 0x0400
LAYOUT_COLUMN_MAJOR: Final = 0x0800
RESERVED_FLAGS: Final = 0xF000

#: code -> our dtype name; 8 and 9 are the codes of files from before the native types moved to 128 and 129.
DTYPES: Final[dict[int, str]] = {
    0: "F32",
    1: "F16",
    3: "F64",
    4: "I32",
    5: "I64",
    6: "I8",
    7: "U8",
    8: "APR_Q4",
    9: "APR_Q8",
    12: "Q4_K",
    14: "Q6_K",
    30: "BF16",
    128: "APR_Q4",
    129: "APR_Q8",
}
#: The format's own types by the labels that its tools and playbooks use for them.
LABELS: Final[dict[str, str]] = {"Q8": "APR_Q8", "Q4": "APR_Q4"}
#: What other writers mean by a code (ggml ids): taken only when the stored size says so.
OTHER_DTYPES: Final[dict[int, str]] = {
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    10: "Q2_K",
    11: "Q3_K",
    13: "Q5_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
}
CODES: Final[dict[str, int]] = {name: code for code, name in DTYPES.items()}
QUANTISED_CODES: Final = frozenset({8, 9, 12, 14, 128, 129})


@dataclass(frozen=True, slots=True)
class Header:
    """The 64-byte header. Offsets are absolute; `checksum` is the stored one; `reserved` the 20 bytes at the end."""

    magic: bytes
    version: tuple[int, int]
    flags: int
    tensor_count: int
    metadata_offset: int
    metadata_size: int
    index_offset: int
    data_offset: int
    checksum: int
    reserved: bytes

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Split the first 64 bytes of a file; no field is checked here."""
        magic, major, minor, flags, count, metadata_at, metadata_size, index_at, data_at = _HEADER.unpack_from(data)
        (checksum,) = struct.unpack_from("<I", data, 40)
        reserved = bytes(data[44:64])
        version = (major, minor)
        return cls(magic, version, flags, count, metadata_at, metadata_size, index_at, data_at, checksum, reserved)


def pack_header(flags: int, tensor_count: int, metadata_size: int, index_offset: int, data_offset: int) -> bytes:
    """The 64 bytes of a version 2.0 header with its checksum."""
    start = _HEADER.pack(MAGIC, 2, 0, flags, tensor_count, 64, metadata_size, index_offset, data_offset)
    reserved = bytes(20)
    return start + struct.pack("<I", zlib.crc32(start + reserved)) + reserved


def header_checksum(data: bytes | memoryview) -> int:
    """CRC-32 of header bytes [0, 40) and [44, 64)."""
    return zlib.crc32(data[44:64], zlib.crc32(data[:40]))


def align64(size: int) -> int:
    """SIZE rounded up to a multiple of 64."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def reseal(data: bytes | bytearray, *, header: bool = True, footer: bool = True) -> bytes:
    """DATA (a whole APR file) with its header and footer checksums made right again: for deliberate damage inside."""
    sealed = bytearray(data)
    if header:
        struct.pack_into("<I", sealed, 40, header_checksum(bytes(sealed[:64])))
    if footer:
        struct.pack_into("<I", sealed, len(sealed) - 4, zlib.crc32(sealed[:-4]))
    return bytes(sealed)
