"""Textual inversion: the embeddings of new words, in the file format of diffusers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sip.adapt.trained import Trained

if TYPE_CHECKING:
    from sip.images.families.sd import StableDiffusion


class Embeddings(Trained):
    """A vector for each new word; the text encoder's own table is not changed.

    Args:
        family: The model; its own weights are frozen. Its tokenizer gets the words.
        names: Class name -> new word.
    """

    changes_texts = True

    def __init__(self, family: "StableDiffusion", names: Mapping[str, str]) -> None:
        super().__init__(family)
        tokenizer, encoder = family.text.tokenizer, family.text.encoder
        encoder_of: Any = encoder
        table = encoder_of.get_input_embeddings()
        starts = []
        for name in names:
            ids = tokenizer(name, add_special_tokens=False).input_ids
            starts.append(table.weight[ids].float().mean(0))
        self.words = list(names.values())
        first = len(tokenizer)
        tokenizer.add_tokens(self.words)
        self.table = WordTable(table, torch.stack(starts).detach(), first)
        encoder_of.set_input_embeddings(self.table)

    def content(self) -> bytes:
        """Return the bytes of `learned_embeds.safetensors`: word -> (D,), float32."""
        vectors = self.table.vectors.detach().cpu()
        return save({word: vectors[row].clone() for row, word in enumerate(self.words)})


class WordTable(nn.Module):
    """A table of embeddings with more rows than a model's own, of which only those are trained.

    Args:
        table: The model's own.
        vectors: (words, D), float32, first values of the new rows.
        first: Token id of the first new row.
    """

    def __init__(self, table: nn.Embedding, vectors: Tensor, first: int) -> None:
        super().__init__()
        self.table, self.first = table, first
        # Below the model's own table: the type of a model is that of its first parameter.
        self.new = nn.ParameterList([vectors])

    @property
    def vectors(self) -> Tensor:
        """The new rows, which are trained."""
        return self.new[0]

    @property
    def weight(self) -> Tensor:
        """The model's own rows."""
        return self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings (..., D) of token ids."""
        own = self.table(ids.clamp(max=self.first - 1))
        new = self.vectors[(ids - self.first).clamp(min=0)].to(own.dtype)
        return torch.where((ids >= self.first)[..., None], new, own)
