"""One clear error and exit code 1 for each thing that can be wrong with a run, and nothing lost on disk."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import SMALL, Command, Finished, fork_in, losses

FORKED = True

SmallRun = tuple[Path, Finished]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["model.heads=5"], "model.heads=5 does not divide model.dim=128; the nearest number that does: 4"),
        (
            ["data.resolution=30"],
            "data.resolution=30 is not divisible by encoder.downscale_factor=8; the nearest that is: 32",
        ),
        (["data=imagefolder", "data.root=nowhere"], "data.root=nowhere: there is no such folder"),
        (["data=imagefolder"], "data.root: has no value yet, and must have one: data.root=VALUE"),
        (["optimizer.lr=1e-3"], "optimizer.lr: no such config key (did you mean 'optimizer.learning_rate'?)"),
        (["model.patch_size=2"], "model.patch_size: no such config key. Patches are made where pictures are encoded"),
        (["trainer.precision=fp8"], "trainer.precision=fp8: must be one of auto, float32, bf16, bf16_weights"),
        (["trainer.batch_size=0"], "trainer.batch_size=0: must be at least 1"),
        (["trainer.batch_size=1.5"], "trainer.batch_size=1.5"),
        (["trainer.batch_size=all"], "trainer.batch_size=all: must be a whole number, or auto"),
        (["trainer.batch_size=1000000"], "The largest that fits is trainer.batch_size="),
        (["trainer.gradient_accumulation_steps=5"], "trainer.batch_size=32 must be a multiple of"),
        (
            ["model.dim=130"],
            "model.dim=130: must be divisible by 4, for sines and cosines of two coordinates, as 128 or 132",
        ),
        (["data=imagefolder", "root=pictures"], "root: no such config key (did you mean 'data.root'?)"),
        (["trainer.device=tpu"], "trainer.device=tpu: torch cannot use it"),
        (["resume=nowhere"], "resume=nowhere: there is no run in that folder"),
        (["data.source.num_records=0", "data.source.num_validation=0"], "The data set is empty"),
        (
            ["optimizer._target_=torch.optim.Nothing"],
            "optimizer: torch.optim.Nothing cannot be made: torch.optim has no Nothing",
        ),
        (
            ["optimizer.learning_rate=-1"],
            "optimizer.learning_rate=-1: must be a number from 0 on, such as optimizer.learning_rate=5e-3.",
        ),
        (["+x=1"], "+x: nothing reads this key"),
        (["+trainer.steps=1"], "+trainer.steps: nothing reads this key (did you mean 'max_steps'?). There is: base_"),
        (["+model.rope=1"], "+model.rope: nothing reads this key. There is: architecture, base_depth"),
        (["optimizer.learning_rate=1e-4 x"], "optimizer.learning_rate=1e-4 x: must be a number, such as 0.005."),
        (["optimizer._target_=1,2"], "optimizer._target_=1,2: several values are a sweep"),
        (["name=" + "x" * 300], "File name too long"),
        (["init_from=~/nowhere"], "/nowhere: there is no such folder."),
        (["name=../../escape"], "name='../../escape': must be the name of a folder under outputs/"),
        (["seed=-1"], "seed=-1: must be at least 0"),
        (["sampling.guidance=nan"], "sampling.guidance=nan: must be at least 0"),
        (["trainer.max_steps=1e3"], "trainer.max_steps=1e3: must be a whole number: 1000."),
        (["trainer.max_steps=10k"], "trainer.max_steps=10k: must be a whole number, such as 1000."),
        (["optimizer.learning_rate=true"], "optimizer.learning_rate=true: must be a number, such as 0.005."),
        (["optimizer.learning_rate=nan"], "optimizer.learning_rate=nan: must be a number, such as 0.005."),
        (["evaluation.num_images=1e2"], "evaluation.num_images=1e2: must be a whole number: 100."),
        (
            ["evaluation=full", "evaluation.parts.diversity.num_seeds=1.5"],
            ".num_seeds=1.5: must be a whole number, such",
        ),
        (["guidance.scale=null"], "guidance.scale=null: must be a number, such as 2.0."),
        (["logger=wandb", "logger.init_timeout_seconds=2.5", "model.heads=5"], "model.heads=5 does not divide"),
        (
            ["encoder=false"],
            "encoder=false: no such option. There is: diffusers, flux2_qwen3, flux2_tiny, patches, pixel.",
        ),
        (
            ["trainer.device=gpu"],
            "trainer.device=gpu: torch cannot use it (it knows no such device). There is: auto, cpu",
        ),
        (["output_dir=x"], "output_dir=x: the folder of a run is set by hydra.run.dir=x"),
        (
            ["data.root=x"],
            "data.root: no such config key of what is chosen. data=imagefolder and data=pokemon have it.",
        ),
        (
            ["data=mixture", "+data@data.parts.shapes=shapes", "data.parts.shapes.wieght=2"],
            "data.parts.shapes.wieght: no such config key (did you mean 'data.parts.shapes.weight'?)",
        ),
        (["model.width=3"], "model.width: no such config key (did you mean 'model.dim'?)"),
        (["sweep.resume=true"], "sweep.resume=true: goes on with a sweep, so -m has to be there too."),
        (["data.source._target_=mine.Own"], "python finds a module of yours in the folders of PYTHONPATH: PYTHONPATH="),
        (["~evaluation", "lr_scheduler=null"], "lr_scheduler=null: a group cannot be left out. There is: "),
        (["imagefolder"], "imagefolder: is neither a flag nor key=value. Was data=imagefolder meant?"),
        (["data=."], "no such option. There is: cache, huggingface, imagefolder, mixture, openmoji, pokemon, shapes, "),
        (["data=some/pictures"], "Pictures in a folder are data=imagefolder data.root=some/pictures; docs/data.md has"),
        (["experiment=openmoji"], "It is added with a plus: +experiment=openmoji"),
        (["data=mixture", "data@data.parts.x=shapes"], "It is added with a plus: +data@data.parts.x=shapes"),
        (["data.address=x"], "data.address: no such config key of what is chosen. data=cache has it."),
        (["logger.project=x"], "of what is chosen. logger=trackio and logger=wandb have it."),
        (["noise_schedule=linear"], "noise_schedule: no such config key (did you mean 'scheduler'?). There is: block,"),
        (["optimizer=adamw", "optimizer.betas=0.9"], "optimizer.betas=0.9: must be a list, such as"),
        (["+scheduler.powr=2"], "scheduler.powr: LogitNormalScheduler takes no such argument."),
        (["+scheduler.stdd=2"], "scheduler.stdd: LogitNormalScheduler takes no such argument (did you mean 'std'?)."),
        (["+foo=1", "+foo=2"], "+foo: nothing reads this key"),
        (["sampling.cfg=3"], "sampling.cfg: no such config key (did you mean 'sampling.guidance'?)."),
        (["model.num_layers=3"], "model.num_layers: no such config key (did you mean 'model.depth'?)."),
        (
            ["trainer.gradient_clipping=1"],
            "no such config key (did you mean 'trainer.max_grad_norm'?). Under 'trainer'",
        ),
        (
            ["scheduler=cosine"],
            "scheduler=cosine: no such option (did you mean 'lr_scheduler=warmup_cosine'?).",
        ),
        (["--steps", "60"], "--steps: there is no such flag. A key is set without dashes: trainer.max_steps=VALUE."),
        (["hydra/launcher=joblob"], "hydra/launcher=joblob: no such option (did you mean 'joblib'?). There is: basic,"),
        (["~seed"], "~seed: a run needs seed. seed=VALUE sets it"),
        (["+experiments=ledger"], "there is no config group 'experiments' (did you mean 'experiment'?)."),
        (
            ["+experiment=ledger", "+experiment=recipe_prx"],
            "To have both, say where the second one goes: +experiment=ledger +experiment@_global_=recipe_prx",
        ),
        (
            ["objective.prediction=null"],
            "objective.prediction=None: must name a class with _target_, and its arguments.",
        ),
        (["data.source=null"], "data.source=None: must name a class or function with _target_"),
    ],
)
def test_a_run_that_cannot_be_is_refused(tmp_path: Path, arguments: list[str], expected: str) -> None:
    assert expected in fork_in(tmp_path, "aaa.train", "logger=none", *arguments).error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["+optimizer.foo=1"], "optimizer.foo: MuonWithAdamW takes no such argument."),
        (["optimizer.weight_decay=inf"], "optimizer.weight_decay=inf: must be a number from 0 on, such as"),
        (["lr_scheduler.warmup_steps=-5"], "lr_scheduler.warmup_steps=-5: must be at least 0."),
        (["evaluation=pretrained"], "no CLIP model there"),
        (["evaluation=vision"], "no vision model there"),
        (
            ["evaluation=full", "evaluation.parts.diversity=false"],
            "evaluation.parts.diversity: bool has no evaluate, which judging asks of it; evaluation.parts.diversity=n",
        ),
        (["evaluation._target_=builtins.dict"], "evaluation: dict has no evaluate, which training asks of an"),
        (["~logger"], "logger=None: must name a class"),
        (["logger=wandb", "logger.project=a/b"], "logger.project=a/b: W&B takes no project with / in its name."),
        (["checkpoint.metric=val/los"], "nothing logs this metric (did you mean 'val/loss'?)"),
        (["sampling.preview=nowhere"], "sampling.preview=nowhere: there is no such folder."),
        (["guidance=checkpoint", "guidance.model=nowhere"], "guidance.model=nowhere: there is no such folder."),
        (["model.in_channels=5"], "model.in_channels=5: the encoder gives 192 (encoder.latent_channels)."),
    ],
)
def test_what_needs_no_data_is_refused_before_pictures_are_encoded(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    done = fork_in(tmp_path, "aaa.train", "data.source.num_records=48", "logger=none", *arguments)
    assert expected in done.error
    assert "Encoding" not in done.err
    assert not (tmp_path / ".cache").exists()


OWN = """import torch


class Short:
    def draw(self, batch_size, generator):
        return torch.rand(batch_size, generator=generator)

    def sampling_sigmas(self, steps, tokens, denoising_strength=1.0):
        return torch.linspace(1, 0, steps + 1)


class Wrong(Short):
    def draw(self, batch_size, generator):
        sigma, timestep, weight = (torch.rand(batch_size, generator=generator),)
"""


def test_mistakes_in_ones_own_code_are_said_with_its_name_or_its_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "my_levels.py").write_text(OWN)
    (tmp_path / "conf" / "scheduler").mkdir(parents=True)
    for name in ("Short", "Wrong"):
        (tmp_path / "conf" / "scheduler" / f"{name}.yaml").write_text(f"_target_: my_levels.{name}\n")
    (tmp_path / "conf" / "scheduler" / "damaged.yaml").write_text("_target_: [x\ny: 1\n")
    (tmp_path / "conf" / "model").mkdir()
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("defaults: [dit_tiny]\ndpeth: 3\n")

    def error(name: str) -> str:
        run = ["--config-dir=conf", f"scheduler={name}", *SMALL, "logger=none"]
        return command("aaa.train", *run, PYTHONPATH=str(tmp_path / "own")).error

    mistyped = command("aaa.train", "--config-dir=conf", "model=mine").error
    assert "conf/model/mine.yaml: model.dpeth: no such config key (did you mean 'model.depth'?). Under 'm" in mistyped
    said = error("damaged")
    assert f"{tmp_path / 'conf/scheduler/damaged.yaml'}:2: is no YAML: while parsing a flow sequence" in said
    assert "train.log" not in said
    assert "scheduler: Short.draw gives a Tensor, and has to give NoiseLevels(sigma, timestep, weight)" in error(
        "Short"
    )
    assert not (tmp_path / "outputs").exists()  # nothing is left of what was refused
    said = error("Wrong")
    assert f"This was not expected, at {tmp_path / 'own/my_levels.py'}:14. Set HYDRA_FULL_ERROR=1" in said
    (log,) = tmp_path.glob("outputs/*/*/train.log")
    assert f"; {log.relative_to(tmp_path)} has it too." in said


def test_of_a_run_that_is_interrupted_before_it_begins_nothing_is_left(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def interrupted(**_):\n    raise KeyboardInterrupt\n")
    done = command("aaa.train", *SMALL, "logger=none", "scheduler._target_=mine.interrupted", PYTHONPATH=str(tmp_path))
    assert (done.code, done.err.splitlines()[-1]) == (130, "Interrupted.")
    assert not (tmp_path / "outputs").exists()


def test_of_a_refused_run_nothing_is_left_but_a_folder_that_is_named(command: Command, tmp_path: Path) -> None:
    assert "model.heads=5 does not divide" in command("aaa.train", "model.heads=5").error
    assert not (tmp_path / "outputs").exists()
    assert "model.heads=5 does not divide" in command("aaa.train", "model.heads=5", "hydra.run.dir=named").error
    assert (tmp_path / "named" / "train.log").is_file()


@pytest.mark.parametrize("name", ["sample", "evaluate", "web"])
def test_keys_are_listed_as_they_are_typed(command: Command, name: str) -> None:
    for typed in ("promt=a red circle", "modell=outputs/x", "data=shapes", "trainer=gpu"):
        said = command(f"aaa.{name}", typed).error
        assert ("evaluation" in said) == (name == "evaluate")
        assert re.search(r"no such config key.* There is: .*\bmodel\b", said)
        assert "saved_model" not in said


@pytest.mark.parametrize("name", ["train", "plan", "encode", "bench", "sample", "evaluate", "web", "average"])
def test_every_command_says_what_it_takes(command: Command, name: str) -> None:
    done = command(f"aaa.{name}", "--help", COLUMNS="80")
    assert done.code == 0, done.err
    assert f"python -m aaa.{name} " in done.out
    assert "{" not in done.out
    if name in ("sample", "evaluate", "web", "average"):
        assert "saved_model" not in done.out
        assert "  model=...                 run folder, " in done.out
        assert "steps=null                of the sampler" in done.out or name == "average"
    else:
        assert "scheduler=     flux2, linear, logit_normal" in done.out
    assert max(map(len, done.out.splitlines())) <= 80, "as wide as the terminal"


def test_missing_weights_and_data_are_named_at_once(command: Command) -> None:
    error = command("aaa.train", "model=dit_0.1b", "data=pokemon").error
    for part in (
        "data.root=data/pokemon: there is no such folder",
        "models/black-forest-labs/FLUX.2-klein-4B/vae/diffusion_pytorch_model.safetensors (looked in",
        "models/Qwen/Qwen3-0.6B/model.safetensors (looked in",
        "models/Qwen/Qwen3-0.6B/tokenizer.json",
        "modelscope download --model Qwen/Qwen3-0.6B",
        "hf download black-forest-labs/FLUX.2-klein-4B",
        "encoder=pixel",
    ):
        assert part in error


def test_unreadable_rows_are_listed_before_any_training(command: Command, tmp_path: Path) -> None:
    images = tmp_path / "pictures" / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(images / f"{index}.png")
    (images / "1.png").write_bytes(b"")
    (images / "2.png").write_text("not a picture")
    (images / "3.png").write_bytes((images / "0.png").read_bytes()[:3000])
    Image.new("1", (20_000, 20_000)).save(images / "bomb.png")
    names = ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "bomb.png", "gone.png", "../outside.png"]
    rows = "".join(f"{name},{'' if name == '4.png' else 'a picture'}\n" for name in names)
    (tmp_path / "pictures" / "metadata.csv").write_text("image,prompt\n" + rows)
    arguments = [argument for argument in SMALL if not argument.startswith(("data.source", "evaluation."))]
    data = ["data=imagefolder", "data.root=pictures", "trainer.max_steps=2", "trainer.batch_size=2", "logger=none"]
    error = command("aaa.train", *arguments, *data).error
    assert "6 of 9 records cannot be read" in error
    for part in (
        "metadata.csv:3: image '1.png' is empty (0 bytes)",
        "metadata.csv:4: image '2.png' is not a picture",
        "metadata.csv:5: image '3.png' cannot be read",
        "metadata.csv:8: image 'bomb.png'",
        "metadata.csv:9: image 'gone.png' does not exist",
        "metadata.csv:10: image '../outside.png' points outside",
    ):
        assert part in error
    assert not list(tmp_path.glob("outputs/*/*/checkpoints"))
    done = command("aaa.train", *arguments, *data, "data.skip_unreadable=true", "data.horizontal_flip=true")
    assert done.code == 0, done.err
    assert "without 6 of 9 records" in done.err


def test_a_checkpoint_that_does_not_fit_is_named_and_kept(tmp_path: Path, small_run: SmallRun) -> None:
    run = tmp_path / "outputs" / "x" / "y"
    shutil.copytree(small_run[0], run, symlinks=True)
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    (run / "train.log").unlink()  # the only file that a failed attempt may add to

    def content() -> dict[Path, bytes]:
        files = (path for path in run.rglob("*") if path.is_file() and path.name not in ("train.log", ".lock"))
        return {path: path.read_bytes() for path in files}

    before = content()
    more = ["resume=outputs/x/y", "trainer.max_steps=20"]
    error = fork_in(tmp_path, "aaa.train", *more, "model.dim=32").error
    assert "model.dim=32: the 12 steps so far were trained with model.dim=64" in error
    assert "its latents would be others" in fork_in(tmp_path, "aaa.train", *more, "data.resolution=32").error
    assert "trained on other latents" in fork_in(tmp_path, "aaa.train", *more, "data.source.num_records=40").error
    assert (
        "trainer.batch_size=many: must be a whole number, or auto"
        in fork_in(tmp_path, "aaa.train", *more, "trainer.batch_size=many").error
    )
    assert "a resumed run keeps its config" in fork_in(tmp_path, "aaa.train", *more, "model=dit_10m").error
    assert content() == before
    assert fork_in(tmp_path, "aaa.train", *more).code == 0
    assert "max_steps: 20" in (run / ".hydra" / "config.yaml").read_text()


def test_nan_stops_a_run_and_keeps_its_last_good_checkpoint(command: Command, tmp_path: Path) -> None:
    arguments = [*SMALL, "optimizer.learning_rate=1e30", "trainer.precision=float32", "trainer.save_every_steps=1"]
    done = command(
        "aaa.train", *arguments, "trainer.validate_every_steps=0", "trainer.sample_every_steps=0", "logger=none"
    )
    assert "The loss became" in done.error
    checkpoints = list(tmp_path.glob("outputs/*/*/checkpoints/step-*"))
    from safetensors.torch import load_file

    for checkpoint in checkpoints:
        assert all(tensor.isfinite().all() for tensor in load_file(checkpoint / "model.safetensors").values())


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path: Path, small_run: SmallRun) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run[0], run, symlinks=True)
    shutil.copytree(small_run[0].parents[2] / ".cache", tmp_path / ".cache")
    (run / "checkpoints/step-00000012/ema.safetensors").write_bytes(b"")
    done = fork_in(tmp_path, "aaa.train", "resume=run")
    assert done.code == 0, done.err
    assert "step-00000012 is damaged: ema.safetensors has 0 bytes instead of" in done.err
    assert "Going on from step 6" in done.err
    assert losses(run) == losses(small_run[0])


@pytest.mark.parametrize("content", [b"a: [", b"a: 1"])
def test_the_damaged_config_of_a_run_is_named(tmp_path: Path, small_run: SmallRun, content: bytes) -> None:
    shutil.copytree(small_run[0], tmp_path / "run", symlinks=True)
    (tmp_path / "run/.hydra/config.yaml").write_bytes(content)
    assert "config.yaml" in (error := fork_in(tmp_path, "aaa.train", "resume=run").error)
    assert "damaged" in error
