"""What drawn pictures are compared with, in files, words and names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aaa.errors import UserError
from aaa.evaluation import reference
from aaa.evaluation.latent_distance import LatentDistance
from aaa.evaluation.reference import (
    Comparison,
    kind_of,
    read_inception_statistics,
    read_statistics,
    read_vectors,
    require_reference,
    require_split,
)


@pytest.fixture
def three_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "INCEPTION_FEATURES", 3)


@pytest.mark.usefixtures("three_features")
def test_statistics_are_read_as_they_are_published(tmp_path: Path) -> None:
    covariance = np.diag([1.0, 2, 3])
    np.savez(tmp_path / "coco val.npz", mu=np.arange(3, dtype=np.float32), sigma=covariance, mu_s=np.ones(5))
    read = read_inception_statistics(str(tmp_path / "coco val.npz"))
    assert (read.mean.dtype, read.mean.tolist()) == (torch.float64, [0, 1, 2])
    assert torch.equal(read.covariance, torch.from_numpy(covariance))
    assert read.name.startswith("coco_val-")
    np.savez(tmp_path / "coco.v1.npz", mu=np.arange(3), sigma=covariance)
    assert read_inception_statistics(str(tmp_path / "coco.v1.npz")).name.startswith("coco_v1-"), "dots nest keys in W&B"
    np.savez(tmp_path / "coco_val.npz", mu=np.arange(3), sigma=2 * covariance)
    assert read_inception_statistics(str(tmp_path / "coco_val.npz")).name != read.name, "other statistics, same name"
    np.savez_compressed(tmp_path / "coco_val.npz", sigma=covariance, mu=np.arange(3))
    assert read_inception_statistics(str(tmp_path / "coco_val.npz")).name == read.name, "the same ones in another file"


@pytest.mark.usefixtures("three_features")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"mu": np.ones(3)}, r"must have mu and sigma, .* it has mu\."),
        ({"mu": np.ones(4), "sigma": np.eye(4)}, "mu is 4, and must be 3: mean and covariance of the 3 features"),
        ({"mu": np.ones((3, 1)), "sigma": np.eye(3)}, "mu is 3 x 1, and must be 3"),
        ({"mu": np.ones(3), "sigma": np.ones(3)}, "sigma is 3, and must be 3 x 3"),
        ({"mu": np.float64(3), "sigma": np.eye(3)}, "mu is a single number"),
        ({"mu": np.array([1, 2, np.nan]), "sigma": np.eye(3)}, "mu has numbers that are not finite"),
        ({"mu": np.ones(3), "sigma": -np.eye(3)}, "sigma is no covariance"),
        ({"mu": np.ones(3), "sigma": np.tril(np.ones((3, 3)))}, "sigma is no covariance"),
        ({"mu": np.array(["a"] * 3), "sigma": np.eye(3)}, "cannot be read as a file of numpy's"),
        ({"mu": np.array([{}] * 3), "sigma": np.eye(3)}, "cannot be read as a file of numpy's"),
        (b"no zip", "cannot be read as a file of numpy's"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: Mapping[str, Any] | bytes, said: str) -> None:
    file = tmp_path / "some.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.savez(file, **content)
    with pytest.raises(UserError, match=rf"evaluation\.reference={file}: {said}"):
        read_inception_statistics(str(file))


def test_words_that_say_nothing_are_refused(tmp_path: Path) -> None:
    assert (require_reference(None), require_reference("decoded"), require_reference("original")) == (
        *("decoded", "decoded", "original"),
    )
    assert [require_split(split) for split in (None, "train", "validation")] == [None, "train", "validation"]
    for split in ("val", 3, True):
        with pytest.raises(UserError, match=rf"evaluation\.split={split}: must be null or one of train, validation"):
            LatentDistance(split=split)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"reference=orginal: must be null, decoded, original, .*mean 'original'"):
        require_reference("orginal")
    with pytest.raises(UserError, match=r"gone\.npz: there is no such file \(looked for /"):
        require_reference(str(tmp_path / "gone.npz"))


def test_only_what_is_compared_otherwise_has_another_name() -> None:
    assert kind_of("train", "train") == kind_of("validation", "validation", "decoded") == ""
    assert kind_of("validation", "train", "original") == "-validation-original"
    assert kind_of("train", "train", "coco-12345678") == "-coco-12345678"


def test_what_was_compared_is_said_in_a_line() -> None:
    said = "2,048 drawn for training prompts, against 10,000 training pictures as the VAE decodes them"
    assert str(Comparison("train", "decoded", 2048, 10_000)) == said
    said = "300 drawn for held-out prompts, against 300 held-out pictures as they are in the data set"
    assert str(Comparison("validation", "original", 300, 300)) == said
    assert str(Comparison("validation", "x.npz", 3, None)).endswith(
        "3 drawn for held-out prompts, against the statistics in x.npz"
    )
    assert str(Comparison("train", "latents", 8, 9)).endswith("against 9 training pictures")


def test_a_covariance_may_be_off_by_rounding(tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    covariance = np.cov(features, rowvar=False).astype(np.float16)
    covariance[0, 1] = np.nextafter(covariance[0, 1], np.float16(1))
    for sigma in (covariance, np.zeros((8, 8))):
        np.savez(tmp_path / "some.npz", mu=features.mean(0), sigma=sigma)
        assert read_statistics(str(tmp_path / "some.npz"), 8, "a network").mean.shape == (8,)


def test_rows_that_were_never_written_are_refused(tmp_path: Path) -> None:
    vectors = np.ones((5, 3))
    np.save(tmp_path / "whole.npy", vectors)
    assert read_vectors(str(tmp_path / "whole.npy"), 3, "a network").features.shape == (5, 3)
    vectors[3:] = 0
    np.save(tmp_path / "part.npy", vectors)
    with pytest.raises(UserError, match=r"part\.npy: 2 of its 5 rows, the first of them row 3 from 0"):
        read_vectors(str(tmp_path / "part.npy"), 3, "a network")


def test_a_message_says_what_a_file_holds() -> None:
    for file, holds in (("x.npz", "statistics"), ("x.npy", "features")):
        assert str(Comparison("train", file, 3, None)).endswith(f"against the {holds} in {file}")
