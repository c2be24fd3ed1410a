"""Sources of pictures with prompts, and the latent cache."""
