"""Grouping of the drawing list, and the bounded memory."""

import pytest
import torch

from sip.images.batches import BatchReader, batches
from sip.images.recent import Recent


def first_step(prompt):
    return round(10 * (1 - prompt.noise_rate))


def test_groups_share_steps_and_guidance_and_only_their_last_batch_is_short(make_prompt):
    prompts = [
        make_prompt(index, guidance_scale=(1.0, 2.0, 3.0)[index % 3], noise_rate=rate)
        for index in range(9)
        for rate in (0.3, 0.7)
    ]
    planned = batches(prompts, 4, first_step)
    assert sorted((batch.first_step, batch.guided, len(batch.prompts)) for batch in planned) == [
        (3, False, 3),
        (3, True, 2),
        (3, True, 4),
        (7, False, 3),
        (7, True, 2),
        (7, True, 4),
    ]
    for batch in planned:
        assert {first_step(row) for row in batch.prompts} == {batch.first_step}
        assert {row.guidance_scale > 1 for row in batch.prompts} == {batch.guided}
    rows = [row for batch in planned for row in batch.prompts]
    assert sorted(row.image_id for row in rows) == sorted(row.image_id for row in prompts)


def test_a_source_is_read_once_for_all_its_variants(make_prompt, monkeypatch):
    read = []

    def spy(path, size):
        read.append(path)
        raise ValueError("no")

    monkeypatch.setattr("sip.images.batches.read_rgb", spy)
    prompts = [make_prompt(index) for index in (0, 3, 6, 1)]
    reader = BatchReader(batches(prompts, 4, first_step), 32)
    assert len(reader) == 1
    assert reader[0].unreadable == {"sha-0": "no", "sha-1": "no"}
    assert len(read) == 2


def test_sources_are_square_and_in_range(make_prompt):
    reader = BatchReader(batches([make_prompt(2)], 4, first_step), 16)
    source = reader[0].sources["sha-2"]
    assert source.shape == (3, 16, 16) and source.dtype == torch.float32
    assert source.min() >= 0 and source.max() <= 1


def test_recent_makes_each_key_once_and_forgets_the_oldest():
    made = []

    def make(keys):
        made.append(keys)
        return torch.tensor([[float(key)] for key in keys])

    recent: Recent[int] = Recent(2)
    assert recent.get([1, 2, 1], make).tolist() == [[1.0], [2.0], [1.0]]
    assert recent.get([1], make).tolist() == [[1.0]]
    assert recent.get([3], make).tolist() == [[3.0]]  # 2 is the oldest now, and goes
    assert recent.get([1, 2], make).tolist() == [[1.0], [2.0]]
    assert made == [[1, 2], [3], [2]]


def test_recent_holds_more_than_its_capacity_for_one_call():
    recent: Recent[int] = Recent(2)
    stacked = recent.get([1, 2, 3], lambda keys: torch.tensor([float(key) for key in keys]))
    assert stacked.tolist() == [1.0, 2.0, 3.0]


def test_recent_notices_a_maker_that_returns_too_little():
    with pytest.raises(ValueError, match="shorter"):
        Recent(2).get([1, 2], lambda keys: torch.zeros(1, 1))
