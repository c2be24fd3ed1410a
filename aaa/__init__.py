"""Train text-to-image diffusion transformers from scratch."""
