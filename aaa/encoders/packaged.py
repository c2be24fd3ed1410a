"""A text model that a package of the Python index carries: installed, it is there, and nothing is downloaded."""

from importlib.util import find_spec
from pathlib import Path

from aaa.encoders.huggingface import HuggingFaceTextEncoder
from aaa.errors import UserError


class PackagedTextEncoder(HuggingFaceTextEncoder):
    """A `HuggingFaceTextEncoder` of the folder in a package, which is found without being imported.

    Args:
        package: as it is imported.
        folder: with the model, within the package.
        extra: of aaa, that installs the package.
        prompt_dim: width of its hidden states.
        max_length: tokens of an embedding; longer prompts are cut.
        layer: whose hidden states: -1 the last, -2 the one before.
        padding: `tokens` keeps the hidden states of padding, `zeros` blanks them.
        dtype: of weights and arithmetic.

    Raises:
        UserError: if the package has no name of one.
    """

    def __init__(
        self,
        package: str,
        folder: str,
        extra: str,
        prompt_dim: int,
        max_length: int,
        layer: int = -1,
        padding: str = "zeros",
        dtype: str = "float32",
    ) -> None:
        if not package.isidentifier():  # a dotted one would be imported to be found
            raise UserError(f"encoder.text_encoder.package={package!r}: must be the name of a package, without dots.")
        spec = find_spec(package)
        self.package, self.extra = package, extra
        self.installed = spec is not None and spec.origin is not None
        within = Path(spec.origin).parent / folder if spec is not None and spec.origin is not None else Path(folder)
        super().__init__(str(within), prompt_dim, max_length, layer=layer, padding=padding, dtype=dtype)

    def missing_files(self) -> str | None:
        """How to install the package, or None."""
        if self.installed:
            return super().missing_files()
        return (
            f"text_encoder={self.extra}: the package {self.package} is not installed.\n    "
            f'pip install -e ".[{self.extra}]" -c constraints.txt'
        )
