"""Train text-to-image diffusion transformers from scratch."""

import os
import sys
from types import TracebackType

# The threads of torch's OpenMP runtime wait for each other by spinning. On a machine that does other things too, the
# one that they wait for may not be running, and each barrier then takes a whole time slice: two runs side by side made
# a fifteenth of what one makes. So they sleep after 3000 turns (GNU's libgomp, which torch's wheels carry) or after a
# millisecond (LLVM's and Intel's runtimes: torch on macOS and from conda). Read when torch is loaded; a setting of
# one's own stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("KMP_BLOCKTIME", "1")


def _say_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End a command on Ctrl-C while Python still imports it as `aaa.cli.run` does afterwards."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        os._exit(130)
    sys.__excepthook__(kind, error, trace)


# This is imported first: by `python -m aaa.train` while argv has not got its name yet, or by `aaa-train`.
if sys.argv and (sys.argv[0] == "-m" or os.path.basename(sys.argv[0]).startswith("aaa-")):  # noqa: PTH119 - no import
    sys.excepthook = _say_interrupted
