"""What ``salt train`` chooses for settings that are not given: a pure function of the sizes of data and PLM.

The paper's two experiments are two points of every rule; between and below them, small data takes more epochs, a warm-up and
a steadier start (Mosbach et al., 2021, arXiv:2006.04884).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

PAWSX_EXAMPLES, PAWSX_EPOCHS = 49_401, 3  # with 392,702 examples, XNLI's, the square root gives the paper's one epoch, too
MOST_EPOCHS = 10
SMALL = 10_000  # examples; below, every epoch draws one stream, and the token embeddings stay as they are
FEW = 2_000  # examples; below, a batch is half of the paper's 32, so that there are enough updates
MOST_WARMUP = 500  # updates
MOST_VALIDATIONS, LARGEST_INTERVAL = 10, 1000  # the paper validates XNLI every 1,000 updates
FORWARD = 3  # a training step costs as much as so many forward passes
NARROW = 512  # dimensions; below, the quickstart's rate is better than that of base-size models


class Chosen(NamedTuple):
    value: Any
    reason: str


@dataclass(frozen=True)
class Size:
    """What the defaults depend on."""

    examples: int  # in train
    validation: int  # in valid
    streams: int  # of the system, its unchanged instances included
    dim: int  # width of the PLM


def defaults(size: Size, given: Mapping[str, Any]) -> dict[str, Chosen]:
    """Every setting of the training that is None in ``given``, from ``size`` and from what is given, with its reason."""
    chosen: dict[str, Chosen] = {}

    def choose(name: str, value: Any, reason: str) -> Any:
        if given.get(name) is None:
            chosen[name] = Chosen(value, reason)
            return value
        return given[name]

    n, is_small = size.examples, size.examples < SMALL
    trained = f"{n:,} training examples"
    batch = choose("batch_size", 16 if n < FEW else 32, f"{trained}; 32 in the paper")
    one_stream = choose(
        "one_stream",
        is_small,
        f"{trained}: {'each epoch draws one variant of an example' if is_small else 'each epoch reads all variants'}",
    )
    read = n if one_stream else n * size.streams
    updates = given.get("updates")
    if updates is None:
        epochs = choose("epochs", epochs_of(n), f"{trained}; the paper has 3 for 49,401 and 1 for 392,702")
        updates = choose(
            "updates", epochs * math.ceil(read / batch), f"{epochs} epochs of {read:,} examples, {batch} at a time"
        )
    choose("learning_rate", 1e-4 if size.dim < NARROW else 2e-5, f"a PLM of {size.dim} dimensions; 2e-5 in the paper")
    choose("warmup_updates", min(updates // 10, MOST_WARMUP), f"a tenth of the updates, at most {MOST_WARMUP}")
    interval = validation_interval(updates, batch, size.validation)
    choose("validation_interval", interval, f"updates; {size.validation:,} validation examples are read each time")
    frozen = "the PLM's token embeddings stay as they are" if is_small else "the token embeddings are trained, too"
    choose("freeze_embeddings", is_small, f"{trained}: {frozen}")
    return chosen


def epochs_of(examples: int) -> int:
    """Epochs fall with the square root of the number of examples."""
    return min(max(round(PAWSX_EPOCHS * math.sqrt(PAWSX_EXAMPLES / examples)), 1), MOST_EPOCHS)


def validation_interval(updates: int, batch: int, validation: int) -> int:
    """Updates between validations: at most :data:`MOST_VALIDATIONS` in a training, and fewer, down to two, if they would
    take more than a quarter of its time."""
    affordable = updates * batch * FORWARD // (4 * max(validation, 1))
    validations = min(max(affordable, 2), MOST_VALIDATIONS)
    return min(max(updates // validations, 1), LARGEST_INTERVAL)
