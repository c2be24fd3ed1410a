"""Any text model of transformers, on small randomly initialised ones saved to disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from aaa.config.resolvers import register_resolvers
from aaa.encoders.embedding import embed
from aaa.encoders.huggingface import HuggingFaceTextEncoder
from aaa.encoders.text_model import TextModelEncoder
from aaa.errors import UserError
from tests.helpers.pretrained import make_tokenizer

WIDTH = 16


def make_model(folder: Path, kind: str) -> Path:
    import transformers as hf

    torch.manual_seed(0)
    common: dict[str, Any] = {"vocab_size": 400, "num_hidden_layers": 3, "num_attention_heads": 2}
    sizes = common | {"hidden_size": WIDTH, "intermediate_size": 32}
    models: dict[str, Callable[[], Any]] = {
        "qwen": lambda: hf.Qwen3Model(hf.Qwen3Config(**sizes, num_key_value_heads=1, head_dim=8)),
        "bert": lambda: hf.BertModel(hf.BertConfig(**sizes)),
        "t5": lambda: hf.T5Model(
            hf.T5Config(vocab_size=400, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=3, num_heads=2)
        ),
        "clip": lambda: hf.CLIPTextModel(hf.CLIPTextConfig(**sizes, max_position_embeddings=64)),
        "roberta": lambda: hf.RobertaModel(hf.RobertaConfig(**sizes, max_position_embeddings=64)),
        "deberta": lambda: hf.DebertaV2Model(
            hf.DebertaV2Config(
                **sizes, max_position_embeddings=16, relative_attention=True, position_biased_input=False
            )
        ),
        "gemma3": lambda: hf.Gemma3Model(
            hf.Gemma3Config(
                text_config=sizes | {"num_key_value_heads": 1, "head_dim": 8},
                vision_config={"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
                | {"num_attention_heads": 1, "image_size": 16, "patch_size": 8},
                mm_tokens_per_image=4,
            )
        ),
    }
    models[kind]().save_pretrained(folder)
    make_tokenizer(folder)
    return folder


def change_tokenizer(folder: Path, **changed: Any) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


@pytest.mark.parametrize("kind", ["qwen", "bert", "t5", "clip"])
def test_any_kind_of_text_model_embeds_prompts(tmp_path: Path, kind: str) -> None:
    path = make_model(tmp_path / "model", kind)
    encoder = HuggingFaceTextEncoder(str(path), WIDTH, max_length=12, dtype="float32")
    assert encoder.missing_files() is None
    embeds, lengths = encoder.encode(["a red bird", "", "green, lizard, " * 20])
    assert embeds.shape == (3, 12, WIDTH)
    assert 0 < lengths[0] < 12 < lengths[2]
    assert embeds[0, lengths[0] :].abs().max() == 0
    assert embeds[0, : lengths[0]].abs().min() > 0
    alone, _ = encoder.encode(["a red bird"])
    torch.testing.assert_close(alone[0, : lengths[0]], embeds[0, : lengths[0]], rtol=1e-4, atol=1e-5)
    assert {file.name for file in encoder.weight_files} >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_layer_template_and_padding_are_chosen(tmp_path: Path) -> None:
    path = str(make_model(tmp_path / "model", "qwen"))

    def embed(prompt: str, **options: Any) -> torch.Tensor:
        return HuggingFaceTextEncoder(path, WIDTH, 24, dtype="float32", **options).encode([prompt])[0]

    assert not torch.equal(embed("red", layer=-2), embed("red"))
    assert torch.equal(embed("red", template="a {prompt} bird"), embed("a red bird"))
    assert embed("red", padding="tokens")[0, -1].abs().max() > 0
    chat = embed("red", template="chat", padding="tokens")
    text = "<|im_start|>user\nred<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert torch.equal(chat, embed(text, padding="tokens"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "no place"}, "must be chat, or a text with {prompt}"),
        ({"padding": "none"}, "must be one of tokens, zeros"),
        ({"prompt_dim": 8}, "encoder.prompt_dim=8, but the hidden states are 16 wide"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "path": str(make_model(tmp_path / "model", "bert")),
        "prompt_dim": WIDTH,
        "max_length": 8,
    } | options
    with pytest.raises(UserError, match=message):
        HuggingFaceTextEncoder(**arguments).encode(["x"])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        *((kind, {"layer": 3}, None) for kind in ("qwen", "bert", "t5", "clip")),
        *((kind, {"layer": -4}, None) for kind in ("qwen", "bert", "t5", "clip")),
        ("bert", {"layer": -5}, "encoder.text_encoder.layer=-5: the text model has 3 layers. Give 0"),
        ("t5", {"layer": 4}, "encoder.text_encoder.layer=4: the text model has 3 layers"),
        ("clip", {"max_length": 64}, None),
        ("clip", {"max_length": 65}, "encoder.max_prompt_tokens=65: the text model takes 64 tokens at most"),
        ("t5", {"max_length": 600}, None),
        ("roberta", {"max_length": 62}, None),
        ("roberta", {"max_length": 63}, "encoder.max_prompt_tokens=63: the text model takes 62 tokens at most"),
        ("deberta", {"max_length": 40}, None),
        ("gemma3", {"layer": 3}, None),
        ("gemma3", {"layer": 4}, "encoder.text_encoder.layer=4: the text model has 3 layers"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    tmp_path: Path, kind: str, options: dict[str, Any], message: str | None
) -> None:
    path = make_model(tmp_path / "model", kind)
    arguments: dict[str, Any] = {"prompt_dim": WIDTH, "max_length": 8, "dtype": "float32"} | options
    encoder = TextModelEncoder(str(path), **arguments)
    if message is None:
        assert embed(encoder, ["red " * 80])[0].shape == (1, arguments["max_length"], WIDTH)
    else:
        with pytest.raises(UserError, match=message):
            embed(encoder, ["red"])


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", "bert")
    encoder = HuggingFaceTextEncoder(str(path), WIDTH, 8)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    assert "has no *.safetensors" in str(encoder.missing_files())
    with pytest.raises(UserError, match="transformers cannot load it"):
        encoder.encode(["x"])
    (path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer cannot be loaded"):
        HuggingFaceTextEncoder(str(path), WIDTH, 8).encode(["x"])
    assert "no such folder" in str(HuggingFaceTextEncoder("nowhere", WIDTH, 8).missing_files())


@pytest.mark.parametrize("unknown", ["<|endoftext|>", None])
def test_a_tokenizer_without_padding_pads_with_what_it_has(tmp_path: Path, unknown: str | None) -> None:
    path = make_model(tmp_path / "model", "bert")
    file = path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    kept = {name: value for name, value in config.items() if name not in ("pad_token", "eos_token")}
    file.write_text(json.dumps(kept | {"unk_token": unknown}))
    encoder = HuggingFaceTextEncoder(str(path), WIDTH, max_length=12, dtype="float32")
    if unknown is None:
        with pytest.raises(UserError, match=r"encoder\.text_encoder\.path=.*/model: its tokenizer has no pad_token"):
            encoder.encode(["red"])
        return
    embeds, (length,) = encoder.encode(["red"])
    assert embeds[0, length:].abs().max() == 0
    assert embeds[0, :length].abs().min() > 0


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", "bert")
    (path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\n")
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="transformers cannot load it"):
        HuggingFaceTextEncoder(str(path), WIDTH, 8).encode(["x"])
    assert not (tmp_path / "ran").exists()


def test_the_width_is_read_from_the_models_config(tmp_path: Path) -> None:
    register_resolvers()

    def width(path: Path) -> int:
        return OmegaConf.create({"width": f"${{hidden_size:{path}}}"}).width

    assert width(make_model(tmp_path / "bert", "bert")) == WIDTH
    assert width(make_model(tmp_path / "t5", "t5")) == WIDTH
    with pytest.raises((UserError, InterpolationResolutionError), match=r"no config\.json there"):
        width(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises((UserError, InterpolationResolutionError), match="does not say the width"):
        width(tmp_path)


def test_words_come_before_padding_whatever_the_tokenizers_own_way(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model", "qwen")
    embeds = []
    for side in ("right", "left"):
        change_tokenizer(path, padding_side=side)
        encoder = HuggingFaceTextEncoder(str(path), WIDTH, max_length=32, dtype="float32")
        embeds.append(encoder.encode(["a red bird"])[0])
    assert torch.equal(*embeds)
    assert embeds[0][0, 0].abs().max() > 0


@pytest.mark.parametrize(
    "changed", [{"truncation_side": "left"}, {"model_input_names": ["input_ids"]}, {"padding_side": "left"}]
)
def test_prompts_are_cut_at_their_end_and_padding_is_masked_whatever_the_tokenizers_own_way(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    path = make_model(tmp_path / "model", "bert")
    prompts = ["a red bird", "green, lizard, " * 20]
    embeds, lengths = TextModelEncoder(str(path), WIDTH, 12, dtype="float32").encode(prompts)
    change_tokenizer(path, **changed)
    again, same = TextModelEncoder(str(path), WIDTH, 12, dtype="float32").encode(prompts)
    assert torch.equal(again, embeds)
    assert same == lengths


@pytest.mark.parametrize("template", ["chat", "{prompt}"])
def test_a_text_begins_once(tmp_path: Path, template: str) -> None:
    """With the tokenizer of Llama and Gemma, which begins texts, and their templates, which begin chats."""
    from transformers import AutoTokenizer

    path = make_model(tmp_path / "model", "qwen")
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    first = {"SpecialToken": {"id": "<think>", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<think>": {"id": "<think>", "ids": [3], "tokens": ["<think>"]}},
    }
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (path / "chat_template.jinja").write_text("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}")
    change_tokenizer(path, bos_token="<think>")
    prompt = "a red bird"
    plain = AutoTokenizer.from_pretrained(path)(prompt, add_special_tokens=False)["input_ids"]
    embeds, (length,) = TextModelEncoder(str(path), WIDTH, 12, template=template, dtype="float32").encode([prompt])
    assert length == len(plain) + 1
    begun, _ = HuggingFaceTextEncoder(str(path), WIDTH, 12, dtype="float32").encode([prompt])
    assert torch.equal(embeds, begun)
