"""Render the resolved configuration as TOML or YAML, with each field's description as a comment."""

from __future__ import annotations

import json
import textwrap

from pneumonia.config.schema import Config
from pneumonia.config.section import Section

WIDTH = 110


def toml(config: Config) -> str:
    """Return a TOML file that ``--config`` takes and that resolves to the same tree."""
    lines = _comment(str(Config.__doc__), "") + _fields(config, "{} = {}", "")
    for name, section in _sections(config):
        lines += ["", *_comment(str(type(section).__doc__), ""), f"[{name}]", *_fields(section, "{} = {}", "")]
    return "\n".join(lines)


def yaml(config: Config) -> str:
    """Return a document that YAML 1.1 and 1.2 read alike."""
    lines = _comment(str(Config.__doc__), "") + _fields(config, "{}: {}", "")
    for name, section in _sections(config):
        lines += ["", *_comment(str(type(section).__doc__), ""), f"{name}:", *_fields(section, "{}: {}", "  ")]
    return "\n".join(lines)


def _sections(config: Config) -> list[tuple[str, Section]]:
    return [(name, value) for name, value in config if isinstance(value, Section)]


def _fields(section: Section, form: str, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if not isinstance(value, Section):
            lines += [*_comment(field.description or "", indent), indent + form.format(name, _scalar(value))]
    return lines


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(text, WIDTH - len(indent))]


def _scalar(value: bool | int | float | str) -> str:
    """Return a value's text that TOML and YAML read alike: JSON's, with exceptions for escapes and exponents."""
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)
    mantissa, exponent, power = text.partition("e")
    if isinstance(value, float) and exponent and "." not in mantissa:
        return f"{mantissa}.0e{power}"  # YAML 1.1 reads 1e-05 as a string
    return text


def in_ascii(text: str) -> str:
    """Return a rendered document with the escapes of TOML and YAML in place of other letters than ASCII's."""
    return "".join(letter if letter.isascii() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
