"""What `aaa.compare` reads and writes, where that is not as it should be."""

import csv
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from aaa.compare import main
from aaa.reports.page import write_page
from aaa.reports.runs import read_runs
from tests.helpers.made_up_runs import make_runs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_runs(tmp_path / "runs", [1e-3], [2, 4], [1], rows=20, pictures=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compare(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", "runs", *arguments])
    main()


def test_pictures_go_where_it_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    compare(monkeypatch, "--curves", "c")
    told = capfd.readouterr().out
    assert "Loss curves: c.png\n" in told
    assert "Of an earlier comparison" not in told
    assert Image.open(here / "c.png").format == "PNG"


def test_folders_that_are_not_there_are_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_runs(here / "runs", [1e-3, 2e-3], [2, 4, 8], [2], rows=20, pictures=1)
    written = {
        option: f"{option}/deeper/{option}.png" for option in ("html", "curves", "map", "scaling", "csv", "json")
    }
    compare(monkeypatch, *(f"--{option}={path}" for option, path in written.items()))
    assert [path for path in written.values() if not (here / path).is_file()] == []


def test_pictures_of_an_earlier_comparison_are_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """These runs differ in one setting, and are of two sizes: there is no map, and no law."""
    for name in ("map.png", "scaling.png"):
        (here / name).touch()
    compare(monkeypatch)
    told = capfd.readouterr().out
    assert "Of an earlier comparison: map.png\nOf an earlier comparison: scaling.png\n" in told


def test_a_folder_that_cannot_be_made_is_named_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "file").touch()
    with pytest.raises(SystemExit, match="1"):
        compare(monkeypatch, "--json", "file/table.json")
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "error: file cannot be read or written (File exists).\n")


@pytest.mark.parametrize("option", ["--curves", "--map", "--scaling"])
def test_a_file_that_holds_no_picture_is_refused_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit, match="1"):
        compare(monkeypatch, option, "c.txt")
    told = capfd.readouterr()
    assert told.err.startswith(f"error: {option} c.txt: pictures are written as ")
    assert told.out == ""
    assert sorted(path.name for path in here.iterdir()) == ["runs"]


def test_a_view_is_made_where_it_is_asked_for(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ENTITY", "someone")
    compare(monkeypatch)
    assert "W&B" not in capfd.readouterr().out
    compare(monkeypatch, "--wandb", "--html", str(here / "page.html"))
    assert "The view that would have been saved:" in " ".join(capfd.readouterr().out.split())
    assert json.loads((here / "wandb_view.json").read_text())["entity"] == "someone"


def test_a_view_without_its_package_says_what_to_install(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    monkeypatch.setenv("WANDB_ENTITY", "someone")
    with pytest.raises(SystemExit, match="1"):
        compare(monkeypatch, "--wandb")
    told = capfd.readouterr()
    assert told.err == 'error: --wandb: wandb-workspaces is not installed: pip install -e ".[views]"\n'
    assert "Page: compare.html" in told.out
    assert sorted(path.name for path in here.iterdir()) == ["compare.html", "curves.png", "runs"]


def test_a_folder_whose_name_is_no_text_is_in_the_table(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "runs" / "0.001-2-1").rename(here / "runs" / os.fsdecode(b"caf\xe9"))
    compare(monkeypatch, "--csv", "runs.csv", "--json", "runs.json")
    with (here / "runs.csv").open(encoding="utf-8", errors="surrogateescape") as file:
        assert {os.fsencode(row["run"]) for row in csv.DictReader(file)} == {b"caf\xe9", b"0.001-4-1"}


def cut_short(path: Path) -> None:
    """As a power cut leaves a file whose blocks never came to the disk."""
    Image.frombytes("RGB", (400, 400), random.Random(0).randbytes(3 * 400 * 400)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))


def too_large(path: Path) -> None:
    Image.new("1", (700, 700)).save(path)


@pytest.mark.parametrize("spoil", [cut_short, too_large])
def test_a_page_goes_without_a_damaged_picture(
    here: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    spoil(here / "runs" / "0.001-2-1" / "samples" / "step-00000020.png")
    write_page(read_runs([here / "runs"]), here / "compare.html")
    assert (here / "compare.html").read_text().count("data:image/webp") == 1
