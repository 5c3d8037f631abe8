"""Long-term memory: dicts that programs share, found by name, by filter or by meaning."""

from .base import BaseStore, Item, SearchItem

__all__ = ["BaseStore", "Item", "SearchItem"]
