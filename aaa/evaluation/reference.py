"""What drawn pictures are compared with: of which split, and whether as the VAE decodes them or as they are."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from aaa.data.records import Split
from aaa.errors import UserError, nearest, reason

DECODED, ORIGINAL = "decoded", "original"
NPZ, NPY = ".npz", ".npy"  # what files of features' mean and covariance end in, and of the features
INCEPTION_FEATURES = 2048  # of the inception network's last pooling, which published statistics are of
ROUNDING = 1e-4  # of a covariance's largest number, that it may be off by
OF_NAME = 40  # letters of a file's name that a metric takes
PROMPTS: dict[Split, str] = {"train": "training", "validation": "held-out"}
AS_THEY_ARE = {DECODED: " as the VAE decodes them", ORIGINAL: " as they are in the data set"}


@dataclass(frozen=True)
class Comparison:
    """What a metric of drawn pictures was measured on.

    Attributes:
        split: of the records whose prompts were drawn for, and whose pictures they were compared with.
        reference: `decoded` and `original` pictures, `latents`, or a file of statistics.
        drawn: pictures.
        real: pictures that they were compared with; None where a file does not say.
    """

    split: Split
    reference: str
    drawn: int
    real: int | None

    def __str__(self) -> str:
        """As a message says it, in brackets."""
        drawn = f"{self.drawn:,} drawn for {PROMPTS[self.split]} prompts, against"
        if self.real is None:
            what = "features" if self.reference.endswith(NPY) else "statistics"
            return f"{drawn} the {what} in {self.reference}"
        what = f"{self.real:,} {PROMPTS[self.split]} pictures"
        return f"{drawn} {what}{AS_THEY_ARE.get(self.reference, '')}"


def require_split(split: str | None) -> Split | None:
    """What `evaluation.split` says.

    Raises:
        UserError: if it is no split.
    """
    known = get_args(Split)
    if split is not None and split not in known:
        raise UserError(
            f"evaluation.split={split}: must be null or one of {', '.join(known)}{nearest(str(split), [*known])}."
        )
    return split  # type: ignore[return-value]


def require_reference(reference: str | None, ending: str = NPZ) -> str:
    """What `evaluation.reference` says: `decoded` for null.

    Args:
        reference: a word or a file.
        ending: of the files that are wanted.

    Raises:
        UserError: if it is no word for pictures and no file that there is.
    """
    if reference in (None, DECODED, ORIGINAL):
        return reference or DECODED
    if not str(reference).endswith(ending):
        known = [DECODED, ORIGINAL]
        holding = {NPZ: "statistics", NPY: "features"}[ending]
        raise UserError(
            f"evaluation.reference={reference}: must be null, {DECODED}, {ORIGINAL}, or a file of {holding} that ends "
            f"in {ending}{nearest(str(reference), known)}."
        )
    if not Path(str(reference)).is_file():
        raise UserError(
            f"evaluation.reference={reference}: there is no such file (looked for {Path(str(reference)).absolute()})."
        )
    return str(reference)


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a network's features of some pictures, as pytorch-fid and ADM publish them.

    Attributes:
        mean: `D`, float64.
        covariance: `D D`, float64.
        name: of the file, with a few digits of its content: what tells metrics by it from others.
    """

    mean: Tensor
    covariance: Tensor
    name: str


@dataclass(frozen=True)
class Vectors:
    """A network's features of some pictures, one by one.

    Attributes:
        features: `N D`, float64.
        name: as that of `Statistics`.
    """

    features: Tensor
    name: str


def read_inception_statistics(path: str) -> Statistics:
    """Statistics of the inception network's features from a file of numpy's with `mu` and `sigma`.

    Raises:
        UserError: if it has none, or they are not of the inception network's features.
    """
    return read_statistics(path, INCEPTION_FEATURES, "the inception network's last pooling")


def read_statistics(path: str, features: int, network: str) -> Statistics:
    """The same of another network's.

    Args:
        path: of the file.
        features: how many it gives of a picture.
        network: whose they are, for messages.

    Raises:
        UserError: if it has none, they are of another number of features, or `sigma` is no covariance.
    """
    key = f"evaluation.reference={path}"
    try:
        with np.load(path, allow_pickle=False) as file:
            there = [*file.files]
            mean, covariance = (np.asarray(file[name], np.float64) for name in ("mu", "sigma"))
    except KeyError:
        raise UserError(
            f"{key}: must have mu and sigma, as `python -m pytorch_fid --save-stats` and ADM's reference batches do; "
            f"it has {', '.join(there) or 'nothing'}."
        ) from None
    except Exception as error:  # of a file that is none of numpy's, of many kinds
        raise UserError(f"{key}: cannot be read as a file of numpy's ({reason(error)}).") from None
    for name, values, shape in (("mu", mean, (features,)), ("sigma", covariance, (features, features))):
        if values.shape != shape:
            raise UserError(
                f"{key}: {name} is {_shape(values)}, and must be {_shape(np.empty(shape))}: mean and covariance of the "
                f"{features} features of {network}."
            )
        if not np.isfinite(values).all():
            raise UserError(f"{key}: {name} has numbers that are not finite.")
    rounding = ROUNDING * np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > rounding or np.diag(covariance).min() < -rounding:
        raise UserError(
            f"{key}: sigma is no covariance, which is the same across its diagonal and not below 0 on it. Is it a "
            "factor of one? np.cov(features, rowvar=False) makes a covariance."
        )
    return Statistics(torch.from_numpy(mean), torch.from_numpy(covariance), _name(path, mean, covariance))


def read_vectors(path: str, features: int, network: str) -> Vectors:
    """Features, `N D`, from a file of one array of numpy's.

    Args:
        path, features, network: as above.

    Raises:
        UserError: if it is of another shape, of fewer than two pictures, not of numbers, or has rows of zeros.
    """
    key = f"evaluation.reference={path}"
    try:
        vectors = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except Exception as error:
        raise UserError(f"{key}: cannot be read as a file of numpy's ({reason(error)}).") from None
    if vectors.ndim != 2 or len(vectors) < 2 or vectors.shape[1] != features:
        raise UserError(
            f"{key}: is {_shape(vectors)}, and must be N x {features}: of each of two pictures or more the {features} "
            f"features of {network}."
        )
    if not np.isfinite(vectors).all():
        raise UserError(f"{key}: has numbers that are not finite.")
    if (empty := np.flatnonzero(~vectors.any(axis=1))).size:
        raise UserError(
            f"{key}: {empty.size} of its {len(vectors)} rows, the first of them row {empty[0]} from 0, have nothing "
            "but zeros, as rows that were never written. Take them out."
        )
    return Vectors(torch.from_numpy(vectors), _name(path, vectors))


def _name(path: str, *arrays: np.ndarray) -> str:
    content = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_]+', '_', Path(path).stem)[:OF_NAME]}-{content[:8]}"


def kind_of(split: Split, usual: Split, reference: str = DECODED) -> str:
    """What the name of a metric ends in so that metrics of different kinds are never taken for one: "" of the usual.

    Args:
        split: that was judged.
        usual: that the metric has always been of.
        reference: `decoded`, `original`, or the name of statistics.
    """
    told = [*([split] if split != usual else []), *([reference] if reference != DECODED else [])]
    return "".join(f"-{word}" for word in told)


def _shape(values: Any) -> str:
    return " x ".join(map(str, values.shape)) or "a single number"
