"""The tutorial from one command, its pretrained files randomly initialised but of the true sizes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.e2e.conftest import Command, losses, only_run
from tests.helpers.bf16 import needs_bf16
from tests.helpers.pretrained import make_flux2_vae, make_qwen3
from tests.helpers.reference import ReferenceDiT


@needs_bf16
@pytest.mark.slow
def test_the_tutorials_run_from_one_command(
    command: Command, tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    make_flux2_vae(tmp_path / "models")
    make_qwen3(tmp_path / "models")
    picture_folder(count=4, table="metadata_merged.csv", size=256).rename(tmp_path / "pokemon")
    tutorial = ["model=dit_0.1b", "data=pokemon", "data.root=pokemon", "trainer=tutorial"]
    few = ["trainer.max_steps=3", "trainer.log_every_steps=1", "sampling.steps=2", "sampling.num_images=1"]
    done = command("aaa.train", *tutorial, *few, "validation.timesteps_per_record=2", "logger=none")
    assert done.code == 0, done.err
    assert "128,824,448 parameters" in done.err
    run = only_run(tmp_path)
    assert list(losses(run)) == [1, 2, 3]
    assert (run / "samples" / "step-00000003.png").is_file()

    drawn = command(
        "aaa.sample", f"model={run}", "prompt=green, lizard", "steps=1", "num_images=1", "height=64", "width=64"
    )
    assert drawn.code == 0, drawn.err
    assert (tmp_path / "samples" / "seed-0.png").is_file()

    # What came out is a checkpoint of the tutorial's own class, in its dtype.
    from diffsynth.core import load_state_dict

    weights = load_state_dict(str(run / "model" / "model.safetensors"))
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    ReferenceDiT().load_state_dict(weights)

    # The same files by the pipeline's door.
    from diffsynth.core import ModelConfig

    from aaa.models.dit import AAADiT
    from aaa.pipelines.diffsynth_pipeline import AAAImagePipeline

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        pipe = AAAImagePipeline.from_pretrained(
            torch_dtype=torch.bfloat16,
            device="cpu",
            model_configs=[
                ModelConfig(model_id="Qwen/Qwen3-0.6B", origin_file_pattern="model.safetensors"),
                ModelConfig(
                    model_id="black-forest-labs/FLUX.2-klein-4B",
                    origin_file_pattern="vae/diffusion_pytorch_model.safetensors",
                ),
            ],
            tokenizer_config=ModelConfig(model_id="Qwen/Qwen3-0.6B", origin_file_pattern="./"),
        )
    pipe.dit = AAADiT().to(torch.bfloat16)
    pipe.dit.load_state_dict(weights)
    picture = pipe("green, lizard", num_inference_steps=1, cfg_scale=10, height=60, width=64, seed=0)
    assert picture.size == (64, 64)  # rounded up to a multiple of 16, as DiffSynth does
