"""Train text-to-image diffusion transformers from scratch."""

import os

# The threads of torch's OpenMP runtime (GNU's) wait for each other by spinning. On a machine that does other things
# too, the one they wait for may not be running, and each barrier then takes a whole time slice: two runs side by side
# were 15 times as slow as one. After 1000 turns they sleep instead. The runtime reads this when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
