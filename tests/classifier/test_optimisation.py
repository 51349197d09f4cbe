"""Optimisers, schedules, layer decay, average, clipping: against timm, torch and formulas."""

import copy
import math

import pytest
import timm
import torch
from pytorch_lightning import Trainer
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from sip.augmentation.mix.none import NoMix
from sip.classifier.module import Classifier
from sip.classifier.optimisation import make_optimizer, make_scheduler
from sip.classifier.recipe import Recipe
from sip.classifier.schedule import ConstantRate, CosineRate, StepRate
from sip.core.errors import UserError
from tests.classifier.recipes import recipe

GREY = (0.5, 0.5, 0.5)


def vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=3, img_size=32, patch_size=8)


def images(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(256, (num, 3, 32, 32), generator=generator).to(torch.uint8)
    return made, torch.arange(num) % 3


def batches(num: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return batches of 8 made-up images with labels."""
    made, labels = images(8 * num)
    return list(zip(made.split(8), labels.split(8), strict=True))


def trainer(steps: int, **changed) -> Trainer:
    return Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **changed,
    )


def classifier(network: nn.Module, values: Recipe, kind: type[Classifier] = Classifier):
    return kind(network, values, NoMix(), 3, GREY, GREY, 0, 1)


def fit(module: Classifier, data: list, **changed) -> Trainer:
    """Take a step on each batch."""
    made = trainer(len(data), **changed)
    made.fit(module, DataLoader(data, batch_size=None))  # type: ignore[arg-type]
    return made


pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning", "ignore:.*LeafSpec")


def cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def step_down(progress: float) -> float:
    return 0.3 ** sum(progress >= milestone for milestone in (0.07, 0.5, 0.8))


SHARES = {
    "cosine": (CosineRate(), cosine),
    "step": (StepRate([0.07, 0.5, 0.8], 0.3), step_down),
    "constant": (ConstantRate(), lambda progress: 1.0),
}


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize(("steps", "warmup"), [(100, 0), (100, 10), (7, 6), (1, 0), (5000, 250)])
def test_learning_rates_are_the_formula(name: str, steps: int, warmup: int) -> None:
    schedule, share = SHARES[name]
    weights = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.02)]
    optimizer = torch.optim.SGD(weights, 0.1)
    values = recipe(schedule=schedule, steps=steps, warmup_steps=warmup, val_every=steps)
    scheduler = make_scheduler(optimizer, values)
    for step in range(steps):
        expected = share((step - warmup) / (steps - warmup))
        if step < warmup:
            expected = (step + 1) / (warmup + 1)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.1 * expected, 0.02 * expected], abs=1e-9), step
        optimizer.step()
        scheduler.step()


def test_layer_decay_is_the_formula_and_timms() -> None:
    network, values = vit(), recipe(lr=0.1, weight_decay=0.05, layer_decay=0.5)
    names = {parameter: name for name, parameter in network.named_parameters()}
    ours = {
        names[p]: (group["lr"], group["weight_decay"])
        for group in make_optimizer(network, values).param_groups
        for p in group["params"]
    }
    depth, parameters = len(network.blocks), dict(network.named_parameters())
    for name, (lr, decay) in ours.items():
        # Down from the head: the last block with the norm behind it, ..., the embeddings.
        kind = name.split(".")[0]
        down = {"head": 0, "norm": 1}.get(kind, depth + 1)
        if kind == "blocks":
            down = depth - int(name.split(".")[1])
        assert lr == pytest.approx(0.1 * 0.5**down), name
        plain = parameters[name].ndim == 1 or name in ("pos_embed", "cls_token", "reg_token")
        assert decay == (0 if plain else 0.05), name
    theirs = {
        names[p]: (0.1 * group["lr_scale"], group["weight_decay"])
        for group in create_optimizer_v2(
            network, "adamw", 0.1, weight_decay=0.05, layer_decay=0.5
        ).param_groups
        for p in group["params"]
    }
    assert ours.keys() == theirs.keys() == set(names.values())
    assert all(ours[name] == pytest.approx(theirs[name]) for name in ours)


def test_without_layer_decay_the_optimizer_is_as_it_was() -> None:
    network = vit()
    optimizer = make_optimizer(network, recipe(optimizer="sgd", momentum=0.8))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.01]
    for group in optimizer.param_groups:
        stated = [group[key] for key in ("lr", "momentum", "nesterov", "fused")]
        assert stated == [0.01, 0.8, True, True]
    adamw = make_optimizer(network, recipe(momentum=0.8))
    assert adamw.param_groups[0]["betas"] == (0.8, 0.999)


def test_layer_decay_needs_known_layers() -> None:
    with pytest.raises(UserError, match="must be 1 for a Sequential, whose order of layers"):
        make_optimizer(nn.Sequential(nn.Linear(2, 2)), recipe(layer_decay=0.5))


@pytest.mark.parametrize("name", ["lion", "lamb", "rmsprop"])
def test_other_optimizers_are_timms(name: str) -> None:
    ours, theirs = vit(), vit()
    optimizers = (
        make_optimizer(ours, recipe(optimizer=name, weight_decay=0.1)),
        create_optimizer_v2(theirs, name, 0.01, weight_decay=0.1, momentum=0.9),
    )
    for network, optimizer in zip((ours, theirs), optimizers, strict=True):
        torch.manual_seed(1)
        network.eval()(torch.randn(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    states = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["head.weight"], vit().state_dict()["head.weight"])


def test_average_is_the_formula_and_is_what_is_evaluated_and_kept() -> None:
    after: list[dict[str, torch.Tensor]] = []

    class Watched(Classifier):
        def optimizer_step(self, *args, **kwargs):
            super().optimizer_step(*args, **kwargs)
            after.append(copy.deepcopy(self.network.state_dict()))

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    values = recipe(optimizer="sgd", lr=0.1, ema_decay=0.6, warmup_steps=0)
    module = classifier(network, values, Watched)
    fit(module, batches(6))
    expected = dict(after[0])  # the first average is the network after its first step
    for step, state in enumerate(after[1:], 1):
        decay = min(0.6, 1 - (1 + step) ** (-2 / 3))
        for name, value in state.items():
            mean = decay * expected[name] + (1 - decay) * value
            expected[name] = mean if value.is_floating_point() else value
    kept = module.weights()
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, atol=1e-5, rtol=1e-4)
    assert not torch.equal(kept["fc.weight"], module.network.state_dict()["fc.weight"])
    assert not any(p.requires_grad for p in module.average.parameters())
    plain = timm.create_model("test_resnet", num_classes=3).eval()
    plain.load_state_dict(kept)
    shown = images(4)[0]
    with torch.inference_mode():
        assert torch.equal(module.eval()(shown), plain(module.normalise(shown)))
        module.load_weights({name: torch.zeros_like(value) for name, value in kept.items()})
        assert torch.equal(module(shown), torch.zeros(4, 3))


def test_a_checkpoint_restores_average_and_optimizer_exactly(tmp_path) -> None:
    values = recipe(ema_decay=0.9, layer_decay=0.8, schedule=StepRate([0.5], 0.1), warmup_steps=0)
    data = batches(4)
    whole, half, rest = (classifier(vit(), values) for _ in range(3))
    fit(whole, data)
    fit(half, data[:2]).save_checkpoint(tmp_path / "half.ckpt")
    # Lightning counts on within the pass, and takes the loader's batches from its start.
    loader = DataLoader(data[2:] + data[:2], batch_size=None)  # type: ignore[arg-type]
    trainer(4).fit(rest, loader, ckpt_path=str(tmp_path / "half.ckpt"))
    states = whole.state_dict(), rest.state_dict()
    assert states[0].keys() == states[1].keys()
    assert any(name.startswith("average.module.") for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_gradients_are_clipped(optimizer: str, precision: str) -> None:
    norms: list[float] = []

    class Watched(Classifier):
        def optimizer_step(self, *args, **kwargs):
            super().optimizer_step(*args, **kwargs)
            grads = [p.grad for p in self.network.parameters() if p.grad is not None]
            norms.append(float(nn.utils.get_total_norm(grads)))

    values = recipe(optimizer=optimizer, gradient_clip=0.01, precision=precision)
    module = classifier(vit(), values, Watched)
    fit(module, batches(2), gradient_clip_val=values.gradient_clip, precision=precision)
    assert norms == pytest.approx([0.01] * 2, rel=1e-2)


def test_neutral_values_are_the_bits_of_a_plain_loop() -> None:
    data = batches(4)
    module = classifier(vit(), recipe(optimizer="sgd", lr=0.1, warmup_steps=0))
    fit(module, data)
    network = vit()
    plain = tuple(network.no_weight_decay())
    groups = param_groups_weight_decay(network, 0.01, no_weight_decay_list=plain)
    optimizer = torch.optim.SGD(groups, 0.1, momentum=0.9, nesterov=True, fused=True)
    scheduler = CosineAnnealingLR(optimizer, 12)
    for shown, labels in data:
        logits = network((shown.float() / 255 - 0.5) / 0.5)
        targets = F.one_hot(labels, 3).float()
        F.cross_entropy(logits, targets, label_smoothing=0.1).backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    trained = module.network.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in network.state_dict().items())
