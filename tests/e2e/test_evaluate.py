"""Judging saved models as a user types it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from aaa.run.evaluation_record import name_of_its_own, record_name
from aaa.tracking.files import replace_text
from tests.e2e.conftest import SMALL, Finished, fork_in, metrics, only_run
from tests.helpers.inception import save_inception
from tests.helpers.pretrained import make_vision_model

SmallRun = tuple[Path, Finished]
OF_PARTS = {"frechet": "siglip", "cmmd": "clip"}  # parts of evaluation=vision, and kinds of small models


def test_a_run_is_judged_and_agrees_with_its_own_validation(session_folder: Path, small_run: SmallRun) -> None:
    run, _ = small_run
    shown = run.relative_to(session_folder)
    arguments = ["evaluation.num_images=8", "evaluation.parts.diversity.num_prompts=2", "evaluation.split=validation"]
    done = fork_in(session_folder, "aaa.evaluate", f"model={shown}", *arguments)
    assert done.code == 0, done.err
    name = f"model-model,{','.join(arguments)}"
    written = json.loads((run / "evaluation" / f"{name}.json").read_text())
    assert written["settings"] == sorted(arguments)
    logged = {key: value for row in metrics(run) for key, value in row.items()}
    assert written["metrics"]["val/loss"] == pytest.approx(logged["val/loss"], rel=1e-4)
    assert written["metrics"]["quality/seen"] == logged["quality/seen"]
    assert "memorisation/copies" in written["metrics"]
    assert "quality/latent_frechet-validation" in done.out
    told = {"split": "validation", "reference": "latents", "drawn": 8, "real": 8}
    assert written["compared"]["quality/latent_frechet-validation"] == told
    assert "(8 drawn for held-out prompts, against 8 held-out pictures)" in done.err
    assert str(shown / "model" / "model.safetensors") in done.out.splitlines()[0], "whole, wherever it is"
    assert Image.open(run / "evaluation" / f"{name}-nearest.png").width > 100
    validated = json.loads((run / "validation" / "step-00000012.json").read_text())
    assert written["table"] == validated["table"]
    assert written["content"] == validated["content"]
    assert len({written["table"], written["content"], None}) == 3
    # A checkpoint on its way, by its raw weights, with one metric alone.
    checkpoint = shown / "checkpoints" / "step-00000006"
    raw = ["weights=raw", "evaluation=shapes", "evaluation.num_images=4", "out=judged"]
    raw += ["sampler=heun", "steps=3", "guidance=3", "guidance.interval=[0.01,1]"]
    done = fork_in(session_folder, "aaa.evaluate", f"model={checkpoint}", *raw)
    assert done.code == 0, done.err
    (record,) = (session_folder / "judged").glob("step-00000006-model,*.json")
    other = json.loads(record.read_text())["metrics"]
    assert other["val/loss"] != written["metrics"]["val/loss"]
    assert "memorisation/copies" not in other
    assert (written["metrics"]["sampling/evaluations"], other["sampling/evaluations"]) == (8, 10)


@pytest.mark.slow
def test_fid_is_of_original_pictures_and_of_published_statistics(session_folder: Path, small_run: SmallRun) -> None:
    pytest.importorskip("torch_fidelity")
    run, _ = small_run
    save_inception(session_folder / "inception.pth")
    np.savez(session_folder / "coco.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    judge = ["aaa.evaluate", "evaluation=pretrained", "evaluation.parts.clip_score=null", "evaluation.num_images=8"]
    judge += ["evaluation.parts.inception_distance.weights=inception.pth", "evaluation.split=validation", "out=fid"]
    for reference in ("original", "coco.npz"):
        done = fork_in(session_folder, *judge, f"model={run}", f"evaluation.reference={reference}")
        assert done.code == 0, done.err
    found = [json.loads(path.read_text())["compared"] for path in (session_folder / "fid").glob("*.json")]
    by_file, original = sorted(found, key=len)
    told = {"split": "validation", "reference": "original", "drawn": 8, "real": 16}
    names = ("fid-validation-original", "kid-validation-original", "kid-validation-original_standard_error")
    assert original == {f"quality/{name}": told for name in names}
    ((name, of_file),) = by_file.items()
    assert name.startswith("quality/fid-validation-coco-")
    assert of_file == told | {"reference": "coco.npz", "real": None}
    assert "FID " in done.err
    assert "(8 drawn for held-out prompts, against the statistics in coco.npz)" in done.err
    # Of a cache alone there are no pictures to compare with.
    config = OmegaConf.load(run / "config.yaml")
    shutil.copytree(run, session_folder / "of_cache")
    (cache,) = session_folder.glob(".cache/aaa/*/index.json")
    config.data = {
        **{key: config.data[key] for key in ("resolution", "buckets", "max_aspect_ratio", "cache_dir")},
        "name": "cache",
        "address": str(cache.parent),
        "local_cache_gib": 1.0,
        "validation_fraction": 0.1,
    }
    OmegaConf.save(config, session_folder / "of_cache" / "config.yaml")
    done = fork_in(session_folder, *judge, "model=of_cache", "evaluation.reference=original")
    assert "evaluation.reference=original: of data=cache there are the latents alone" in done.error


@pytest.mark.slow
def test_distances_in_the_features_of_vision_models_are_measured(session_folder: Path, small_run: SmallRun) -> None:
    run, _ = small_run
    models = {part: make_vision_model(session_folder / "seeing" / kind, kind) for part, kind in OF_PARTS.items()}
    judge = ["aaa.evaluate", f"model={run}", "evaluation=vision", "evaluation.num_images=8", "out=vision"]
    judge += [f"evaluation.parts.{part}.path={path}" for part, path in models.items()]
    done = fork_in(session_folder, *judge, "evaluation.split=validation", "evaluation.reference=original")
    assert done.code == 0, done.err
    assert "fd_siglip-validation-original" in done.out
    assert "(8 drawn for held-out prompts, against 16 held-out pictures as they are in the data set)" in done.err
    assert "fd_siglip-validation-original: 8 pictures cannot fill a covariance of 16 features" in done.err
    (record,) = (session_folder / "vision").glob("*.json")
    measured = {f"quality/{name}-validation-original" for name in ("fd_siglip", "kd_siglip", "mmd_clip")}
    found = json.loads(record.read_text())
    assert measured <= found["metrics"].keys()
    told = {"split": "validation", "reference": "original", "drawn": 8, "real": 16}
    errors = {f"{name}_standard_error" for name in measured if "/fd_" not in name}
    assert found["compared"] == dict.fromkeys(measured | errors, told)


def test_where_data_that_are_gone_are_looked_for_is_said(tmp_path: Path, small_run: SmallRun) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run[0], run, symlinks=True)
    config = OmegaConf.load(run / "config.yaml")
    config.data.source = {"_target_": "aaa.data.imagefolder.ImageFolderSource", "root": "gone"}
    OmegaConf.save(config, run / "config.yaml")
    said = fork_in(tmp_path, "aaa.evaluate", "model=run", "evaluation=none").error
    assert "model=run: the data that it was trained on cannot be opened. data.root=gone: there is no such" in said
    assert "Here it is run/config.yaml that has these keys" in said


def test_each_way_to_draw_has_a_record_of_its_own(session_folder: Path, small_run: SmallRun) -> None:
    run, _ = small_run
    few = ["evaluation=shapes", "evaluation.num_images=2", "steps=2"]
    for _ in range(2):  # the second time each comes over its own
        done = fork_in(session_folder, "aaa.evaluate", "-m", f"model={run}", "guidance=1,3", *few)
        assert done.code == 0, done.err
        records = sorted((run / "evaluation").glob("model-model,*guidance.scale=*.json"))
        scales = [json.loads(record.read_text())["settings"][2] for record in records]
        assert scales == ["guidance.scale=1", "guidance.scale=3"]
    # In a folder that is named there is one for each model.
    several = ["-m", f"model={run},{run}/checkpoints/step-00000006", *few, "out=of_each", "hydra.sweep.dir=ways"]
    done = fork_in(session_folder, "aaa.evaluate", *several)
    assert done.code == 0, done.err
    weights = [json.loads(path.read_text())["weights"] for path in sorted(session_folder.glob("of_each/*/*.json"))]
    assert [Path(path).parent.name for path in weights] == ["model", "step-00000006"]
    assert not (session_folder / "multirun").exists()


def test_models_of_several_runs_are_judged_into_one_folder(session_folder: Path, small_run: SmallRun) -> None:
    run, _ = small_run
    shutil.copytree(run, session_folder / "other")
    table = {}
    for model in (run, session_folder / "other", run):  # which comes over its own, not over the other's
        done = fork_in(session_folder, "aaa.evaluate", f"model={model}", "evaluation=none", "out=together")
        assert done.code == 0, done.err
        table = {path.name: json.loads(path.read_text()) for path in (session_folder / "together").glob("*.json")}
    assert {name: Path(record["weights"]) for name, record in table.items()} == {
        "model-model,evaluation=none.json": run / "model" / "model.safetensors",
        "other-model-model,evaluation=none.json": session_folder / "other" / "model" / "model.safetensors",
    }


def test_a_record_is_never_written_over_anothers(tmp_path: Path) -> None:
    models = [tmp_path / sweep / "0" / "model" / "model.safetensors" for sweep in ("a", "b", "c")]
    named: dict[Path, str] = {}
    for weights in (*models, *models):
        name = name_of_its_own(tmp_path, "model-model", weights, weights.parents[1])
        (tmp_path / f"{name}.json").write_text(json.dumps({"weights": str(weights)}))
        assert named.setdefault(weights, name) == name, "judged again, it keeps its name"
    assert [*named.values()][:2] == ["model-model", "0-model-model"]
    assert len({*named.values()}) == 3
    (tmp_path / "step.json").write_text("{")  # of whom is not known
    assert name_of_its_own(tmp_path, "step", models[0], tmp_path / "a" / "0") == "0-step"


@pytest.mark.parametrize("letter", ["x", "\u732b", "\udce9"])
def test_names_of_records_are_no_longer_than_file_systems_take(tmp_path: Path, letter: str) -> None:
    long = letter * (240 // len(os.fsencode(letter)))
    run = tmp_path / long
    weights = run / long / f"{long}.safetensors"
    settings = [[f"evaluation.parts.x.path={kind}{3 * long}"] for kind in "ab"]
    names = [record_name(weights, told) for told in settings]
    names += [record_name(run / f"{long}." / weights.name, settings[0])]
    assert len({*names}) == 3
    (tmp_path / f"{names[0]}.json").write_text("{")  # another's
    names.append(name_of_its_own(tmp_path, names[0], weights, run))
    (tmp_path / f"{names[-1]}.json").write_text("{")
    names.append(name_of_its_own(tmp_path, names[0], weights, run))
    assert len({*names}) == 5
    for name in names:
        replace_text(tmp_path / f"{name}.json", "{}")
        (tmp_path / f"{name}-nearest_real_vision-pictures.png").touch()


def test_what_cannot_be_judged_is_said(session_folder: Path, small_run: SmallRun, tmp_path: Path) -> None:
    run, _ = small_run
    assert "there is no such folder" in fork_in(tmp_path, "aaa.evaluate", "model=nowhere").error
    assert "neither a run folder" in fork_in(tmp_path, "aaa.evaluate", f"model={tmp_path}").error
    found = fork_in(tmp_path, "aaa.evaluate", f"model={run}", "evaluation=pretrained").error
    assert "no CLIP model there" in found
    assert "hf download" in found
    found = fork_in(tmp_path, "aaa.evaluate", f"model={run}", "evaluation=nothing").error
    assert "evaluation=nothing: no such option" in found
    found = fork_in(tmp_path, "aaa.evaluate", f"model={run}", "evaluation=none", "sampler=huen").error
    assert "no such option (did you mean 'heun'?)" in found
    found = fork_in(tmp_path, "aaa.evaluate", f"model={run}", "evaluation=none", "guidance.interval=[1,0]").error
    assert "guidance.interval=[1, 0]: must be two noise levels" in found
    assert fork_in(tmp_path, "aaa.evaluate").error == "error: model: has no value yet, and must have one: model=VALUE\n"


@pytest.mark.slow
def test_a_run_is_judged_on_its_way(tmp_path: Path) -> None:
    arguments = [argument for argument in SMALL if not argument.startswith("evaluation.")]
    judged = ["trainer.evaluate_every_steps=6", "evaluation=full", "evaluation.num_images=8", "logger=none"]
    done = fork_in(tmp_path, "aaa.train", *arguments, *judged)
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    assert [row["step"] for row in metrics(run) if "memorisation/copies" in row] == [6, 12]
    assert (run / "evaluation" / "step-00000006-seeds.png").is_file()
    judged = ["trainer.evaluate_every_steps=6", "evaluation=vision", "evaluation.num_images=8", "logger=none"]
    for part, kind in OF_PARTS.items():
        judged.append(f"evaluation.parts.{part}.path={make_vision_model(tmp_path / kind, kind)}")
    done = fork_in(tmp_path, "aaa.train", *arguments, *judged, "hydra.run.dir=by_vision")
    assert done.code == 0, done.err
    assert [row["step"] for row in metrics(tmp_path / "by_vision") if "quality/mmd_clip" in row] == [6, 12]


def test_an_evaluation_for_other_data_is_refused_before_the_first_step(
    tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    own = ["data=imagefolder", f"data.root={picture_folder(8)}", "data.validation_fraction=0.3", "logger=none"]
    few = [part for part in SMALL if not part.startswith(("data.source", "evaluation"))]
    train = ["aaa.train", *own, *few, "trainer.batch_size=2"]
    done = fork_in(tmp_path, *train, "evaluation=shapes", "evaluation.num_images=8")
    assert "evaluation: it would have nothing to say of this run. The prompts ('green, number" in done.error
    assert "evaluation=none" in done.error
    done = fork_in(tmp_path, *train, "evaluation=none", "hydra.run.dir=run")
    assert done.code == 0, done.err
    judged = fork_in(tmp_path, "aaa.evaluate", "model=run", "evaluation=shapes")
    assert "it has nothing to say of this model" in judged.error
    changed = "run was trained on other latents than"
    assert changed not in judged.err
    table = tmp_path / "pictures" / "metadata.csv"
    table.write_text(table.read_text().replace("number 7", "number seven"))
    judged = fork_in(tmp_path, "aaa.evaluate", "model=run", "evaluation=none")
    assert judged.code == 0, judged.err
    assert changed in judged.err
