"""What is on disk of a model: checkpoints while it trains, the exported model, files of weights."""
