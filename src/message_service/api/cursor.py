"""Opaque page cursors: a place in one listing, with a checksum that ties it to that listing."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import blake2b

from message_service.errors import InvalidCursor

_PREFIX = "cur_"
_CHECKSUM_BYTES = 6
_SEQ_BYTES = 4


def encode_cursor(seq: int, listing: str) -> str:
    """`listing` names what is listed: owner, conversation and filters."""
    place = seq.to_bytes(_SEQ_BYTES)
    return _PREFIX + urlsafe_b64encode(place + _checksum(place, listing)).decode().rstrip("=")


def decode_cursor(cursor: str, listing: str) -> int:
    """The `seq` it stands for. Raises `InvalidCursor` for one that was altered or belongs to another listing.

    The checksum keeps honest callers from mistakes. It guards nothing: every query is scoped to its caller.
    """
    try:
        raw = urlsafe_b64decode(cursor.removeprefix(_PREFIX) + "==")
    except (Base64Error, ValueError):
        raise InvalidCursor from None
    place, checksum = raw[:_SEQ_BYTES], raw[_SEQ_BYTES:]
    seq = int.from_bytes(place)
    if checksum != _checksum(place, listing) or encode_cursor(seq, listing) != cursor:
        raise InvalidCursor
    return seq


def is_cursor(text: str) -> bool:
    return text.startswith(_PREFIX)


def _checksum(place: bytes, listing: str) -> bytes:
    return blake2b(place + listing.encode(), digest_size=_CHECKSUM_BYTES).digest()
