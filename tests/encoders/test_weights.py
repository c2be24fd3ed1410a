"""The tutorial's encoders on randomly initialised files in the layout that DiffSynth downloads."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from aaa.encoders.flux2 import Flux2Encoder
from aaa.encoders.huggingface import HuggingFaceTextEncoder
from aaa.encoders.qwen3 import Qwen3Encoder
from aaa.errors import UserError
from tests.helpers.pretrained import TEXT_ID, VAE_FILE, VAE_ID, make_flux2_vae, make_qwen3, make_tokenizer


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFFSYNTH_MODEL_BASE_PATH", str(tmp_path))
    return tmp_path


def test_missing_files_are_named_with_the_commands_that_fetch_them(models: Path) -> None:
    message = Qwen3Encoder(TEXT_ID, "model.safetensors", max_length=128).missing_files()
    assert message is not None
    for part in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", str(models / TEXT_ID)):
        assert part in message
    assert f"modelscope download --model {TEXT_ID}" in message
    assert f"hf download {TEXT_ID}" in message
    with pytest.raises(UserError, match="Weights are missing"):
        Flux2Encoder(VAE_ID, VAE_FILE).encode(torch.zeros(1, 3, 16, 16))


@pytest.mark.slow
def test_the_vae_is_recognised_loaded_and_used(models: Path) -> None:
    reference = make_flux2_vae(models)
    encoder = Flux2Encoder(VAE_ID, VAE_FILE)
    assert encoder.missing_files() is None
    images = torch.rand(2, 3, 32, 48) * 2 - 1
    latents = encoder.encode(images)
    assert latents.shape == (2, encoder.latent_channels, 2, 3)
    with torch.no_grad():
        assert torch.equal(latents, reference.encode(images.bfloat16()))
    assert encoder.decode(latents.float()).shape == images.shape


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, None])
def test_a_broken_or_foreign_file_is_named(models: Path, content: bytes | None) -> None:
    (models / VAE_ID / "vae").mkdir(parents=True)
    if content is None:
        save_file({"something": torch.zeros(3)}, models / VAE_ID / VAE_FILE)
    else:
        (models / VAE_ID / VAE_FILE).write_bytes(content)
    with pytest.raises(UserError, match="DiffSynth cannot load it"):
        Flux2Encoder(VAE_ID, VAE_FILE).encode(torch.zeros(1, 3, 16, 16))


def test_prompts_become_chats_that_are_padded_or_cut(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tokenizer(models / TEXT_ID)
    encoder = Qwen3Encoder(TEXT_ID, "model.safetensors", max_length=24)
    seen: dict[str, Any] = {}

    class Model:
        def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any) -> Any:
            seen.update(input_ids=input_ids, attention_mask=attention_mask, **options)
            states = [torch.zeros(*input_ids.shape, 1024), torch.ones(*input_ids.shape, 1024)]
            return type("Output", (), {"hidden_states": states})

    monkeypatch.setitem(encoder.__dict__, "_model", Model())
    embeds, lengths = encoder.encode(["red", "green, lizard, " * 20])
    assert embeds.shape == (2, 24, 1024)
    assert (embeds == 1).all()  # the last layer's
    assert lengths[0] < 24 < lengths[1]
    assert seen["attention_mask"][0].sum() == lengths[0]
    assert seen["attention_mask"][1].sum() == 24
    text = encoder._tokenizer.decode(seen["input_ids"][0])
    assert text.startswith("<|im_start|>user\nred<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert seen["output_hidden_states"] is True
    assert seen["use_cache"] is False


def test_a_tokenizer_without_chat_template_is_refused(models: Path) -> None:
    make_tokenizer(models / TEXT_ID, chat_template=None)
    with pytest.raises(UserError, match="no chat template"):
        Qwen3Encoder(TEXT_ID, "model.safetensors", max_length=8).encode(["x"])


@pytest.mark.slow
def test_qwen3_is_recognised_loaded_and_used(models: Path) -> None:
    reference = make_qwen3(models)
    encoder = Qwen3Encoder(TEXT_ID, "model.safetensors", max_length=128)
    embeds, lengths = encoder.encode(["gray, light blue, Bulbasaur", ""])
    assert embeds.shape == (2, 128, 1024)
    assert lengths[0] > lengths[1] > 0
    chats = [
        encoder._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        for prompt in ("gray, light blue, Bulbasaur", "")
    ]
    inputs = encoder._tokenizer(chats, return_tensors="pt", padding="max_length", max_length=128)
    with torch.no_grad():
        expected = reference(**inputs, output_hidden_states=True, use_cache=False).hidden_states[-1]
    assert torch.equal(embeds, expected)
    # Any folder of Hugging Face that also has a config.json: the same model by another door. In float32, because
    # DiffSynth rounds the frequencies of Qwen's rotary positions along with the weights, and transformers does not.
    (models / TEXT_ID / "config.json").write_text(reference.model.config.to_json_string())
    prompts = ["gray, light blue, Bulbasaur", ""]
    theirs, _ = Qwen3Encoder(TEXT_ID, "model.safetensors", max_length=128, dtype="float32").encode(prompts)
    same, _ = HuggingFaceTextEncoder(
        str(models / TEXT_ID), 1024, 128, template="chat", padding="tokens", dtype="float32"
    ).encode(prompts)
    torch.testing.assert_close(same, theirs, rtol=1e-4, atol=1e-4)
    # The same embeddings as a cache stores them differ by what that rounding costs.
    rounded = (embeds.float() - theirs).norm() / theirs.norm()
    assert rounded < 0.1
    assert json.loads((models / TEXT_ID / "tokenizer_config.json").read_text())["pad_token"] == "<|endoftext|>"
