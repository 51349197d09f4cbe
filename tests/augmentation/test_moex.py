"""MoEx is the authors' formula, at the authors' place, and only while training."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.transforms import v2

from sip.augmentation.mix.moex import MoEx
from sip.augmentation.mix.moex_cutmix import MoExCutMix
from sip.augmentation.mix.moments import exchange, place
from sip.core.errors import UserError

IMAGES = torch.rand(5, 3, 32, 32, generator=torch.manual_seed(0))
TARGETS = torch.eye(5)
BACKBONES = ("test_resnet", "test_vit", "test_convnext")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"img_size": 32} if "vit" in name else {}
    return timm.create_model(name, num_classes=5, **options)


def literal(features: np.ndarray, order: list[int], axis: int) -> np.ndarray:
    """PONO's moments of each position; normalise by one's own, then put the partner's in."""
    changed = np.empty_like(features)
    for a, b in enumerate(order):
        mu = [features[n].mean(axis, keepdims=True) for n in (a, b)]
        sigma = [np.sqrt(features[n].var(axis, ddof=1, keepdims=True) + 1e-5) for n in (a, b)]
        changed[a] = sigma[1] * (features[a] - mu[0]) / sigma[0] + mu[1]
    return changed


@pytest.mark.parametrize(("shape", "dim"), [((4, 8, 5, 6), 1), ((4, 9, 16), -1)])
def test_exchange_is_the_formula_in_numpy(shape: tuple[int, ...], dim: int) -> None:
    features, order = torch.randn(*shape), torch.tensor([2, 0, 3, 3])
    axis = 0 if dim == 1 else -1  # of one image
    expected = literal(features.double().numpy(), order.tolist(), axis)
    changed = exchange(features, order, dim, 1e-5)
    np.testing.assert_allclose(changed.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_float32() -> None:
    features, order = torch.randn(4, 16, 5, 6).bfloat16(), torch.tensor([1, 2, 3, 0])
    changed = exchange(features, order, 1, 1e-5)
    assert changed.dtype == torch.bfloat16
    assert torch.equal(changed, exchange(features.float(), order, 1, 1e-5).bfloat16())


def test_gradients_flow_through_both_images() -> None:
    features = torch.randn(3, 4, 2, 2, dtype=torch.float64).float().requires_grad_()
    changed = exchange(features, torch.tensor([1, 2, 0]), 1, 1e-5)
    (grad,) = torch.autograd.grad(changed[0].square().sum(), features)
    assert grad[0].abs().sum() > 0
    assert grad[1].abs().sum() > 0
    assert grad[2].abs().sum() == 0


@pytest.mark.parametrize("name", BACKBONES)
def test_it_is_the_network_with_the_formula_after_its_stem(name: str) -> None:
    model, mix = network(name), MoEx(0.9, 1.0, 1e-5)
    torch.manual_seed(7)
    logits, targets = mix(model, IMAGES, TARGETS)
    torch.manual_seed(7)
    order = torch.randperm(5)
    torch.testing.assert_close(targets, 0.9 * TARGETS + 0.1 * TARGETS[order])
    # The network again, piece by piece, with the exchange in between.
    features = model.get_submodule(
        {"test_vit": "patch_embed", "test_convnext": "stem"}.get(name, "conv1")
    )(IMAGES)
    if name == "test_resnet":
        features = model.maxpool(model.act1(model.bn1(features)))
    axis = -1 if name == "test_vit" else 0
    changed = literal(features.detach().numpy(), order.tolist(), axis)
    features = torch.from_numpy(changed).float()
    if name == "test_resnet":
        features = model.layer4(model.layer3(model.layer2(model.layer1(features))))
    elif name == "test_vit":
        features = model.norm(model.blocks(model.norm_pre(model._pos_embed(features))))
    else:
        features = model.norm_pre(model.stages(features))
    torch.testing.assert_close(logits, model.forward_head(features), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_of_it_is_left_in_the_network_or_in_evaluation(name: str) -> None:
    model = network(name).eval()
    before = model(IMAGES)
    for mix in (MoEx(0.9, 1.0, 1e-5), MoExCutMix(0.9, 1.0, 1e-5, 1.0, 1.0)):
        mix(model.train(), IMAGES, TARGETS)
        logits, targets = mix(model.eval(), IMAGES, TARGETS)
        assert targets is TARGETS
        assert logits.shape == before.shape
    if name != "test_resnet":  # whose batch statistics have moved
        assert torch.equal(model(IMAGES), before)
    assert not place(model)[0]._forward_hooks


def test_an_error_in_the_network_leaves_no_hook(monkeypatch) -> None:
    model = network("test_resnet")
    monkeypatch.setattr(model.layer1, "forward", lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        MoEx(0.9, 1.0, 1e-5)(model, IMAGES, TARGETS)
    assert not model.maxpool._forward_hooks


def test_batches_are_changed_with_their_probability() -> None:
    model, mix, changed = network("test_convnext"), MoEx(0.9, 0.25, 1e-5), 0
    few, targets = IMAGES[:2], TARGETS[:2]
    for seed in range(100):
        torch.manual_seed(seed)
        happened = mix(model, few, targets)[1] is not targets
        torch.manual_seed(seed)
        assert happened == bool(torch.rand(()) < 0.25)
        changed += happened
    assert 12 < changed < 40


def test_moex_cutmix_is_cutmix_then_moex_with_the_same_partner() -> None:
    model = network("test_convnext")
    torch.manual_seed(3)
    logits, targets = MoExCutMix(0.9, 1.0, 1e-5, 1.0, 1.0)(model, IMAGES, TARGETS)
    torch.manual_seed(3)
    images, mixed = v2.CutMix(alpha=1.0)(IMAGES, TARGETS)
    cut = float(mixed[0, 0])
    a, b, c = TARGETS, TARGETS.roll(1, 0), TARGETS.roll(2, 0)
    # the three terms of the authors' loss
    terms = 0.9 * cut * a + (0.9 * (1 - cut) + 0.1 * cut) * b + 0.1 * (1 - cut) * c
    torch.testing.assert_close(targets, terms)
    features = literal(model.stem(images).detach().numpy(), [4, 0, 1, 2, 3], 0)
    expected = model.forward_head(model.norm_pre(model.stages(torch.from_numpy(features))))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-3)


def test_a_wrapped_network_is_looked_into() -> None:
    model = network("test_resnet")
    assert place(nn.Sequential(model))[0] is model.maxpool


def test_an_unknown_backbone_is_refused_by_name() -> None:
    model = timm.create_model("test_efficientnet", num_classes=5)
    for mix in (MoEx(0.9, 1.0, 1e-5), MoExCutMix(0.9, 1.0, 1e-5, 1.0, 1.0)):
        with pytest.raises(UserError, match=r"timm's ConvNeXt, DenseNet, ResNet.*EfficientNet"):
            mix.require(model)
