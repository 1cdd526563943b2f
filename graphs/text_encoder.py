"""Text to vector: a small encoder trained with the model, without a vocabulary file or a download."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from graftable.errors import ModelFileError

__all__ = ["HashedTextEncoder", "SentenceEncoder"]

BINS = 4096
MAX_WORDS = 48


def word_bins(word: str) -> list[int]:
    """Bins of a word and of its character trigrams, so that unseen forms of a word are near the known ones.

    Example:
        >>> set(word_bins("grid")) & set(word_bins("grids")) != set()
        True
    """
    padded = f"<{word}>"
    pieces = [word, *(padded[start : start + 3] for start in range(len(padded) - 2))]
    return [zlib.crc32(piece.encode()) % BINS for piece in pieces]


class HashedTextEncoder(nn.Module):
    """Hashed words and trigrams, two transformer layers, mean over words.

    Args:
        width: Width of the encoder and of its output.

    Shapes:
        - input: a list of texts; the first 48 words count.
        - output: (texts, width).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.pieces = nn.EmbeddingBag(BINS, width, mode="sum")
        self.places = nn.Embedding(MAX_WORDS, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        nn.init.normal_(self.pieces.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.1)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts; each on its own."""
        words = [re.findall(r"[a-z]+|\d+|[^\sa-z\d]", text.lower())[:MAX_WORDS] or ["?"] for text in texts]
        longest = max(map(len, words))
        bins = [word_bins(word) for sentence in words for word in sentence]
        device = self.places.weight.device
        offsets = torch.tensor([0, *map(len, bins[:-1])]).cumsum(0).to(device)
        flat = self.pieces(torch.tensor([bin_ for word in bins for bin_ in word], device=device), offsets)
        mask = torch.zeros(len(words), longest, dtype=torch.bool, device=device)
        for row, sentence in enumerate(words):
            mask[row, : len(sentence)] = True
        x = flat.new_zeros(len(words), longest, self.width)
        x[mask] = flat
        x = self.layers(x + self.places.weight[:longest], src_key_padding_mask=~mask)
        pooled: Tensor = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return pooled


class SentenceEncoder(nn.Module):
    """A frozen sentence encoder from a local Hugging Face folder, followed by a trained projection.

    Args:
        folder: Where the encoder lies; nothing is downloaded.
        width: Width of the output.

    Raises:
        ModelFileError: If the folder holds no encoder and tokenizer.
    """

    def __init__(self, folder: str, width: int) -> None:
        from transformers import AutoModel, AutoTokenizer

        super().__init__()
        if not Path(folder).is_dir():
            raise ModelFileError(f"{folder}: no such folder; expected a local sentence encoder in Hugging Face format.")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            # kept out of the module tree: frozen weights stay in their folder and are not saved with the model
            self._frozen = [AutoModel.from_pretrained(folder, local_files_only=True).eval().requires_grad_(False)]
        except (OSError, ValueError) as error:
            raise ModelFileError(
                f"{folder}: not a sentence encoder ({error}); expected config, weights and tokenizer."
            ) from error
        self.project = nn.Linear(self._frozen[0].config.hidden_size, width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts; each on its own."""
        device = self.project.weight.device
        encoder = self._frozen[0].to(device)
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(device)
        with torch.no_grad():
            hidden = encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        pooled: Tensor = self.project((hidden * mask).sum(1) / mask.sum(1).clamp(min=1))
        return pooled
