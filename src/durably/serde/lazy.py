"""Codecs of standard library modules that are imported only by programs that use them."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import DecodeError
from .base import Refusal
from .walk import BUILDERS, ENCODERS, FINDERS, SIMPLE, Ext

if TYPE_CHECKING:
    from collections.abc import Callable

    from .walk import Encode, Reader, Wire, Writer

__all__ = ["known_zones"]

_PATH, _IP, _FRACTION, _ZONE = 0x07, 0x08, 0x2A, 0x2F
_PATHS = ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")
_ADDRESSES = ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface")
_MAX_TEXT = 200


@lru_cache(maxsize=1)
def known_zones() -> frozenset[str]:
    """The keys of all time zones of this machine."""
    import zoneinfo

    return frozenset(zoneinfo.available_timezones())


def _numbered(code: int, names: tuple[str, ...], name: str) -> Encode:
    number = bytes([names.index(name)])
    return lambda writer, value: Ext(code, number + str(value).encode("utf-8", "surrogatepass"))


def _path(data: bytes) -> object:
    import pathlib

    name = _PATHS[data[0]]
    if name == ("PosixPath" if sys.platform == "win32" else "WindowsPath"):
        name = f"Pure{name}"  # a path of the other system has no concrete form here
    flavours: dict[str, Any] = {
        "PurePosixPath": pathlib.PurePosixPath,
        "PureWindowsPath": pathlib.PureWindowsPath,
    }
    return flavours.get(name, pathlib.Path)(data[1:].decode("utf-8", "surrogatepass"))


def _address(data: bytes) -> object:
    import ipaddress

    kinds: tuple[Callable[[str], object], ...] = (
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
        ipaddress.IPv4Interface,
        ipaddress.IPv6Interface,
    )
    if len(data) > _MAX_TEXT:
        raise DecodeError("an address that is too long")
    return kinds[data[0]](data[1:].decode())


_M_FRACTION = Ext(_FRACTION, b"")


def _encode_fraction(writer: Writer, value: Any) -> Wire:
    return [_M_FRACTION, *writer.items((value.numerator, value.denominator))]


def _fraction(reader: Reader, wire: list[Wire]) -> object:
    from fractions import Fraction

    _, numerator, denominator = reader.parts(wire)
    if type(numerator) is not int or type(denominator) is not int or denominator < 1:
        raise DecodeError("a damaged fraction")
    # Calling the class would look for a common divisor, which takes quadratic time and is not there.
    made = object.__new__(Fraction)
    vars(Fraction)["_numerator"].__set__(made, numerator)
    vars(Fraction)["_denominator"].__set__(made, denominator)
    return made


def _encode_zone(writer: Writer, value: Any) -> Wire:
    if value.key not in known_zones():
        raise Refusal(f"a time zone that is not one of the known names ({value.key!r}); use zoneinfo.ZoneInfo(name)")
    return Ext(_ZONE, value.key.encode())


def _zone(data: bytes) -> object:
    from zoneinfo import ZoneInfo

    key = data.decode()
    if key not in known_zones():
        raise DecodeError(f"the time zone {key[:_MAX_TEXT]!r} is not known on this machine: install tzdata")
    return ZoneInfo(key)


_CODECS: dict[str, dict[str, Encode]] = {
    "pathlib": {name: _numbered(_PATH, _PATHS, name) for name in _PATHS},
    "ipaddress": {name: _numbered(_IP, _ADDRESSES, name) for name in _ADDRESSES},
    "fractions": {"Fraction": _encode_fraction},
    "zoneinfo": {"ZoneInfo": _encode_zone},
}


def _find(kind: type) -> Encode | None:
    top = kind.__module__.partition(".")[0]
    codecs = _CODECS.get(top)
    if codecs is None or kind is not getattr(sys.modules.get(top), kind.__name__, None):
        return None
    found = codecs.get(kind.__name__)
    if found is not None:
        ENCODERS[kind] = found
    return found


FINDERS.append(_find)
BUILDERS[_FRACTION] = _fraction
SIMPLE.update({_PATH: _path, _IP: _address, _ZONE: _zone})
