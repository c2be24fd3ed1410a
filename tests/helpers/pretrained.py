"""Small stand-ins for pretrained files, in the layout of the real ones."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)


def make_tokenizer(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> None:
    """Train a small byte-level tokenizer and save it the way Hugging Face does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a small red triangle", "green, lizard, Grass, Poison"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    fast.chat_template = chat_template
    fast.save_pretrained(folder)


def make_taef2(folder: Path) -> Path:
    """Randomly initialised TAEF2."""
    from aaa.encoders.tiny_autoencoder import make_decoder, make_encoder

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(make_encoder().half().state_dict(), folder / "encoder.safetensors")
    save_file(make_decoder().half().state_dict(), folder / "decoder.safetensors")
    return folder


def describe_diffusers_vae(folder: Path, **config: Any) -> Path:
    """The config.json of an AutoencoderKL of 4 channels at an eighth of the resolution, without weights."""
    folder.mkdir(parents=True)
    stages = {"_class_name": "AutoencoderKL", "in_channels": 3, "latent_channels": 4, "block_out_channels": [4] * 4}
    (folder / "config.json").write_text(json.dumps(stages | config))
    return folder


def make_diffusers_vae(folder: Path, kind: str = "AutoencoderKL") -> Path:
    """A randomly initialised VAE, as diffusers saves it: 4 channels at an eighth of the size, of DC 8 at a fourth."""
    import diffusers

    torch.manual_seed(0)
    widths, dc_widths = (4, 4, 4, 4), (4, 8, 8)
    vae = {
        "AutoencoderKL": lambda: diffusers.AutoencoderKL(
            block_out_channels=widths,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=2,
        ),
        "AutoencoderDC": lambda: diffusers.AutoencoderDC(
            latent_channels=8,
            encoder_block_out_channels=dc_widths,
            decoder_block_out_channels=dc_widths,
            encoder_layers_per_block=(1,) * 3,
            decoder_layers_per_block=(1,) * 3,
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_qkv_multiscales=((),) * 3,
            decoder_qkv_multiscales=((),) * 3,
        ),
    }[kind]()
    vae.save_pretrained(folder)
    return folder


VAE_ID, TEXT_ID = "black-forest-labs/FLUX.2-klein-4B", "Qwen/Qwen3-0.6B"
VAE_FILE = "vae/diffusion_pytorch_model.safetensors"


def make_flux2_vae(models: Path) -> Any:
    """FLUX.2's VAE, randomly initialised, as DiffSynth downloads it (0.2 GB); returns it."""
    from diffsynth.models.flux2_vae import Flux2VAE

    torch.manual_seed(0)
    vae = Flux2VAE().bfloat16()
    vae.bn.running_mean.data.normal_()
    (models / VAE_ID / "vae").mkdir(parents=True)
    save_file(vae.state_dict(), models / VAE_ID / VAE_FILE)
    return vae


def make_qwen3(models: Path) -> Any:
    """Qwen3-0.6B, randomly initialised, as DiffSynth downloads it (1.2 GB) but with a small tokenizer; returns it."""
    from diffsynth.models.z_image_text_encoder import ZImageTextEncoder

    torch.manual_seed(0)
    make_tokenizer(models / TEXT_ID)
    model = ZImageTextEncoder("0.6B").bfloat16().eval()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()  # as in the published file
    save_file(tensors, models / TEXT_ID / "model.safetensors")
    return model


VISION_SIDE, VISION_PATCH, VISION_WIDTH = 28, 7, 16


def make_vision_model(folder: Path, kind: str = "dinov2", layers: int = 2) -> Path:
    """A randomly initialised vision transformer with its image processor: 4 x 4 patches, 16 wide."""
    import transformers as hf

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": VISION_WIDTH, "num_hidden_layers": layers, "num_attention_heads": 2}
    square = {"height": VISION_SIDE, "width": VISION_SIDE}
    cropped = {"size": {"shortest_edge": 32}, "crop_size": square}
    sees = sizes | {"image_size": VISION_SIDE, "patch_size": VISION_PATCH}
    wide = {"intermediate_size": 32}
    parts = {
        "text_config": sizes | wide | {"vocab_size": 50, "max_position_embeddings": 8},
        "vision_config": sees | wide,
    }
    model, processor = {
        "dinov2": lambda: (hf.Dinov2Model(hf.Dinov2Config(**sees)), hf.BitImageProcessor(**cropped)),
        "registers": lambda: (
            hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**sees, num_register_tokens=3)),
            hf.BitImageProcessor(**cropped),
        ),
        "vit": lambda: (hf.ViTModel(hf.ViTConfig(**sees, **wide)), hf.ViTImageProcessor(size=square)),
        "siglip": lambda: (hf.SiglipModel(hf.SiglipConfig(**parts)), hf.SiglipImageProcessor(size=square)),
        "clip": lambda: (hf.CLIPModel(hf.CLIPConfig(**parts)), hf.CLIPImageProcessor(**cropped)),
    }[kind]()
    with torch.no_grad():  # some begin with positions of 0, or numbers so small that all tokens are alike
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
