"""Train text-to-image diffusion transformers from scratch."""

import os

# The threads of torch's OpenMP runtime wait for each other by spinning. On a machine that does other things too, the
# one that they wait for may not be running, and each barrier then takes a whole time slice: two runs side by side made
# a fifteenth of what one makes. So they sleep after 3000 turns (GNU's libgomp, which torch's wheels carry) or after a
# millisecond (LLVM's and Intel's runtimes: torch on macOS and from conda). Read when torch is loaded; a setting of
# one's own stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("KMP_BLOCKTIME", "1")
