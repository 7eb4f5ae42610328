"""Keep which images a release set holds, beside the register of openings, and find out whether a list was changed.

A list is the first digits of the images' file digests, in parameters of one chunk each. Every opening that is entered
names the digest of its set's list (`pneumonia.registry.openings.Opening.images`), so that the register's chain protects
the lists too. A list of an earlier release is named by no opening until the next one of its set; until then only its
form can be checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from pneumonia.registry import chain

KEY = "rows-"
DIGITS = 12  # of a file's digest: among a million other images one in 400 runs would be taken for one of 624
CHUNK = 400  # of such digests in a parameter, which holds 6,000 characters


def parameters_of(rows: str, files: Collection[str]) -> dict[str, str]:
    """Return the parameters that hold the list of a release set.

    Args:
        rows: digest of the set.
        files: sha256 of the files of all its images.
    """
    digits = sorted({digest[:DIGITS] for digest in files})
    chunks = [digits[at : at + CHUNK] for at in range(0, len(digits), CHUNK)]
    return {f"{KEY}{rows}-{number:04d}": " ".join(chunk) for number, chunk in enumerate(chunks)}


def lists(parameters: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the chunks of every list, in order, by the digest of its release set."""
    found: dict[str, dict[str, str]] = {}
    for key in sorted(parameters):
        if key.startswith(KEY):
            found.setdefault(key.removeprefix(KEY).rpartition("-")[0], {})[key] = parameters[key]
    return found


def digest(parameters: Mapping[str, str], rows: str) -> str:
    """Return the sha256, in hex, of the list of a release set; empty where there is none."""
    held = lists(parameters).get(rows)
    return chain.digest("\n".join(held.values())) if held else ""


def holding(parameters: Mapping[str, str], files: Collection[str]) -> list[str]:
    """Return the digests of the release sets of which some of these files are images, sorted."""
    wanted = {digest[:DIGITS] for digest in files}
    return sorted(
        rows
        for rows, held in lists(parameters).items()
        if not wanted.isdisjoint(digits for text in held.values() for digits in text.split())
    )


def problems(parameters: Mapping[str, str], named: Mapping[str, Collection[str]]) -> list[str]:
    """Return, in sentences, which lists are not as they were written.

    Args:
        parameters: of the register's run.
        named: digests of lists that the openings name, by the digest of the release set.
    """
    found = []
    for rows, held in lists(parameters).items():
        if not _well_formed(rows, held):
            found.append(f"the list of the images of the release set {rows[:12]} was changed")
    for rows, digests in named.items():
        # a list grows by chunks: an opening may name what another process had written of it by then
        texts = list(lists(parameters).get(rows, {}).values())
        known = {chain.digest("\n".join(texts[:length])) for length in range(1, len(texts) + 1)}
        if not known.issuperset(digests):
            words = "was changed" if texts else "is missing"
            found.append(f"the list of the images of the release set {rows[:12]} {words}")
    return list(dict.fromkeys(found))


def _well_formed(rows: str, held: Mapping[str, str]) -> bool:
    """Return whether chunks are ones that `parameters_of` writes."""
    digits = [each for text in held.values() for each in text.split(" ")]
    whole = all(re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", each) for each in digits)
    return whole and held == parameters_of(rows, digits)
