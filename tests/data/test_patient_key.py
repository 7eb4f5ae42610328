"""The key of the pseudonyms from the environment, for replicas that share no folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.cli import doctor
from pneumonia.config.resolve import resolve
from pneumonia.data.patient_key import FILE, VARIABLE, Pseudonyms
from pneumonia.errors import DataError

KEY = "0123456789abcdef" * 4


def test_replicas_with_one_key_give_a_reader_one_pseudonym(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = {Pseudonyms(tmp_path / f"own-{name}").of("reader") for name in "ab"}
    monkeypatch.setenv(VARIABLE, KEY)
    shared = {Pseudonyms(tmp_path / name).of("reader") for name in "ab"}
    assert (len(apart), len(shared)) == (2, 1)
    assert not (tmp_path / "a" / FILE).exists(), "nothing is written"
    resolve()  # it is no setting
    file = tmp_path / "c" / FILE
    file.parent.mkdir()
    file.write_bytes(bytes.fromhex(KEY))
    assert {Pseudonyms(tmp_path / "c").of("reader")} == shared
    monkeypatch.setenv(VARIABLE, "")
    assert {Pseudonyms(tmp_path / "c").of("reader")} == shared, "the digits are the file's bytes"


@pytest.mark.parametrize("text", ["a" * 63, "x" * 64, f"{KEY}00"])
def test_a_variable_that_is_no_key_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(DataError, match=f"{VARIABLE}: is not 64 hexadecimal digits; openssl rand") as refused:
        Pseudonyms(tmp_path).of("reader")
    assert text not in str(refused.value)


def test_two_keys_are_refused_with_the_way_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    (tmp_path / FILE).write_bytes(bytes(32))
    with pytest.raises(DataError, match=f"is another key than {tmp_path / FILE}.*; remove one of the two"):
        Pseudonyms(tmp_path).of("reader")
    (failed,) = doctor._patient_key(tmp_path / FILE)
    assert failed.status == "fail"
    assert failed.remedy.startswith("remove one of the two")
    (tmp_path / FILE).unlink()
    (found,) = doctor._patient_key(tmp_path / FILE)
    assert (found.status, found.text.partition(":")[0]) == ("ok", VARIABLE)
