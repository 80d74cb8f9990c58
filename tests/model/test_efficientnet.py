"""EfficientNet-Lite gives the numbers of the published architecture, on random weights."""

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional

from model.encoders import encoder_config
from model.encoders.efficientnet import VARIANTS
from tests.support.tiny import picture


def random_network(name):
    """The published architecture with weights and statistics that keep activations alive through all layers."""
    network = EfficientNet.from_name(f"efficientnet-{name}").eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
@torch.no_grad()
def test_equals_published_architecture(variant, tmp_path):
    torch.manual_seed(0)
    theirs = random_network(variant)
    config = encoder_config({"family": "efficientnet", "variant": variant})
    ours = config.build().eval()
    missing, unexpected = ours.load_state_dict(config.convert(theirs.state_dict()), strict=False)
    assert unexpected == []
    assert all(name.endswith("num_batches_tracked") for name in missing)

    pixels = torch.randn(2, 3, config.image_size, config.image_size)
    expected = theirs.extract_features(pixels).mean(dim=(2, 3))
    features = ours(pixels)
    assert features.shape == (2, 1, 1280)
    assert expected.std() > 0.05
    torch.testing.assert_close(features[:, 0], expected, rtol=1e-5, atol=1e-5)

    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    logits = functional.linear(features[:, 0], *config.classifier(tmp_path / "weights.pth"))
    torch.testing.assert_close(logits, theirs(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("variant", "size"), [(name, facts[2]) for name, facts in VARIANTS.items()])
def test_sizes(variant, size):
    config = encoder_config({"family": "efficientnet", "variant": variant})
    assert config.preprocess(picture()).shape == (3, size, size)
    with torch.device("meta"):
        module = config.build()
        assert module(torch.empty(1, 3, size, size)).shape == (1, 1, config.dim)


@pytest.mark.parametrize(("variant", "millions"), [("lite0", 4.65), ("lite2", 6.09)])
def test_parameter_count_of_the_release(variant, millions):
    with torch.device("meta"):
        module = encoder_config({"family": "efficientnet", "variant": variant}).build()
    with_head = sum(parameter.numel() for parameter in module.parameters()) + 1280 * 1000 + 1000
    assert with_head / 1e6 == pytest.approx(millions, abs=0.005)


def test_pixels_are_scaled_as_released():
    """A picture of one colour stays one colour: (value - 127) / 128."""
    pixels = encoder_config({"family": "efficientnet"}).preprocess(picture(size=(8, 8)).point(lambda _: 255))
    torch.testing.assert_close(pixels, torch.ones(3, 224, 224))
