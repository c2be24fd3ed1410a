"""Which code a hash of code counts."""

from pathlib import Path

import pytest

from aaa.data.code_fingerprint import code_fingerprint


@pytest.mark.parametrize("imported", ["from {}helpers import SIZE", "from {}helpers import read", "import {}helpers"])
@pytest.mark.parametrize("package", ["", "parts_of_mine."])
def test_code_of_ones_own_counts_with_its_helpers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: str, package: str
) -> None:
    folder = tmp_path / package.rstrip(".")
    folder.mkdir(exist_ok=True)
    mine, helpers = (f"{name}_{abs(hash((imported, package)))}" for name in ("mine", "helpers"))
    (folder / f"{mine}.py").write_text(f"{imported.format(package).replace('helpers', helpers)}\nclass Source: ...\n")
    (folder / f"{helpers}.py").write_text("SIZE = 1\ndef read(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_fingerprint([f"{package}{mine}.Source"])
    (folder / f"{helpers}.py").write_text("SIZE = 2\ndef read(): ...\n")
    assert code_fingerprint([f"{package}{mine}.Source"]) != before


def test_code_that_code_is_made_of_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CacheBuilder` takes pictures from a module that takes colours from another."""
    before = code_fingerprint(["aaa.data.build_cache.CacheBuilder"])
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "color_profiles.py" else b"")
    )
    assert code_fingerprint(["aaa.data.build_cache.CacheBuilder"]) != before
