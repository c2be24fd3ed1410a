"""What a model learns: what it predicts, and how far off it is."""
