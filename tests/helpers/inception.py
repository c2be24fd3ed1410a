"""The inception network of FID, not trained, in the layout of the real file."""

from pathlib import Path

import torch


def save_inception(weights: Path) -> None:
    """Randomly initialised weights, of a scale with which pictures make a difference at the end."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object, **__: object) -> None: ...

    torch.manual_seed(0)
    torch.save({}, weights)  # something to load, and to leave
    network = Untrained("untrained", ["2048"], feature_extractor_weights_path=str(weights))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)  # else nothing reaches the end
    torch.save(network.state_dict(), weights)
