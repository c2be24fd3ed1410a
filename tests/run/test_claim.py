"""Whose a folder is."""

import multiprocessing
from pathlib import Path

import pytest
import yaml

from aaa.errors import UserError
from aaa.run.claim import claim, claim_for_job, forget_start, have_begun, holds_run, release, wait_for_beginners

OVERRIDES = ["model.depth=2", "hydra.run.dir=x", "resume=auto"]


def begun(folder: Path, *files: str, overrides: list[str] = OVERRIDES) -> Path:
    """A folder with what a run has left in it."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


@pytest.mark.parametrize(
    ("files", "resume", "overrides", "taken"),
    [
        ((), None, ["seed=1"], True),  # it died before its first step
        (("train.log", "config.yaml"), None, ["seed=1"], True),
        (("metrics.jsonl",), None, ["seed=1"], False),
        (("metrics.jsonl",), None, ["model.depth=2"], False),  # the same command, but not with resume=
        (("checkpoints/step-00000010/state.json",), None, ["seed=1"], False),
        (("model/config.json",), None, ["seed=1"], False),
        (("samples/step-00000010.png",), None, ["seed=1"], False),
        (("metrics.jsonl",), "auto", ["model.depth=2"], True),
        (("metrics.jsonl",), "auto", ["model.depth=2", "hydra.sweep.dir=y"], True),
        (("metrics.jsonl",), "auto", ["model.depth=4"], False),
        (("metrics.jsonl",), "path/of/it", ["seed=1"], True),
    ],
)
def test_a_folder_is_taken_by_its_own_run_alone(
    tmp_path: Path, files: tuple[str, ...], resume: str | None, overrides: list[str], taken: bool
) -> None:
    folder = begun(tmp_path / "run", *files)
    if taken:
        claim(folder, resume, overrides)
        claim(folder, None, overrides)  # the same process asks again
        release(folder)
    else:
        with pytest.raises(UserError, match=r"holds a run already.*\n.*python -m aaa\.train resume=\S*run") as refused:
            claim(folder, resume, overrides)
        assert "For a new folder: leave out hydra.run.dir" in str(refused.value)
        release(folder)
        claim(folder, "path/of/it", overrides)  # nothing holds it
        release(folder)


def test_a_job_of_a_sweep_is_refused_once_it_begins(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", "metrics.jsonl")
    assert not claim_for_job(folder, "auto", ["model.depth=4"])
    for resume in (None, str(folder)):  # by then it is taken for the job's own
        with pytest.raises(UserError, match="holds a run already"):
            claim(folder, resume, [])
    release(folder)
    assert claim_for_job(folder, "auto", ["model.depth=2"])
    claim(folder, str(folder), [])
    release(folder)


def test_files_of_others_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "metrics.jsonl").write_text("")
    assert not holds_run(tmp_path)
    claim(tmp_path, None, [])
    release(tmp_path)


def test_the_folder_of_a_sweep_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").write_text("hydra: {}")
    with pytest.raises(UserError, match=r"holds a sweep"):
        claim(tmp_path, None, [])


def test_the_id_of_a_dead_run_goes_to_the_same_command_only(tmp_path: Path) -> None:
    for overrides, kept in ((["model.depth=2"], True), (["model.depth=3"], False)):
        folder = begun(tmp_path / str(kept), "wandb_id.txt")
        claim(folder, None, overrides)
        release(folder)
        assert (folder / "wandb_id.txt").exists() is kept


def test_of_two_processes_that_start_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    """Whichever is first keeps it until it lets go, step taken or not."""
    claim(tmp_path, None, [])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "another run is training in this folder right now" in pool.apply(_claimed_by_another, (tmp_path,))
        release(tmp_path)
        assert pool.apply(_claimed_by_another, (tmp_path,)) == "taken"


def test_where_no_file_can_be_made_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outputs").touch()  # as on a disk that can only be read
    monkeypatch.chdir(tmp_path)
    wait_for_beginners()
    have_begun()


def test_who_is_refused_removes_no_folder_of_a_run_that_is_starting(tmp_path: Path) -> None:
    """As `resume=auto` is, which finds the folder of a run that is still encoding."""
    folder = begun(tmp_path / "outputs" / "name" / "2026-11-29_09-00-00", "train.log")
    claim(folder, None, [])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(forget_start, (folder,))
        assert (folder / ".hydra").is_dir()
        release(folder)
        pool.apply(forget_start, (folder,))
    assert not (tmp_path / "outputs").exists()


def _claimed_by_another(folder: Path) -> str:
    try:
        claim(folder, None, [])
    except UserError as error:
        return str(error)
    release(folder)
    return "taken"
