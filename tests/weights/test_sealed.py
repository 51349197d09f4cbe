"""Weights come back as they went, or not at all."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sip.core.errors import DamagedError
from sip.weights import sealed

WEIGHTS = {
    "b.weight": torch.arange(60.0).reshape(3, 20).t(),  # not contiguous
    "a.count": torch.tensor(3),
    "c.half": torch.ones(7, dtype=torch.bfloat16),
}


def test_weights_come_back_and_any_reader_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    sealed.save(WEIGHTS, file)
    for read in (sealed.load(file), load_file(file)):
        assert read.keys() == WEIGHTS.keys()
        assert all(torch.equal(read[name], value) for name, value in WEIGHTS.items())
    again = tmp_path / "again.safetensors"
    sealed.save(dict(reversed(WEIGHTS.items())), again)
    assert again.read_bytes() == file.read_bytes()


def test_a_flipped_bit_anywhere_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    sealed.save(WEIGHTS, file)
    whole = file.read_bytes()
    for position in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[position] ^= 16
        file.write_bytes(changed)
        try:
            found = sealed.load(file)
        except DamagedError as error:
            assert "delete it and train again" in str(error)
        else:  # a blank of the header, that means nothing
            assert sealed.checksum(found) == sealed.checksum(WEIGHTS)


def test_the_configuration_belongs_to_the_weights(tmp_path: Path) -> None:
    sealed.save(WEIGHTS, tmp_path / "weights", b"cat, dog")
    assert sealed.load(tmp_path / "weights", b"cat, dog").keys() == WEIGHTS.keys()
    with pytest.raises(DamagedError, match="its checksum, with its configuration, is not the one"):
        sealed.load(tmp_path / "weights", b"dog, cat")


def test_a_value_a_shape_and_a_name_are_in_the_checksum() -> None:
    base = {"a": torch.zeros(4)}
    others = [{"a": torch.zeros(2, 2)}, {"b": torch.zeros(4)}, {"a": torch.zeros(4).half()}]
    others.append({"a": torch.tensor([0.0, 0, 0, 1e-45])})
    assert len({sealed.checksum(one) for one in [base, *others]}) == 5


def test_a_file_without_a_checksum_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(4)}, tmp_path / "other")
    with pytest.raises(DamagedError, match="other is damaged"):
        sealed.load(tmp_path / "other")
    (tmp_path / "other").write_bytes(b"no weights")
    with pytest.raises(DamagedError, match="other is damaged"):
        sealed.load(tmp_path / "other")
