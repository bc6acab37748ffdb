"""How many updates the epochs of a configuration take, which fairseq's learning rate schedules ask for beforehand.

python -m salt_fairseq.experiments.updates --config-dir recipes/config --config-name xnli +system=SALT \\
    task.data=DATA model.plm=PLM_DIR
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import math
from pathlib import Path

from fairseq.dataclass.initialize import hydra_init
from fairseq.distributed.utils import infer_init_method
from fairseq.tasks import setup_task
from omegaconf import DictConfig

from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.errors import InputError
from salt_fairseq.experiments.composition import composed
from salt_fairseq.plm import Description
from salt_fairseq.tasks.salt_task import SaltTask


def updates(config: DictConfig) -> int:
    """The updates of ``optimization.max_epoch`` epochs over all streams.

    Each takes ``dataset.batch_size`` in every process, ``optimization.update_freq`` times; the processes are those that
    fairseq would start or join: one for each GPU, or as many as torchrun, Slurm or the configuration say.
    """
    epochs, optimization = config.optimization.max_epoch, config.optimization
    if epochs < 1:
        raise InputError("optimization.max_epoch is 0, so training would have no end: set it to at least 1, or --updates")
    infer_init_method(config.distributed_training)
    task: SaltTask = setup_task(config.task)
    task.description = Description.load(config.model.plm)  # as building the model would set it
    dataset, total = task.load_dataset("train"), 0
    for epoch in range(1, epochs + 1):
        batches = task.get_batch_iterator(
            dataset,
            max_tokens=config.dataset.max_tokens,
            max_sentences=config.dataset.batch_size,
            seed=config.common.seed,
            num_shards=config.distributed_training.distributed_world_size,
            epoch=epoch,  # with --max-tokens, epochs differ in their number of batches
        )
        accumulated = optimization.update_freq[min(epoch, len(optimization.update_freq)) - 1]
        if optimization.skip_remainder_batch:  # of the data, and of the batches that make an update
            total += (len(batches) - 1) // accumulated
        else:
            total += math.ceil(len(batches) / accumulated)
    return total


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config-dir", metavar="DIR", type=Path, required=True, help="folder of the configurations")
    parser.add_argument("--config-name", metavar="NAME", required=True, help="the configuration, without .yaml")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="changes, as for fairseq-hydra-train")
    args = parser.parse_args()
    hydra_init(args.config_name)  # as fairseq-hydra-train does, which these words are for
    print(updates(composed(args.config_dir, args.config_name, args.overrides)))


if __name__ == "__main__":
    main()
