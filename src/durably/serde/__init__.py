"""Values and their stored form: exact, safe and small."""

from __future__ import annotations

from . import arrays, exceptions, lazy  # noqa: F401  (their codecs)
from .base import MAX_BYTES, MAX_DEPTH, Sealer, Serializer, ValueWarning
from .classes import Allowed, allowed, learn, register
from .encrypted import EncryptedSerializer
from .failures import describe_exception, encode_exception, rebuild_exception
from .typed import TypedSerializer

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "Allowed",
    "EncryptedSerializer",
    "Sealer",
    "Serializer",
    "TypedSerializer",
    "ValueWarning",
    "allowed",
    "describe_exception",
    "encode_exception",
    "learn",
    "rebuild_exception",
    "register",
]
