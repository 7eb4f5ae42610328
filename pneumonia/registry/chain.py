"""Chain the entries of an append-only list by digest, so that one that was changed, removed or reordered is noticed.

Every entry holds, as ``previous``, the sha256 of the text of the entry before it; the first one that of the list's
title, so that no list can stand in for another. The last entry is named by the list's head, which is kept beside the
list: the number of entries and the digest of the last of them. Whoever can write both the entries and the head can make
a list that is consistent and wrong; a head that was signed earlier (`pneumonia.registry.manifest`) shows that too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from pneumonia.records.signature import ListHead


def digest(text: str) -> str:
    """Return the sha256, in hex, of an entry's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def follow(title: str, past: Sequence[str]) -> str:
    """Return what the next entry holds as ``previous``: the digest of the last past one, or of the list's title."""
    return digest(past[-1] if past else title)


def head_of(title: str, texts: Sequence[str]) -> ListHead:
    """Return the head of a list."""
    return ListHead(entries=len(texts), digest=follow(title, texts))


def links(title: str, entries: Mapping[str, str]) -> list[str]:
    """Return, in sentences, where the chain is broken; nothing for an intact one.

    The first entries may be those of earlier releases, which were not chained.

    Args:
        title: of the list.
        entries: texts by their keys, in order.
    """
    found, before, chained = [], title, False
    name = "the beginning"
    for key, text in entries.items():
        previous = previous_of(text)
        if previous and previous != digest(before):
            found.append(f"{key} does not follow {name}: one of the two was changed, removed or exchanged")
        elif not previous and chained:
            found.append(f"{key} was entered without the digest of the entry before it, {name}")
        chained = chained or bool(previous)
        before, name = text, key
    return found


def gaps(key: str, entries: Mapping[str, str]) -> list[str]:
    """Return, in sentences, which numbers are missing from keys that end in their number."""
    numbers = {int(name.removeprefix(key)) for name in entries if name.removeprefix(key).isdecimal()}
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - numbers)
    return [f"{key}{number:06d} is missing" for number in missing]


def against_head(key: str, title: str, entries: Mapping[str, str], head: ListHead) -> list[str]:
    """Return, in sentences, what is not as it was when a head was written; later entries may have followed.

    Args:
        key: start of the entries' keys.
        title: of the list.
        entries: texts by their keys, in order.
        head: of the list, at any time.
    """
    texts = list(entries.values())
    if len(texts) < head.entries:
        lost = [f"{key}{number:06d}" for number in range(len(texts) + 1, head.entries + 1)]
        return [f"{' and '.join(lost)} is missing: there were {head.entries} entries"]
    if head_of(title, texts[: head.entries]).digest != head.digest:
        return [f"{list(entries)[head.entries - 1] if head.entries else 'the list'} was changed or exchanged"]
    return []


def unchained(entries: Mapping[str, str]) -> int:
    """Return how many entries are of earlier releases, which did not chain them."""
    return sum(not previous_of(text) for text in entries.values())


def is_chained(entries: Mapping[str, str]) -> bool:
    """Return whether an entry holds the digest of the one before it, so that the list must have a head."""
    return any(previous_of(text) for text in entries.values())


def previous_of(text: str) -> str:
    """Return the digest that an entry holds of the one before it; empty where it holds none."""
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return str(found.get("previous") or "") if isinstance(found, dict) else ""
