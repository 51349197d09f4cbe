"""Quality of a stack's models, measured one by one on images that none of them saw."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sip.stack.grammar import Grammar
from sip.stack.pool import Pool
from sip.stack.texts import LABEL_PROMPT, Measured

BATCH = 250  # images that a model sees at a time
TOP_P = 0.9  # of nucleus sampling, as the paper has it
Numbers = dict[str, Any]


def share(hits: Tensor | Sequence[bool]) -> float | None:
    """Return the share of true values; None of none."""
    return round(torch.as_tensor(hits).float().mean().item(), 4) if len(hits) else None


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio (N,), dB, of images (N, 3, S, S), in [-1, 1]."""
    errors = ((first - second) / 2).pow(2).mean((1, 2, 3))
    return -10 * errors.clamp(min=1e-10).log10()


def vae_quality(folder: Path, pool: Pool, device: str) -> Numbers:
    """Return how well the autoencoder reconstructs images, next to PCA with as many numbers."""
    from sip.stack.vae import load_vae, reconstructed

    model = load_vae(folder / "diffusion" / "vae").to(device)
    errors = []
    for rows in torch.arange(len(pool)).split(BATCH):
        pixels = pool.pixels(rows)
        errors.append(psnr(reconstructed(model, pixels.to(device)).cpu(), pixels))
    levels = len(model.config.block_out_channels)
    bound = pca_psnr(
        pool.pixels(torch.arange(len(pool))), 2 ** (levels - 1), model.config.latent_channels
    )
    return {
        "reconstruction, PSNR in dB": round(torch.cat(errors).mean().item(), 2),
        "PCA of patches to as many channels, PSNR in dB": round(bound, 2),
    }


def pca_psnr(pixels: Tensor, patch: int, channels: int) -> float:
    """Return the mean PSNR, dB, of images whose patches are reduced by PCA and reconstructed.

    The components are those of the very images: no linear code of this size does better.

    Args:
        pixels: (N, 3, S, S), in [-1, 1].
        patch: Side of a patch, px.
        channels: Components that are kept.
    """
    columns = F.unfold(pixels, patch, stride=patch).double()  # (N, 3 patch^2, patches)
    patches = columns.transpose(1, 2).flatten(0, 1)
    centred = patches - patches.mean(0)
    basis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -channels:]
    kept = (centred @ basis @ basis.T + patches.mean(0)).view(len(pixels), -1, columns.shape[1])
    restored = F.fold(kept.transpose(1, 2), pixels.shape[-2:], patch, stride=patch)
    return psnr(restored.clamp(-1, 1).float(), pixels).mean().item()


def claims_right(
    grammar: Grammar, texts: Sequence[str], levels: Tensor
) -> tuple[list[bool], list[bool], list[bool]]:
    """Return for all that sentences state: right; of ordinal attributes, right within one level.

    Args:
        grammar: Grammar of the sentences.
        texts: N sentences.
        levels: (N, A), int64, of their images.

    Returns:
        Of each stated attribute whether it is right, of each ordinal one whether it is near, and
        of each sentence whether it states three.
    """
    exact, near, whole = [], [], []
    for row, text in enumerate(texts):
        claims = grammar.claims(text)
        whole.append(len(claims) == 3)
        for attribute in grammar.attributes:
            if attribute.name in claims:
                error = claims[attribute.name] - int(levels[row, grammar.place(attribute.name)])
                exact.append(error == 0)
                if attribute.ordinal:
                    near.append(abs(error) <= 1)
    return exact, near, whole


def captioner_quality(folder: Path, pool: Pool, device: str) -> Numbers:
    """Return the accuracy of captions; one an image, by nucleus sampling."""
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(folder / "captioner", dtype=torch.float32)
    model = model.eval().to(device)
    processor = BlipProcessor.from_pretrained(folder / "captioner")
    torch.manual_seed(0)
    texts: list[str] = []
    for rows in torch.arange(len(pool)).split(BATCH):
        with torch.no_grad():
            tokens = model.generate(
                pixel_values=pool.pixels(rows).to(device),
                do_sample=True,
                top_p=TOP_P,
                max_length=pool.texts.length - 2,
            )
        texts += processor.batch_decode(tokens, skip_special_tokens=True)
    report: Numbers = {}
    if isinstance(pool.texts, Measured):
        exact, near, whole = claims_right(pool.texts.grammar, texts, pool.texts.levels)
        report = {
            "captions with three attributes": share(whole),
            "attributes right": share(exact),
            "ordinal attributes right within one level": share(near),
        }
    if pool.texts.labels is not None and (named := naming(texts, pool, processor.tokenizer)):
        report["captions that name a class"] = round(len(named) / len(texts), 4)
        report["classes named right"] = share(named)
    return report


def naming(texts: Sequence[str], pool: Pool, tokenizer: Any) -> list[bool]:
    """Return of each caption that begins with a class's name whether it is the image's.

    Args:
        texts: As the tokenizer decodes them: a hyphen stands between spaces.
        pool: Their images, labelled.
        tokenizer: The captioner's.
    """
    assert pool.texts.labels is not None
    ids = tokenizer(list(pool.texts.names), add_special_tokens=False).input_ids
    spelled = {text.strip(): label for label, text in enumerate(map(tokenizer.decode, ids))}
    longest_first = sorted(spelled, key=len, reverse=True)
    right = []
    for text, label in zip(texts, pool.texts.labels.tolist(), strict=True):
        opening = text.strip().lower().removeprefix("an ").removeprefix("a ")
        name = next((n for n in longest_first if f"{opening},".startswith(f"{n},")), None)
        if name is not None:
            right.append(spelled[name] == label)
    return right


class ScorerView:
    """A stack's scorer: unit vectors of images and texts."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import AutoTokenizer, CLIPModel

        model = CLIPModel.from_pretrained(folder / "scorer", dtype=torch.float32)
        self.model = model.eval().to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "scorer")
        self.device = device

    @torch.no_grad()
    def images(self, pixels: Tensor) -> Tensor:
        """Return (N, D), on the CPU, of images (N, 3, S, S), in [-1, 1]."""
        vectors = [
            self.model.get_image_features(pixel_values=part.to(self.device)).pooler_output
            for part in pixels.split(BATCH)
        ]
        return F.normalize(torch.cat(vectors).float(), dim=-1).cpu()

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return (N, D), on the CPU."""
        vectors = []
        for start in range(0, len(texts), BATCH):
            part = list(texts[start : start + BATCH])
            tokens = self.tokenizer(part, padding=True, truncation=True, return_tensors="pt")
            vectors.append(self.model.get_text_features(**tokens.to(self.device)).pooler_output)
        return F.normalize(torch.cat(vectors).float(), dim=-1).cpu()


def scorer_quality(scorer: ScorerView, pool: Pool) -> Numbers:
    """Return zero-shot accuracy, and how often a true caption beats one with changed attributes."""
    images = scorer.images(pool.pixels(torch.arange(len(pool))))
    report: Numbers = {}
    if pool.texts.labels is not None:
        named = [LABEL_PROMPT.format(label=name) for name in pool.texts.names]
        cosines = images @ scorer.texts(named).T
        report["zero-shot accuracy"] = share(cosines.argmax(1) == pool.texts.labels)
        own = cosines.gather(1, pool.texts.labels[:, None])[:, 0]
        report["cosine with the own class's name, 5 % to 95 %"] = spread(own)
    if isinstance(pool.texts, Measured):
        rng, grammar, levels = random.Random(0), pool.texts.grammar, pool.texts.levels
        true = [grammar.caption(row, rng) for row in levels]
        false = [grammar.caption(row, rng) for row in changed(grammar, levels, rng)]
        of_true = (images * scorer.texts(true)).sum(1)
        of_false = (images * scorer.texts(false)).sum(1)
        report["true caption above false caption"] = share(of_true > of_false)
        report["cosine of true captions, 5 % to 95 %"] = spread(of_true)
    return report


def changed(grammar: Grammar, levels: Tensor, rng: random.Random) -> Tensor:
    """Return levels (N, A), each of which differs from the given one."""
    nums = torch.tensor([len(attribute.phrases) for attribute in grammar.attributes])
    steps = torch.tensor([[1 + rng.randrange(int(n) - 1) for n in nums] for _ in levels])
    return (levels + steps) % nums


def spread(values: Tensor) -> str:
    """Return the 5 % and 95 % quantiles in words."""
    low, high = torch.quantile(values, torch.tensor([0.05, 0.95])).tolist()
    return f"{low:.2f} to {high:.2f}"
