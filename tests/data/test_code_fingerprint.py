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


@pytest.mark.parametrize(
    ("target", "known"),
    [
        ("aaa.data.build_cache.CacheBuilder", "440e88c8f7"),
        ("aaa.data.huggingface.HuggingFaceSource", "7fba6171cb"),
        ("aaa.data.imagefolder.ImageFolderSource", "610a25b141"),
        ("aaa.data.openmoji.OpenMojiSource", "30c55bca61"),
        ("aaa.data.shapes.ShapesSource", "94fc03fb52"),
        ("aaa.data.webdataset.WebDatasetSource", "952afca68a"),
        ("aaa.encoders.diffusers_vae.DiffusersVAE", "b504a114a1"),
        ("aaa.encoders.flux2.Flux2Encoder", "5e05005908"),
        ("aaa.encoders.flux2_tiny.Flux2TinyVAE", "a6ca44b857"),
        ("aaa.encoders.packaged.PackagedTextEncoder", "b70ae9dac8"),
        ("aaa.encoders.pixel.PixelVAE", "bf59c7ceb3"),
        ("aaa.encoders.qwen3.Qwen3Encoder", "f78fcd0cb1"),
        ("aaa.encoders.text_model.TextModelEncoder", "3fd08a2840"),
        ("aaa.encoders.vision.VisionModel", "d187e1c8dd"),
        ("aaa.encoders.words.WordEmbedding", "22bc5cce20"),
        ("aaa.objectives.hog.OrientedGradients", "273de9b526"),
    ],
)
def test_what_caches_were_made_with_is_changed_on_purpose_alone(target: str, known: str) -> None:
    """With other bytes of these modules everybody's data are encoded anew: write a new hash here where that is meant,
    and mend a message or a comment elsewhere."""
    assert code_fingerprint([target]).startswith(known)
