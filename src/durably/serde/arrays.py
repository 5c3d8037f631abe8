"""The codec of numpy arrays and scalars; numpy is imported when there is one to write or read."""

from __future__ import annotations

import re
import sys
from math import prod
from typing import TYPE_CHECKING, Any

from ..errors import DecodeError
from .base import Refusal
from .walk import BUILDERS, FINDERS, Ext

if TYPE_CHECKING:
    from .walk import Encode, Reader, Wire, Writer

__all__: list[str] = []

_ARRAY, _SCALAR, _TEXT = 0x30, 0x31, 0x32
_M_ARRAY, _M_SCALAR, _M_TEXT = Ext(_ARRAY, b""), Ext(_SCALAR, b""), Ext(_TEXT, b"")
_KINDS = frozenset("biufcSUMmV")
_NAME = re.compile(r"[<>|=][biufcSUMmV][0-9]{1,9}(\[[0-9]{0,9}[A-Za-z]{1,2}\])?|[bBhHiIlLqQpPefdgFDG?]")
_MAX_NESTING = 10


def _find(kind: type) -> Encode | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or kind.__module__.partition(".")[0] != "numpy":
        return None
    if kind is numpy.ndarray:
        return _encode_array
    if kind in (numpy.str_, numpy.bytes_):
        return _encode_text
    return _encode_scalar if issubclass(kind, numpy.generic) else None


def _encode_array(writer: Writer, value: Any) -> Wire:
    dtype = _dtype_wire(value.dtype)
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    return [_M_ARRAY, dtype, list(value.shape), fortran, _buffer(value.T if fortran else value)]


def _buffer(value: Any) -> Any:
    """The bytes of an array in C order, without a copy where its memory is in that order."""
    if not value.size or not value.dtype.itemsize:
        return b""
    flat = value.reshape(-1)  # a view of contiguous memory, else a copy
    return flat.view("u1").data if flat.flags.c_contiguous else flat.tobytes()


def _encode_scalar(writer: Writer, value: Any) -> Wire:
    dtype = _dtype_wire(value.dtype)
    # Types such as longlong share their size with another type, and only their letter tells them apart.
    if isinstance(dtype, str) and sys.modules["numpy"].dtype(dtype).type is not type(value):
        dtype = value.dtype.char
    return [_M_SCALAR, dtype, value.tobytes()]


def _encode_text(writer: Writer, value: Any) -> Wire:
    plain = str.__str__(value) if isinstance(value, str) else bytes(value)
    return [_M_TEXT, writer.wire(plain)]


def _dtype_wire(dtype: Any, depth: int = 0) -> Wire:
    if dtype.kind not in _KINDS or dtype.hasobject or depth > _MAX_NESTING:
        raise Refusal(f"a numpy value of dtype {dtype} has no stored form; convert it to a plain dtype or a list")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_dtype_wire(base, depth + 1), list(shape)]
    if dtype.names is None:
        return dtype.str
    parts = [dtype.fields[name] for name in dtype.names]
    if any(len(part) > 2 for part in parts):
        raise Refusal("a numpy dtype with field titles has no stored form")
    formats = [_dtype_wire(part[0], depth + 1) for part in parts]
    return [list(dtype.names), formats, [part[1] for part in parts], dtype.itemsize, dtype.isalignedstruct]


def _dtype(wire: Wire, depth: int = 0) -> Any:
    import numpy as np

    if depth > _MAX_NESTING:
        raise DecodeError("a numpy dtype that is nested too deeply")
    if type(wire) is str:
        if not _NAME.fullmatch(wire):
            raise DecodeError(f"the numpy dtype {wire[:40]!r} is not allowed")
        return np.dtype(wire)
    if len(wire) == 2:
        return np.dtype((_dtype(wire[0], depth + 1), tuple(wire[1])))
    names, formats, offsets, itemsize, align = wire
    described: Any = {
        "names": names,
        "formats": [_dtype(part, depth + 1) for part in formats],
        "offsets": offsets,
        "itemsize": itemsize,
    }
    return np.dtype(described, align=align is True)


def _plain_parts(wire: list[Wire], count: int) -> list[Wire]:
    if len(wire) != count + 1:
        raise DecodeError("a damaged numpy value")
    return wire[1:]


def _array(reader: Reader, wire: list[Wire]) -> object:
    dtype, shape, fortran, data = _plain_parts(wire, 4)
    return _filled(_dtype(dtype), shape, data, "F" if fortran is True else "C")


def _scalar(reader: Reader, wire: list[Wire]) -> object:
    dtype, data = _plain_parts(wire, 2)
    return _filled(_dtype(dtype), [], data, "C")[()]


def _filled(dtype: Any, shape: Any, data: Any, order: Any) -> Any:
    import numpy as np

    if dtype.hasobject or type(data) is not bytes or type(shape) is not list or len(shape) > 64:
        raise DecodeError("a damaged numpy value")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise DecodeError("a numpy array with a damaged shape")
    if prod(shape) * dtype.itemsize != len(data):
        raise DecodeError("a numpy array whose shape does not fit its data")
    if not data:
        return np.zeros(shape, dtype, order)
    return np.ndarray(tuple(shape), dtype, bytearray(data), order=order)


def _text(reader: Reader, wire: list[Wire]) -> object:
    import numpy as np

    (plain,) = reader.parts(wire)[1:]
    if type(plain) not in (str, bytes):
        raise DecodeError("a damaged numpy text")
    return np.str_(plain) if type(plain) is str else np.bytes_(plain)


FINDERS.append(_find)
BUILDERS.update({_ARRAY: _array, _SCALAR: _scalar, _TEXT: _text})
