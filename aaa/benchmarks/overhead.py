"""The trainer's step against a bare one: what logging, progress, signals and watches cost."""

from statistics import median
from typing import Any

from omegaconf import DictConfig

from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.benchmarks.subject import Subject, make_subject, quiet_tracker
from aaa.tracking.tracker import Tracker
from aaa.training.progress import Progress
from aaa.training.timing import seconds


class Overhead:
    """Alternates rounds of bare steps and of the trainer's, with logging, EMA and progress on.

    Args:
        rounds: of each.
        steps: of a round.
    """

    def __init__(self, rounds: Count, steps: Count) -> None:
        self.rounds, self.steps = rounds, steps

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        subject = make_subject(config, device, precision=config.trainer.precision, compiled=config.trainer.compile)
        times: dict[str, list[float]] = {"bare loop": [], "trainer": []}
        with quiet_tracker() as tracker:
            self._trainer_seconds(subject, config, tracker)  # warm-up
            for _ in range(self.rounds):
                times["bare loop"].append(self._bare_seconds(subject, config))
                times["trainer"].append(self._trainer_seconds(subject, config, tracker))
        subject.close()
        bare, ours = (median(values) / self.steps for values in times.values())
        rows: list[dict[str, Any]] = [
            {"loop": name, "step ms": 1000 * median(values) / self.steps, "least ms": 1000 * min(values) / self.steps}
            for name, values in times.items()
        ]
        note = f"overhead: {100 * (ours / bare - 1):.1f}% of a step of {config.trainer.batch_size} pictures"
        return Report(f"{config.model.name}: the trainer beside a bare loop", rows, ("loop", "step ms"), [note])

    def _bare_seconds(self, subject: Subject, config: DictConfig) -> float:
        def steps() -> None:
            for number in range(self.steps):
                subject.bare_step(config.trainer.batch_size, number)

        return seconds(steps, subject.accelerator.device)

    def _trainer_seconds(self, subject: Subject, config: DictConfig, tracker: Tracker) -> float:
        def steps() -> None:
            subject.train(config, Progress(), self.steps, config.trainer.batch_size, tracker.log)

        return seconds(steps, subject.accelerator.device)
