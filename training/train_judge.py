"""Train the judge: a classifier on pixels of the training split, for evaluate.py --judge FILE.

    python training/train_judge.py --config training/configs/faces128/judge.yaml

It learns every 0/1 column of the labels, or those named, and remembers which pictures it saw.
"""

from dataclasses import dataclass, field, replace

from training.config import parse
from training.data import DataConfig, load_pictures, plain_squares
from training.evaluation.judge import JudgeConfig, load_judge
from training.loop import run_script


@dataclass(frozen=True)
class JudgeTrainConfig:
    """The pictures to learn from (`data.split`) and to be tested on, and how."""

    data: DataConfig
    test_split: str = "test"
    judge: JudgeConfig = field(default_factory=JudgeConfig)


def main() -> None:
    """The command line."""
    config = parse(JudgeTrainConfig, __doc__)
    if config.test_split in (config.data.split or config.test_split).split("+"):
        raise ValueError(
            f"the judge may not learn from the test split {config.test_split!r}: name another in "
            "data.split"
        )
    test = load_pictures(replace(config.data, split=config.test_split), config.judge.picture_size)
    judge = load_judge(config.judge, config.data, test.rows)
    scores = judge.scores(plain_squares(test, config.judge.picture_size), test.rows)
    for name, score in scores.items():
        print(f"{name:24} AUROC {score:.4f}")


if __name__ == "__main__":
    run_script(main)
