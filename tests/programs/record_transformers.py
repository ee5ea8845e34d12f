"""Tiny CLIP and SigLIP models, and what the package transformers answers with them.

    pip install transformers
    python tests/programs/record_transformers.py

writes the folders of tests/unit/teacher/recorded. The package is not needed to run the tests: it
makes every import of open_clip slower.
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)

RECORDED = Path(__file__).parents[1] / "unit" / "teacher" / "recorded"
TEXTS = ["a cat", "the dog sat on a mat", "", "a photo of a cat and the dog on the mat"]
WORDS = ["a", "the", "cat", "dog", "sat", "on", "mat", "photo", "of", "and"]
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
IMAGE = {**TOWER, "image_size": 32, "patch_size": 16}


def clip(activation: str) -> CLIPModel:
    text = {
        **TOWER,
        "vocab_size": 16,
        "max_position_embeddings": 8,
        "eos_token_id": 15,
        "bos_token_id": 14,
        "pad_token_id": 0,
        "hidden_act": activation,
    }
    vision = {**IMAGE, "hidden_act": activation}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def siglip() -> SiglipModel:
    text = {
        **TOWER,
        "vocab_size": 16,
        "max_position_embeddings": 8,
        "eos_token_id": 1,
        "bos_token_id": None,
        "pad_token_id": 1,
    }
    return SiglipModel(SiglipConfig(text_config=text, vision_config=IMAGE))


def tokenizer(is_clip: bool) -> Tokenizer:
    """Whole words; a start and an end mark for CLIP, an end mark for SigLIP."""
    marks = {"<pad>": 0, "<unk>": 2, "<s>": 14, "</s>": 15} if is_clip else {"</s>": 1, "<unk>": 2}
    vocabulary = marks | {word: 3 + i for i, word in enumerate(WORDS)}
    built = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    built.normalizer = normalizers.Lowercase()
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.add_special_tokens(list(marks))
    template = "<s> $A </s>" if is_clip else "$A </s>"
    built.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(m, marks[m]) for m in ("<s>", "</s>") if m in marks]
    )
    return built


def record(name: str, model: Any, mean: list[float], std: list[float]) -> None:
    folder = RECORDED / name
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    for key, weight in sorted(model.named_parameters()):
        noise = torch.randn(weight.shape, generator=generator)
        is_norm = "norm" in key and key.endswith("weight")
        scale = 0.3 if weight.ndim > 1 else 0.1
        # Of the precision that is stored.
        weight.data = (noise * scale + is_norm).half().float()
    model.eval()
    is_clip = isinstance(model, CLIPModel)
    words = tokenizer(is_clip)
    words.save(str(folder / "tokenizer.json"))
    pad = "<pad>" if is_clip else "</s>"
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": pad}) + "\n")
    encode = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=pad)
    encoded = encode(
        TEXTS, padding="max_length", truncation=True, max_length=8, return_tensors="pt"
    )
    pixels = torch.rand(3, 3, 32, 32, generator=generator).half().float()
    statistics = [torch.tensor(v)[:, None, None] for v in (mean, std)]
    with torch.no_grad():
        # SigLIP's processor returns no mask: every token is attended to.
        mask = {"attention_mask": encoded["attention_mask"]} if is_clip else {}
        out = model(
            pixel_values=(pixels - statistics[0]) / statistics[1],
            input_ids=encoded["input_ids"],
            **mask,
        )
    state = {k: t.half().contiguous() for k, t in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(model.config.to_json_string(use_diff=True) + "\n")
    preprocessor = {"image_mean": mean, "image_std": std, "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor) + "\n")
    answers = {
        "pixels": pixels.half(),
        "ids": encoded["input_ids"].contiguous(),
        "images": out.image_embeds.contiguous(),
        "texts": out.text_embeds.contiguous(),
    }
    written_by = {"transformers": transformers.__version__, "texts": json.dumps(TEXTS)}
    save_file(answers, folder / "answers.safetensors", metadata=written_by)


if __name__ == "__main__":
    record("clip-quick-gelu", clip("quick_gelu"), [0.48, 0.46, 0.41], [0.27, 0.26, 0.28])
    record("clip-gelu", clip("gelu"), [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    record("siglip", siglip(), [0.5] * 3, [0.5] * 3)
