"""The bar of a training shows what was measured last."""

from types import SimpleNamespace

import torch

from sip.classifier.callbacks import Bar, KeepBest


def test_the_bar_has_the_last_accuracy_and_the_best_one() -> None:
    best = KeepBest()
    bar = Bar(best, every=10)
    trainer = SimpleNamespace(max_steps=30, global_step=0, callback_metrics={})
    bar.on_train_start(trainer, None)
    bar.on_train_batch_end(trainer, None, {"loss": 0.5})
    assert bar.shown == {"loss": "0.500"}
    for step, accuracy, reached in ((7, 0.75, 0.75), (14, 0.25, 0.75)):  # between looks at the loss
        trainer.global_step, best.accuracy = step, reached
        trainer.callback_metrics["val/accuracy"] = torch.tensor(accuracy)
        bar.on_validation_end(trainer, None)
        assert bar.shown == {"loss": "0.500", "val": f"{accuracy:.3f}", "best": "0.750"}
        assert f"val={accuracy:.3f}, best=0.750" in str(bar.bar)
    bar.on_train_end(trainer, None)
