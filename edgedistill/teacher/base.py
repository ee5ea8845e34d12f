"""The frozen teacher, whatever it was loaded from."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from edgedistill.data.normalization import Channels
from edgedistill.data.pixels import normalize
from edgedistill.errors import RecipeError


@dataclass(frozen=True)
class Teacher:
    """A network that embeds images and, as CLIP does, texts; in eval mode without gradients.

    Attributes:
        model: the network, with open_clip's interface.
        tokenizer: texts to token ids int64 `[n, L]`; None of a network without a text tower.
        name: model name and tag, as a recipe gives them.
        fingerprint: hash of its weights, and of QuickGELU where it has that activation, hex.
        size: input side in pixels.
        width: dimensions of an embedding, D.
        mean, std: normalization of pixels in 0..1 that it was trained with.
        logit_scale: exp of its learned log-scale.
        device: of the network.
    """

    model: nn.Module
    tokenizer: Any
    name: str
    fingerprint: str
    size: int
    width: int
    mean: Channels
    std: Channels
    logit_scale: float
    device: torch.device

    @property
    def encodes_texts(self) -> bool:
        """Whether it has a text tower, without which there are no class texts."""
        return self.tokenizer is not None

    def require_texts(self) -> None:
        """Raise RecipeError unless the teacher has a text tower."""
        if not self.encodes_texts:
            raise RecipeError(
                f"teacher.model: {self.name} embeds images alone, and class texts are needed here: "
                "name a CLIP model, or use it in edgedistill pretrain"
            )

    @torch.no_grad()
    def encode_images(
        self, pixels: Tensor, mean: Channels | None = None, std: Channels | None = None
    ) -> Tensor:
        """Embed images: float32 `[B, 3, size, size]` in 0..1 to unit-norm float32 `[B, D]`.

        `mean` and `std` replace the model's own normalization, as in the code of the methods'
        authors.
        """
        x = normalize(pixels, mean or self.mean, std or self.std)
        x = x.contiguous(memory_format=torch.channels_last)
        return F.normalize(self.model.encode_image(x).float(), dim=1)  # type: ignore[operator]

    @torch.no_grad()
    def encode_texts(self, texts: list[str], batch: int = 256) -> Tensor:
        """Embed texts: unit-norm float32 `[n, D]` on the CPU.

        Raises RecipeError for a network without a text tower.
        """
        self.require_texts()
        parts = [
            self.model.encode_text(  # type: ignore[operator]
                self.tokenizer(texts[i : i + batch]).to(self.device)
            )
            for i in range(0, len(texts), batch)
        ]
        return F.normalize(torch.cat(parts).float(), dim=1).cpu()

    def token_ids(self, texts: list[str]) -> tuple[list[tuple[int, ...]], list[str]]:
        """Token ids of each text as the model is given them, and the texts that are cut.

        A text that has more tokens than the model's context is cut at its end. Raises RecipeError
        for a network without a text tower.
        """
        self.require_texts()
        ids = self.tokenizer(texts)
        length = ids.shape[1]
        # With more room than the model has, what a text lacks up to the end is padding.
        roomy = self.tokenizer(["", *texts], context_length=4 * length)
        is_longer = (roomy[1:, length:] != roomy[0, -1]).any(1)
        # SigLIP pads with its end token: of a text one token too long nothing else is left there.
        is_cut = is_longer | (roomy[1:, :length] != ids).any(1)
        cut = [text for text, yes in zip(texts, is_cut.tolist(), strict=True) if yes]
        return [tuple(row) for row in ids.tolist()], cut


def weights_fingerprint(net: nn.Module) -> str:
    """Hash of a network's tensors, and of QuickGELU where it has that activation, hex."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    # The same weights under another activation give other embeddings, which no cache may mix.
    if any(isinstance(module, QuickGELU) for module in net.modules()):
        digest.update(b"QuickGELU")
    return digest.hexdigest()
