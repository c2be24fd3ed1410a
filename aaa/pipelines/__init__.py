"""A trained model ready to draw: our own way, and as a DiffSynth pipeline."""
