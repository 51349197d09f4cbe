"""Natural images: colours by name, attributes, and the sentences that say them."""

import itertools
import random
import re

import pytest
import torch

from sip.stack.colours import COLOURS, PROTOTYPES, colour_of, most_common, rgb_to_lab
from sip.stack.grammar import Grammar
from sip.stack.measures import changed, claims_right, naming
from sip.stack.natural import Natural, regions
from sip.stack.pool import Pool
from sip.stack.sources import grammar_of
from sip.stack.strokes import Strokes
from sip.stack.texts import Measured
from sip.stack.tokenizers import CLIP_LENGTH, bert_tokenizer, clip_tokenizer, merges_of

# sRGB -> CIELAB (D65), as published: B. Lindbloom, CIE Color Calculator, www.brucelindbloom.com
PUBLISHED = {
    (255, 255, 255): (100.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 0, 0): (53.2408, 80.0925, 67.2032),
    (0, 255, 0): (87.7347, -86.1827, 83.1793),
    (0, 0, 255): (32.2970, 79.1875, -107.8602),
    (255, 255, 0): (97.1393, -21.5537, 94.4780),
    (0, 255, 255): (91.1132, -48.0875, -14.1312),
    (255, 0, 255): (60.3242, 98.2343, -60.8249),
    (119, 119, 119): (50.0344, 0.0, 0.0),
}
CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(60, 3, 32, 32), uint8: smooth patches of random colours and strengths."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(60, 3, 4, 4, generator=generator)
    coarse = coarse * torch.rand(60, 1, 1, 1, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, 32, mode="bilinear")
    return (smooth * 255).round().byte()


def plain(*colour: int, border: tuple[int, int, int] | None = None) -> torch.Tensor:
    image = torch.tensor(colour).view(3, 1, 1).expand(3, 32, 32).clone()
    if border:
        image[:, regions(32)[1]] = torch.tensor(border)[:, None]
    return image.float() / 255


def measured(*found: torch.Tensor) -> dict[str, list[float]]:
    values = Natural.measure(torch.stack(found))
    return {a.name: values[:, n].tolist() for n, a in enumerate(Natural.attributes)}


def test_lab_is_as_published() -> None:
    ours = rgb_to_lab(torch.tensor(list(PUBLISHED), dtype=torch.float64) / 255)
    expected = torch.tensor(list(PUBLISHED.values()), dtype=torch.float64)
    torch.testing.assert_close(ours, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", COLOURS)
def test_a_prototype_has_its_own_name(name: str) -> None:
    tones = torch.tensor(PROTOTYPES[name]) / 255
    assert {COLOURS[n] for n in colour_of(rgb_to_lab(tones)).tolist()} == {name}


def test_the_majority_of_the_pixels_names_a_region() -> None:
    colours = torch.tensor([[[0, 0, 3], [0, 5, 5], [5, 5, 5]], [[1, 1, 1], [2, 2, 2], [2, 2, 2]]])
    everywhere = torch.ones(3, 3, dtype=torch.bool)
    assert most_common(colours, everywhere).tolist() == [5, 2]
    assert most_common(colours, torch.eye(3, dtype=torch.bool)).tolist() == [5, 2]


def test_centre_and_border_have_their_colours() -> None:
    found = measured(plain(0, 150, 40, border=(110, 70, 35)), plain(255, 255, 255))
    assert [COLOURS[int(n)] for n in found["centre"]] == ["green", "white"]
    assert [COLOURS[int(n)] for n in found["border"]] == ["brown", "white"]


def test_light_texture_and_warmth_rise_with_what_they_name() -> None:
    stripes = plain(100, 100, 100)
    stripes[:, :, ::2] = 1.0
    dark, bright, striped, warm, cold = (
        plain(20, 20, 20), plain(240, 240, 240), stripes, plain(240, 180, 60), plain(40, 90, 220),
    )  # fmt: skip
    found = measured(dark, bright, striped, warm, cold)
    assert found["brightness"][0] < found["brightness"][2] < found["brightness"][1]
    assert found["contrast"][0] < 1 < found["contrast"][2]
    assert found["texture"][0] < 1 < found["texture"][2]
    assert found["warmth"][4] < -20 < 20 < found["warmth"][3]


def test_levels_of_ordinal_attributes_part_the_pool_30_40_30(images: torch.Tensor) -> None:
    levels = Natural.of(images).describe(images)
    for number, attribute in enumerate(Natural.attributes):
        if attribute.ordinal:
            assert torch.bincount(levels[:, number], minlength=3).tolist() == [18, 24, 18]


def test_captions_say_what_was_measured(images: torch.Tensor) -> None:
    grammar, rng = Natural.of(images), random.Random(0)
    levels = grammar.describe(images)
    labels = torch.arange(60) % 10
    texts = Measured(grammar, levels, labels, CIFAR10)
    named = 0
    for row in range(60):
        text, meaning = texts.caption(row, rng)
        exact, near, whole = claims_right(grammar, [text], levels[row : row + 1])
        assert all(exact) and all(near) and whole == [True]
        opening = text.split(",")[0]
        own = CIFAR10[labels[row]]
        assert opening in ("a picture", "an image", f"a {own}", f"an {own}")
        assert meaning[0] == (labels[row] if own in opening else -1)
        named += own in opening
    assert 30 < named < 58
    other = changed(grammar, levels, rng)
    assert (other != levels).all()
    exact, _, _ = claims_right(grammar, [grammar.caption(row, rng) for row in other], levels)
    assert not any(exact)


def test_without_labels_no_class_is_named(images: torch.Tensor) -> None:
    grammar, rng = Natural.of(images), random.Random(0)
    texts = Measured(grammar, grammar.describe(images), None, CIFAR10)
    written = []
    for row in range(60):
        written += [texts.prompt(row, rng, (55, 18, 12, 15)), texts.statement(row, rng)]
    assert not set(CIFAR10) & set(texts.vocabulary())
    assert not any(name in str(text) for name in CIFAR10 for text in written)
    assert all(meaning[0] == -1 for _, meaning in written[1::2])


@pytest.mark.parametrize("grammar", [Natural, Strokes])
def test_no_phrase_has_two_meanings(grammar: type[Grammar]) -> None:
    phrases = [p for a in grammar.attributes for level in a.phrases for p in level]
    assert len(phrases) == len(set(phrases))


def test_a_grammar_comes_back_from_its_json(images: torch.Tensor) -> None:
    grammar = Natural.of(images)
    again = grammar_of(grammar.as_dict())
    assert type(again) is Natural and (again.low, again.high) == (grammar.low, grammar.high)


def byte_pairs(words: list[str]) -> list[tuple[str, str]]:
    """Sennrich et al., ACL 2016 (arXiv 1508.07909), figure 1, with ties by name."""
    spelled = [(*word[:-1], word[-1] + "</w>") for word in sorted(words)]
    merges = []
    while pairs := [pair for word in spelled for pair in itertools.pairwise(word)]:
        best = min(set(pairs), key=lambda pair: (-pairs.count(pair), pair))
        merges.append(best)
        for place, word in enumerate(spelled):
            text = " ".join(word)
            pattern = rf"(?<!\S){re.escape(' '.join(best))}(?!\S)"
            spelled[place] = tuple(re.sub(pattern, "".join(best), text).split(" "))
    return merges


def test_merges_are_byte_pair_encodings_and_never_left_to_chance() -> None:
    words = sorted({word for text in [*Natural((), ()).words(), *CIFAR10] for word in text.split()})
    words = [word for word in words if word != ","]
    assert merges_of(words) == merges_of(reversed(words)) == byte_pairs(words)


def test_every_word_is_one_token_and_sentences_fit(images: torch.Tensor) -> None:
    grammar, rng = Natural.of(images), random.Random(0)
    labels = torch.arange(60) % 10
    texts = Measured(grammar, grammar.describe(images), labels, CIFAR10)
    clip, bert = (make(texts.vocabulary()) for make in (clip_tokenizer, bert_tokenizer))
    for word in texts.vocabulary():
        assert len(clip(word).input_ids) == 3, word
    written = [texts.statement(row, rng)[0] for row in range(60) for _ in range(20)]
    assert max(len(clip(text).input_ids) for text in written) <= CLIP_LENGTH
    assert all(bert.unk_token_id not in bert(text).input_ids for text in written)
    text = written[0].lower()
    assert clip.decode(clip(text).input_ids, skip_special_tokens=True).replace(" ,", ",") == text


def test_names_are_found_in_captions_however_they_are_spelled(images: torch.Tensor) -> None:
    names = ("black-footed albatross", "tench, Tinca tinca", "tench", "café")
    grammar, captions = Natural.of(images), (*names, "a picture", names[0])
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    texts = Measured(grammar, grammar.describe(images[:6]), labels, names)
    bert = bert_tokenizer(texts.vocabulary())
    ids = bert([f"a {name}, dark, flat" for name in captions]).input_ids
    read = bert.batch_decode(ids, skip_special_tokens=True)
    assert read[0].startswith("a black - footed albatross")
    pool = Pool(images[:6], texts, mirrored=False, shift=0)
    assert naming(read, pool, bert) == [True, True, True, True, False]
