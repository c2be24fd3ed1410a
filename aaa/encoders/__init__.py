"""Pictures to latents and back, prompts to prompt_embeds."""
