"""Sampling as a user types it."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

from aaa.assembly.data import open_data
from aaa.assembly.parts import build_sampling
from aaa.config.trust import read_yaml_config
from aaa.evaluation.drawing import PictureDrawer
from aaa.evaluation.grid import make_grid
from aaa.pipelines import text_to_image
from aaa.pipelines.draw_request import DrawRequest
from aaa.pipelines.text_to_image import TextToImage
from aaa.run.callbacks import HELD_OUT, TRAINED_ON
from tests.e2e.conftest import SMALL, Command, Finished
from tests.evaluation.test_drawing import OfThePrompt

FORKED = True

SmallRun = tuple[Path, Finished]
PROMPT = "prompt=a large blue circle at the center on a white background"


def levels_apart(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: Image.open(path).tobytes() for path in sorted(folder.glob("seed-*.png"))}


def test_the_same_seed_gives_the_same_pictures_and_every_knob_works(
    command: Command, tmp_path: Path, small_run: SmallRun
) -> None:
    model = f"model={small_run[0]}"

    def sample(name: str, *arguments: str) -> dict[str, bytes]:
        done = command("aaa.sample", model, PROMPT, "steps=3", f"out={name}", *arguments)
        assert done.code == 0, done.err
        assert (tmp_path / name / "grid.png").is_file()
        return pictures(tmp_path / name)

    first = sample("first", "num_images=3", "seed=5")
    assert list(first) == ["seed-5.png", "seed-6.png", "seed-7.png"]
    assert len(set(first.values())) == 3
    assert sample("again", "num_images=3", "seed=5") == first
    one = {"seed-5.png": first["seed-5.png"]}
    assert sample("guided", "num_images=1", "seed=5", "guidance=7") != one
    assert sample("negative", "num_images=1", "seed=5", "negative_prompt=a red square") != one
    assert sample("stepped", "num_images=1", "seed=5", "steps=4") != one
    assert sample("heun", "num_images=1", "seed=5", "sampler=heun") != one
    assert sample("early", "num_images=1", "seed=5", "last_sigma=0.5") != one
    assert sample("sde", "num_images=1", "seed=5", "sampler=sde", "sampler.noise=0.0") == one
    assert sample("interval", "num_images=1", "seed=5", "guidance.interval=[0.01,0.02]", "guidance=7") == sample(
        "unguided", "num_images=1", "seed=5", "guidance=1"
    )
    sample("sized", "num_images=1", "height=24", "width=32")
    assert Image.open(tmp_path / "sized" / "seed-0.png").size == (32, 24)

    # A little redrawing keeps a picture close to what it was; all of it does not.
    Image.new("RGB", (40, 40), "yellow").save(tmp_path / "yellow.png")
    start = ["num_images=1", "seed=5", f"input_image={tmp_path / 'yellow.png'}"]
    sample("kept", *start, "denoising_strength=0.05")
    kept = Image.open(tmp_path / "kept" / "seed-5.png").resize((1, 1)).getpixel((0, 0))
    assert isinstance(kept, tuple)
    assert min(kept[:2]) > 200
    assert kept[2] < 60
    assert sample("redrawn", *start, "denoising_strength=1.0") == one


def test_in_parts_the_same_pictures_are_drawn(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = TextToImage.from_pretrained(small_run[0], precision="float32")
    request = DrawRequest(PROMPT.removeprefix("prompt="), num_images=5, steps=3, sampler="sde")
    whole = drawn(request)
    monkeypatch.setattr(text_to_image, "BATCH_SIZE", 2)
    in_parts = drawn(request)
    assert len(whole) == len(in_parts) == 5
    for one, other in zip(whole, in_parts, strict=True):
        assert levels_apart(one, other) <= 1


def test_pictures_of_several_prompts_at_once_are_those_of_each_alone(
    small_run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TextToImage.from_pretrained(small_run[0], precision="float32")
    model.model = OfThePrompt()  # which the few steps of the run have not taught
    settings: dict[str, Any] = {"negative_prompt": "a red square", "num_images": 2, "seed": 3, "steps": 3}
    prompts = ["a red circle", "a blue square", "a green triangle at the left", "a red circle", ""]
    requests = [DrawRequest(prompt, sampler="sde", guidance={"scale": 3}, **settings) for prompt in prompts]
    alone = [model(request) for request in requests]
    assert len({picture.tobytes() for picture in chain(*alone)}) == 8, "of two seeds, and of prompts two are the same"
    tokens = model.shape(requests[0])[1] * model.shape(requests[0])[2]
    for pictures_at_once, batches in ((64, 1), (5, 3), (1, 5)):
        monkeypatch.setattr(text_to_image, "TOKENS_AT_ONCE", pictures_at_once * tokens)
        assert model.steps(requests) == 3 * batches
        taken: list[Any] = []

        def shown(levels: list[Any], taken: list[Any] = taken) -> Iterator[Any]:
            for level in levels:
                taken.append(level)
                yield level

        drawn = [*model.of_prompts(requests, shown)]
        assert len(taken) == model.steps(requests)
        assert [len(pictures) for pictures in drawn] == [2] * 5
        assert [one.tobytes() for one in chain(*drawn)] == [one.tobytes() for one in chain(*alone)]


def test_how_it_is_drawn_is_chosen_as_a_whole_and_by_key(command: Command, tmp_path: Path, small_run: SmallRun) -> None:
    run = small_run[0]

    def sample(name: str, *arguments: str) -> tuple[bytes, str]:
        done = command("aaa.sample", f"model={run}", PROMPT, "num_images=1", f"out={name}", *arguments)
        assert done.code == 0, done.err
        return pictures(tmp_path / name)["seed-0.png"], done.err

    heun, said = sample("heun", "sampler=heun", "steps=5", "guidance=3", "precision=float32")
    assert "5 steps of Heun, 18 evaluations of the model, in float32" in said
    _, said = sample("dpm", "sampler=dpmpp_2m", "steps=9", "guidance=3", "guidance.interval=[0.3,1]")
    assert "9 steps of DPMSolverPP2M, " in said
    early = f"guidance.model={run / 'checkpoints' / 'step-00000006'}"
    steered, said = sample("early", "guidance=checkpoint", early, "guidance=3", "sampler=heun", "steps=5")
    assert "18 evaluations" in said
    assert steered != heun
    # A model that guides itself is not steered; with its raw weights it is another one.
    guided = ["guidance=checkpoint", f"guidance.model={run}", "guidance=3", "steps=5"]
    by_itself = sample("itself", *guided)[0]
    assert by_itself == sample("alone", "guidance=1", "steps=5")[0]
    raw_by_itself = sample("raw-itself", "weights=raw", *guided, "guidance.weights=raw")[0]
    assert raw_by_itself == sample("raw-alone", "weights=raw", "guidance=1", "steps=5")[0]
    assert raw_by_itself != by_itself


def test_grids_of_a_run_are_what_is_drawn_with_its_model(small_run: SmallRun) -> None:
    """One precision for both, prompts as the cache has them, the same seeds."""
    run = small_run[0]
    config = read_yaml_config(run / "config.yaml")
    config.data.cache_dir = str(run.parents[2] / config.data.cache_dir)
    data = open_data(config)
    records = torch.cat([split[:2] for split in data.records.values()])
    prompts = [data.cache.records[record].prompt for record in records.tolist()]
    for weights, name in (("ema", "step-00000012.png"), ("raw", "step-00000012-raw.png")):
        model = TextToImage.from_pretrained(run, weights=weights)
        assert model.precision.name == config.trainer.precision
        drawn = [model.draw(prompt, seed=seed)[0] for seed, prompt in enumerate(prompts)]
        drawer = PictureDrawer(data.cache, data.vae, build_sampling(config), seed=0, precision=model.precision)
        alone = [drawer.draw(model.model, records[[seed]], [seed]).images[0] for seed in range(4)]
        assert [picture.tobytes() for picture in drawn] == [picture.tobytes() for picture in alone]
        # Four at once, as the run drew them: in bf16, products round by what else is in the batch.
        together = make_grid(drawn, prompts, headings={0: TRAINED_ON, 2: HELD_OUT})
        grid = ImageChops.difference(together, Image.open(run / "samples" / name))
        assert max(high for _, high in grid.getextrema()) <= (model.precision.name != "float32")  # type: ignore[misc]


def test_run_folders_checkpoints_and_model_folders_are_all_models(
    command: Command, small_run: SmallRun, tmp_path: Path
) -> None:
    run = small_run[0]
    drawn = {}
    for name, path, extra in (
        ("run", run, []),
        ("model", run / "model", []),
        ("checkpoint", run / "checkpoints/step-00000012", []),
        ("raw", run, ["weights=raw"]),
        ("early", run / "checkpoints/step-00000006", []),
    ):
        done = command("aaa.sample", f"model={path}", PROMPT, "steps=2", "num_images=1", f"out={name}", *extra)
        assert done.code == 0, done.err
        drawn[name] = pictures(tmp_path / name)["seed-0.png"]
    assert drawn["run"] == drawn["model"] == drawn["checkpoint"]
    assert len({drawn["run"], drawn["raw"], drawn["early"]}) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["height=0"], "height=0: must be at least 1"),
        (["steps=0"], "steps=0: must be at least 1"),
        (["last_sigma=1"], "last_sigma=1.0: must be at least 0 and below 1."),
        (["guidance=1e38"], "guidance=1e+38: must be at least -1000 and at most 1000."),
        (["seed=18446744073709551616"], "seed=18446744073709551616: must be at least 0 and at most 92233720368547"),
        (["denoising_strength=0.5"], "denoising_strength below 1 needs a picture"),
        (["input_image=nowhere.png"], "input_image=nowhere.png: there is no such file"),
        (["input_image=."], "input_image=.: is a folder. Give one of its pictures."),
        (["weights=best"], "weights=best: must be one of ema, raw."),
        (["model=nowhere"], "model=nowhere: there is no such folder"),
        (["heads=4"], "heads=4: the model's config says 2. Leave heads out."),
        (["out=/dev/null"], "out=/dev/null: is a file. Give a folder: out=FOLDER"),
        (["out=/dev/null/x"], "out=/dev/null/x: cannot be written in (Not a directory). Give another folder"),
        (["num_images=1e1"], "num_images=1e1: must be a whole number: 10."),
        (["guidence=3"], "guidence: no such config key (did you mean 'guidance'?)"),
        (
            ["sampler=huen"],
            "sampler=huen: no such option (did you mean 'heun'?). There is: dpmpp_2m, euler, heun, sde.",
        ),
        (["guidance.intervall=[0,1]"], "guidance.intervall: no such config key (did you mean 'guidance.interval'?)"),
        (["guidance.interval=[0.8,0.2]"], "guidance.interval=[0.8, 0.2]: must be two noise levels"),
        (["guidance=checkpoint", "guidance.model=no"], "guidance.model=no: there is no such folder"),
        (["guidance=checkpoint", "guidance.model=no", "guidance.weights=x"], "guidance.weights=x: must be ema or raw."),
        (["precision=half"], "precision=half: must be one of auto, float32, bf16, bf16_weights."),
    ],
)
def test_what_cannot_be_drawn_is_said(
    command: Command, small_run: SmallRun, arguments: list[str], expected: str
) -> None:
    model = [] if arguments[0].startswith("model=") else [f"model={small_run[0]}"]
    assert expected in command("aaa.sample", *model, PROMPT, *arguments).error


def test_sizes_are_rounded_up_as_diffsynth_does_and_said(command: Command, small_run: SmallRun, tmp_path: Path) -> None:
    done = command("aaa.sample", f"model={small_run[0]}", PROMPT, "steps=1", "num_images=1", "height=21", "width=2")
    assert done.code == 0, done.err
    assert "height=21 is not a multiple of 8 and was rounded up to 24" in done.err
    assert Image.open(tmp_path / "samples" / "seed-0.png").size == (8, 24)
    assert "It was last trained on pictures of 16 x 16, not 24 x 8." in done.err


def test_words_that_the_model_never_saw_are_told(command: Command, small_run: SmallRun, tmp_path: Path) -> None:
    asked = ["steps=1", "num_images=1", "negative_prompt=blur", f"model={small_run[0]}"]
    strange = command("aaa.sample", *asked, "prompt=a Purpel circle, a purpel dragon")
    assert "The model was never shown 'purpel' (did you mean 'purple'?), 'dragon', 'blur' (did you" in strange.err
    assert "last trained on" not in strange.err
    known = command("aaa.sample", *asked[:2], asked[3], "prompt=A purple circle")
    assert known.code == 0, known.err
    assert "never shown" not in known.err
    checkpoint = command("aaa.sample", *asked[:3], f"model={small_run[0]}/checkpoints/step-00000012", "prompt=dragon")
    assert checkpoint.code == 0, checkpoint.err
    assert "never shown" not in checkpoint.err  # nothing there says what it was shown


def test_the_jobs_of_a_sweep_do_not_draw_over_each_other(command: Command, small_run: SmallRun, tmp_path: Path) -> None:
    sweep = ["aaa.sample", "-m", f"model={small_run[0]}", PROMPT, "steps=1", "num_images=1", "guidance=1,4"]
    for out, folder in (([], "samples"), ([], "samples-2"), (["out=named"], "named"), (["out=named"], "named")):
        done = command(*sweep, *out)
        assert done.code == 0, done.err
        assert f"to {folder}/1" in done.err
        drawn = [pictures(tmp_path / folder / job)["seed-0.png"] for job in ("0", "1")]
        assert drawn[0] != drawn[1]
    alone = command("aaa.sample", f"model={small_run[0]}", PROMPT, "steps=1", "num_images=1")
    assert "and grid.png to samples-3" in alone.err
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"samples", "samples-2", "samples-3", "named"}


def test_a_prompt_with_commas_is_one_text_in_a_sweep_too_and_it_is_told(
    command: Command, small_run: SmallRun, tmp_path: Path
) -> None:
    sweep = ["aaa.sample", "-m", f"model={small_run[0]}", "steps=1", "num_images=1"]
    done = command(*sweep, "prompt=a red circle,a blue circle")
    assert done.code == 0, done.err
    assert "prompt is one text, commas and all. A run for each: 'prompt=choice(a red circle,a blue circle)'" in done.err
    both = command(*sweep, "prompt=choice(a red circle,a blue circle)")
    assert both.code == 0, both.err
    assert "is one text" not in both.err
    assert len(list(tmp_path.glob("samples-2/*/seed-0.png"))) == 2


def test_prompts_of_a_file_are_drawn_each_as_it_is_alone(command: Command, small_run: SmallRun, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffa red circle\n\n  a blue square, small\r\n", encoding="utf-8")
    drawing = ["aaa.sample", f"model={small_run[0]}", "steps=1", "num_images=2", "seed=3"]
    done = command(*drawing, "prompts=prompts.txt", "out=listed")
    assert done.code == 0, done.err
    assert "Wrote 4 pictures and grid.png to listed" in done.err
    assert {path.name for path in (tmp_path / "listed").iterdir()} == {
        *(f"0-a_red_circle-seed-{seed}.png" for seed in (3, 4)),
        *(f"1-a_blue_square_small-seed-{seed}.png" for seed in (3, 4)),
        "grid.png",
    }
    alone = command(*drawing, "prompt=a blue square, small", "out=alone")
    assert alone.code == 0, alone.err
    listed = Image.open(tmp_path / "listed" / "1-a_blue_square_small-seed-4.png")
    assert levels_apart(listed, Image.open(tmp_path / "alone" / "seed-4.png")) <= 1


def test_many_pictures_are_written_as_they_are_drawn_and_the_first_shown(
    command: Command, small_run: SmallRun, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a red circle\na blue square\n")
    done = command("aaa.sample", f"model={small_run[0]}", "steps=1", "num_images=40", "prompts=prompts.txt", "out=many")
    assert done.code == 0, done.err
    assert "Wrote 80 pictures and grid.png with the first 64 to many" in done.err
    written = sorted((tmp_path / "many").glob("*-seed-*.png"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name[0] for path in written] == ["0"] * 40 + ["1"] * 40
    few = Image.open(tmp_path / "many" / "grid.png").height
    assert few == make_grid([Image.open(path) for path in written[:64]], ["a red circle"] * 64).height


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["prompts=prompts.txt", "prompt=x"], "prompts=prompts.txt prompt=x: only one of them can say what to draw."),
        (["prompts=nowhere.txt"], "prompts=nowhere.txt: cannot be read (No such file or directory)."),
        (["prompts=empty.txt"], "prompts=empty.txt: there is no prompt in it"),
        (["prompts=latin.txt"], "prompts=latin.txt: is not in UTF-8."),
        (["prompts=binary.txt"], "prompts=binary.txt: is no text."),
        ([], 'prompt: has no value yet, and must have one: prompt="...", or of several prompts=FILE'),
    ],
)
def test_prompts_that_cannot_be_drawn_are_said(
    command: Command, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"a caf\xe9\n")
    (tmp_path / "binary.txt").write_bytes(b"\x00\x01")
    assert expected in command("aaa.sample", "model=x", *arguments).error


def test_what_was_drawn_before_is_written_over_where_a_folder_is_named_alone(
    command: Command, small_run: SmallRun, tmp_path: Path
) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step-00000600.png").touch()  # a run's own grids are in the way of nothing
    for prompt in ("a red circle", "a blue square"):
        for out in ([], ["out=named"]):
            drawing = [f"model={small_run[0]}", f"prompt={prompt}", "steps=1", "num_images=1", "guidance=1", *out]
            assert (done := command("aaa.sample", *drawing)).code == 0, done.err
    assert f"grid.png to {Path('named')}" in done.err
    assert "drawn before" not in done.err
    other = command("aaa.sample", *drawing, "seed=1").err
    assert f"Of pictures that were drawn before 1 are still there, such as {Path('named/seed-0.png')}." in other
    (tmp_path / "named" / "seed-1.png").unlink()
    red, blue, named = (pictures(tmp_path / folder) for folder in ("samples", "samples-2", "named"))
    assert red != blue
    assert named == blue


def test_pictures_that_are_no_numbers_are_not_drawn_black(
    command: Command, small_run: SmallRun, tmp_path: Path
) -> None:
    shutil.copytree(small_run[0] / "model", tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * math.nan for name, tensor in tensors.items()}, weights)
    error = command("aaa.sample", "model=broken", PROMPT, "steps=1", "num_images=1").error
    assert "What was drawn are no finite numbers" in error
    assert not (tmp_path / "samples").exists()


def test_a_model_of_other_channels_than_its_encoder_is_refused(
    command: Command, small_run: SmallRun, tmp_path: Path
) -> None:
    shutil.copytree(small_run[0] / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    config["encoder"] |= {"downscale_factor": 4, "latent_channels": 48}
    config["encoder"]["vae"]["downscale_factor"] = 4
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    error = command("aaa.sample", "model=model", PROMPT).error
    assert "the model has 192 channels, the latents of its encoder 48" in error


def test_the_model_card_tells_what_matters_and_its_snippet_runs(small_run: SmallRun, tmp_path: Path) -> None:
    shutil.copytree(small_run[0] / "model", tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    parts = ("license: apache-2.0", "12 steps, 96 samples", "validation loss", "images a second", "samples.png", "cpu")
    for part in parts:
        assert part in card
    assert Image.open(tmp_path / "model" / "samples.png").width > 300
    assert yaml.safe_load(card.split("---")[1])["pipeline_tag"] == "text-to-image"
    snippet = card.split("```python\n")[1].split("```")[0]
    assert len(snippet.strip().splitlines()) == 5
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path / "model", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "model" / "picture.png").size == (16, 16)


@pytest.mark.slow
def test_a_run_is_guided_by_an_earlier_checkpoint(command: Command, small_run: SmallRun, tmp_path: Path) -> None:
    early = small_run[0] / "checkpoints" / "step-00000006"
    guided = ["guidance=checkpoint", f"guidance.model={early}", "sampler=dpmpp_2m", "guidance.interval=[0.1,1]"]
    done = command("aaa.train", *SMALL, *guided, "logger=none", "hydra.run.dir=run")
    assert done.code == 0, done.err
    grids = [Image.open(tmp_path / "run" / "samples" / f"step-000000{step}.png").tobytes() for step in ("06", "12")]
    assert len(set(grids)) == 2
    drawn = command("aaa.sample", "model=run", PROMPT, "num_images=1")
    assert "4 steps of DPMSolverPP2M, 8 evaluations of the model" in drawn.err
    done = command("aaa.train", "resume=run", "trainer.max_steps=14")
    assert done.code == 0, done.err
    refused = command("aaa.train", *SMALL, "guidance=checkpoint", "logger=none", "hydra.run.dir=other")
    assert "guidance.model: guidance=checkpoint steers away from a weaker model" in refused.error


def test_a_model_of_another_encoder_guides_nobody(command: Command, small_run: SmallRun, tmp_path: Path) -> None:
    shutil.copytree(small_run[0] / "model", tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    config["encoder"]["text_encoder"]["prompt_dim"] = config["encoder"]["prompt_dim"] = 64
    (tmp_path / "other/config.json").write_text(json.dumps(config))
    guided = ["guidance=checkpoint", "guidance.model=other"]
    error = command("aaa.sample", f"model={small_run[0]}", PROMPT, *guided).error
    assert (
        "a model of other latents or prompts cannot guide this one: its encoder.prompt_dim is 64, and here 128" in error
    )
    guided = ["guidance=checkpoint", f"guidance.model={small_run[0]}", "negative_prompt=blue"]
    assert (
        "negative_prompt=blue: this guidance" in command("aaa.sample", f"model={small_run[0]}", PROMPT, *guided).error
    )


@pytest.mark.parametrize("target", ["os.system", "aaa.encoders.flux2.Path", "aaa.data.cache.shutil.rmtree"])
def test_a_strangers_config_runs_no_code(command: Command, small_run: SmallRun, tmp_path: Path, target: str) -> None:
    shutil.copytree(small_run[0] / "model", tmp_path / "stranger")
    config = json.loads((tmp_path / "stranger/config.json").read_text())
    config["encoder"]["vae"] = {"_target_": target, "command": "touch hacked"}
    (tmp_path / "stranger/config.json").write_text(json.dumps(config))
    assert f"wants to run '{target}', which is not part of aaa" in command("aaa.sample", "model=stranger", PROMPT).error
    assert not (tmp_path / "hacked").exists()
