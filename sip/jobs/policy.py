"""The sweeper of `+sweep=policy`: a race on validation, then its winner on fresh seeds.

Hydra's own sweeper starts all jobs of a sweep; this one starts a round's, and chooses by their
runs which ones the next round has.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from sip.config import sweep
from sip.core.component import component, refuse
from sip.core.errors import UserError, ValueRefusedError
from sip.core.paths import SUMMARY
from sip.core.progress import say
from sip.core.ranges import Count
from sip.core.text import counted, text_table
from sip.jobs.lookup import LookUp, look_up
from sip.jobs.race import Block, Race, Score
from sip.jobs.sweeps import list_jobs
from sip.jobs.train_job import TrainJob
from sip.records.read import finished_folders, read_images, read_summary
from sip.records.summary import TrainingSummary

NAME = "hydra_plugins.sip.Racing"  # as `_target_` names it: Hydra takes no plug-in of another place
PLACE = "hydra.sweeper"
LEVEL = 0.95  # of intervals
MIN_FINAL = 3  # seeds, for an interval


class Registration(Callback):
    """Makes the sweeper known to Hydra, just before Hydra looks for it."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Register it."""
        Plugins.instance().class_name_to_class[NAME] = Racing


@component
class Rules:
    """The values of the sweeper.

    Args:
        candidates: Key -> value or values, as typed; each mapping with all its combinations.
        control: Key -> value, as typed.
        rounds: Seeds of a candidate after each round.
        keep: Share of the candidates that goes on to the next round.
        budget: U-Net evaluations of all rounds; None: no bound.
        final: Seeds of the final comparison.
        params: Not used.
    """

    candidates: Annotated[list[dict[str, Any]], Field(min_length=1)]
    control: dict[str, Any]
    rounds: Annotated[list[Count], Field(min_length=1)]
    keep: Annotated[float, Field(gt=0, lt=1)]
    budget: Count | None
    final: Annotated[int, Field(ge=MIN_FINAL)]
    params: dict[str, Any] | None

    def __post_init__(self) -> None:
        """Refuse rounds that do not add seeds."""
        if sorted(set(self.rounds)) != self.rounds:
            raise refuse("rounds", "numbers of seeds, each higher than the one before", self.rounds)

    @property
    def keys(self) -> list[str]:
        """The keys that candidates and control set."""
        return list(dict.fromkeys(key for one in [*self.candidates, self.control] for key in one))


class Racing(Sweeper):
    """Races candidates against each other; the values are those of `Rules`."""

    def __init__(self, **values: Any) -> None:
        plain: Any = OmegaConf.to_container(OmegaConf.create(values))
        try:
            self.rules = Rules(**plain)
        except ValueRefusedError as error:
            raise error.below(PLACE) from None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take over Hydra's context, and make the launcher."""
        self.hydra_context, self.whole = hydra_context, config
        self.own_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Race, and compare the winner with the control; or print what that would take.

        Args:
            arguments: Overrides of the command line, which all jobs share.

        Raises:
            UserError: They have several values, or set what the candidates set.
        """
        self.prepare(arguments)
        if self.whole.plan:
            self._print_plan()
            return
        best = self.race.winner(self._start_round)
        num, seeds = len(self.candidates), counted(len(self.race.scores[best]), "seed")
        say(
            "policy",
            f"winner of {num}: {_words(self.candidates[best])}: validation top-1 "
            f"{100 * self.race.accuracy(best):.1f} over {seeds}, by which it was chosen; "
            f"{self.race.spent:,} U-Net evaluations in all rounds",
        )
        self._compare(self.candidates[best], self.control)

    def prepare(self, arguments: Sequence[str]) -> None:
        """Write out the settings of candidates and control. Raises as `sweep`."""
        rules = self.rules
        self.common = self._shared(arguments)
        self.candidates = [job for one in rules.candidates for job in self._combinations(one)]
        self.control, *more = self._combinations(rules.control)
        if more:
            raise UserError(f"{PLACE}.control: must be one value for each key, got {rules.control}")
        self.experiment = str(self.whole.experiment or "policy")
        self.race = Race(len(self.candidates), rules.rounds, rules.keep, rules.budget)

    def _shared(self, arguments: Sequence[str]) -> list[str]:
        """Return the overrides of the command line that all jobs have."""
        shared = []
        for given in OverridesParser.create().parse_overrides(list(arguments)):
            key = given.get_key_element().lstrip("+~")
            if given.is_sweep_override():
                raise UserError(
                    f"{key}: must be one value with +sweep=policy, got {given.input_line}; write "
                    f"what is to be compared into {PLACE}.candidates"
                )
            if key == "seed" or key in self.rules.keys:
                whose = "rounds" if key == "seed" else "candidates"
                raise UserError(
                    f"{key}: must be left to {PLACE}.{whose} with +sweep=policy, got "
                    f"{given.input_line}; leave it out"
                )
            if key != "experiment":
                shared.append(str(given.input_line))
        return shared

    def _combinations(self, values: Mapping[str, Any]) -> list[list[str]]:
        texts = [f"{key}={value}" for key, value in values.items()]
        axes = {
            given.get_key_element(): list(given.sweep_string_iterator())
            if given.is_sweep_override()
            else [given.get_value_element_as_str()]
            for given in OverridesParser.create().parse_overrides(texts)
        }
        return list_jobs(axes)

    def _job(self, settings: Sequence[str], seed: int, experiment: str) -> list[str]:
        return [*self.common, *settings, f"seed={seed}", f"experiment={experiment}"]

    def _start_round(self, title: str, racing: Sequence[int], seeds: Sequence[int]) -> Block:
        """Look up the jobs of a round; return what starts those of a seed."""
        chosen = [self.candidates[number] for number in racing]
        name = f"{self.experiment}_rounds"
        jobs = [self._job(settings, seed, name) for seed in seeds for settings in chosen]
        num = counted(len(chosen), "candidate")
        found = self._look_up(f"{title}: {num}, {_seeds(seeds)}", jobs)

        def block(seed: int) -> list[Score]:
            first = (seed - seeds[0]) * len(chosen)
            summaries = self._launch(jobs, found, range(first, first + len(chosen)))
            return [_score(folder, summary) for folder, summary in summaries]

        return block

    def _look_up(self, title: str, jobs: Sequence[Sequence[str]]) -> LookUp:
        """Check jobs, say what is ahead, and begin their part of the sweep."""
        found, keys = look_up(self.whole, jobs), [*self.rules.keys, "seed"]
        if found.refused:
            for line in found.lines(jobs, keys):
                print(f"error: {line}", file=sys.stderr, flush=True)
            sys.exit(2)
        say("policy", f"{title}: {counted(len(jobs), 'job')}, {len(found.cached)} cached")
        sweep.end()
        sweep.begin(Path(self.whole.hydra.sweep.dir), keys, len(jobs), found.cached)
        return found

    def _launch(
        self, jobs: Sequence[Sequence[str]], found: LookUp, numbers: range
    ) -> list[tuple[Path, TrainingSummary]]:
        """Carry out some of the jobs; return the folders and summaries of their runs."""
        batch = [jobs[number] for number in numbers]
        for done in self.own_launcher.launch(batch, initial_job_idx=numbers[0]):
            _ = done.return_value  # raises what ended the job
        runs = []
        for number in numbers:
            folder = finished_folders(Path(self.whole.paths.runs), found.fingerprints[number])[0]
            summary = read_summary(folder / SUMMARY)
            assert isinstance(summary, TrainingSummary)
            runs.append((folder, summary))
        return runs

    def _compare(self, winner: list[str], control: list[str]) -> None:
        """Run winner and control on seeds that no round has seen; say how they differ on test."""
        first = self.rules.rounds[-1]
        seeds = range(first, first + self.rules.final)
        jobs = [
            self._job(one, seed, self.experiment) for seed in seeds for one in (winner, control)
        ]
        title = f"winner and control, fresh {_seeds(seeds)}"
        found = self._look_up(title, jobs)
        if found.fingerprints[0] == found.fingerprints[1]:
            say("policy", "the winner is the control itself: there is nothing to compare")
            sweep.end()
            return
        summaries = [summary for _, summary in self._launch(jobs, found, range(len(jobs)))]
        say("policy", verdict_of(_accuracies(summaries[::2]), _accuracies(summaries[1::2])))
        say("policy", f"winner: {_words(winner)}; control: {_words(control)}")
        runs = str(self.whole.paths.runs)
        command = ["python", "-m", "sip.tables", "table=rounds"]
        command += [f"experiment={self.experiment}_rounds"]
        command += [] if runs == "runs" else [f"runs={runs}"]
        say("policy", f"the rounds, which explore: {shlex.join(command)}")

    def _print_plan(self) -> None:
        """Print rounds, runs and budgets."""
        from hydra import compose

        from sip.pipeline.plan import most_evaluations

        costs = []
        for settings in [*self.candidates, self.control]:
            job = self._job(settings, 0, self.experiment)
            run = TrainJob(compose(self.whole.hydra.job.config_name, job))
            samples = run.dataset.samples("train")
            costs.append(most_evaluations(run.offline, samples) if run.offline else 0)
        *of_candidates, of_control = costs
        most = sorted(of_candidates, reverse=True)
        rows, total, runs = {}, 0, 0
        for number, (num, seeds) in enumerate(self.race.sizes(), 1):
            evaluations = sum(most[:num]) * len(seeds)
            total, runs = total + evaluations, runs + num * len(seeds)
            rows[f"round {number}"] = (
                f"{counted(num, 'candidate')}, {_seeds(seeds)}: "
                f"{counted(num * len(seeds), 'run')}, at most {evaluations:,} U-Net evaluations"
            )
        budget = "none" if self.rules.budget is None else f"{self.rules.budget:,}"
        final = self.rules.final
        rows["budget"] = f"{budget} U-Net evaluations for all rounds, which take at most {total:,}"
        rows["final comparison"] = (
            f"winner and control, {final} fresh seeds: {2 * final} runs, at most "
            f"{(most[0] + of_control) * final:,} U-Net evaluations"
        )
        rows["runs"] = f"at most {runs + 2 * final}"
        print(text_table(rows))
        sweep.end()


def _score(folder: Path, summary: TrainingSummary) -> Score:
    columns = ["id", "kind", "unet_evaluations"]
    rows = read_images(folder, columns=columns)
    made = [row for row in rows if row["kind"] != "real"]
    by = summary.generator
    return Score(
        summary.val_accuracy, {f"{by} {row['id']}": row["unet_evaluations"] for row in made}
    )


def _accuracies(summaries: Sequence[TrainingSummary]) -> list[float]:
    return [100 * summary.test_accuracy for summary in summaries]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"


def _words(settings: Sequence[str]) -> str:
    return " ".join(settings)


def verdict_of(winner: Sequence[float], control: Sequence[float]) -> str:
    """Return in one line how the winner differs from the control, paired by seed.

    Args:
        winner, control: Test accuracies in percent, seed by seed.
    """
    from scipy import stats

    num = len(winner)
    means = sum(winner) / num, sum(control) / num
    line = f"test top-1 on {num} fresh seeds: winner {means[0]:.2f}, control {means[1]:.2f}, "
    differences = [w - c for w, c in zip(winner, control, strict=True)]
    gain = sum(differences) / num
    if max(differences) - min(differences) < 1e-9:  # no spread: t is 0/0 or infinite
        return f"{line}paired difference {gain:+.2f} with every seed"
    result = stats.ttest_1samp(differences, 0)
    low, high = result.confidence_interval(LEVEL)
    line += f"paired difference {gain:+.2f} ± {(high - low) / 2:.2f} points (95 %, "
    line += f"p = {result.pvalue:.2g}): "
    if low > 0:
        return line + "the winner is better"
    return line + ("the control is better" if high < 0 else "it cannot be told which is better")
