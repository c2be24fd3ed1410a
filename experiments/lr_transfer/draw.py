"""The best learning rate of each size over seeds, and what it costs to keep the base's: `python .../draw.py`.

Draws `rates.png` and prints the tables of the README from the tables of runs beside it, which are what
`python -m aaa.compare FOLDER... --csv FILE` writes. Each is computed of every seed by itself and then told as the mean
over seeds with the 95% interval of Student's t:

- the best rate: the vertex of a parabola through the rate of least loss and its neighbours, over log2 of the rate;
- most over least of a row's best rates: at least 1, and above it by the seeds' noise alone;
- the power of the size that the best rate grows with: least squares of log2 of the rate over log2 of the size. 0 is a
  rate that stays;
- what keeping the base's rate costs: loss at the rate that is best at the base, less that at the best rate of the size,
  of the same seed. Which rates these are is told by the mean over seeds: the least loss of each would be low by luck;
- what mup gains or costs where each has its own best rate, of the same seed.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, linear_regression, stdev
from typing import NamedTuple

import matplotlib as mpl
from scipy import stats

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
RATE, LOSS = "optimizer.learning_rate", "val/loss"
OPTIMIZERS = {"MuonWithAdamW": "Muon", "adamw": "AdamW"}
SIZES = {"width": "model.dim", "depth": "model.depth"}
BASES = {"width": 128, "depth": 2}
PARAMETRIZATIONS = ("standard", "mup")
COLORS = {"standard": "#d1495b", "mup": "#00798c"}
CONFIDENCE = 0.95
COST_TICKS = (-0.1, -0.01, 0, 0.01, 0.1, 1)

# Of one optimizer and parametrization: loss by size, seed and rate.
Losses = dict[int, dict[int, dict[float, float]]]
# Those by optimizer and parametrization.
Sweep = dict[tuple[str, str], Losses]


class Interval(NamedTuple):
    """A mean over seeds and the ends of the interval that holds the true one; NaN of one seed."""

    mean: float
    low: float
    high: float

    def told(self, form: Callable[[float], str]) -> str:
        """Each number as `form` writes it."""
        return form(self.mean) + ("" if math.isnan(self.low) else f" [{form(self.low)}, {form(self.high)}]")


class Best(NamedTuple):
    """log2 of the best rate, and whether it is 0, inside what was tried, -1 or 1, at its lower or upper end."""

    log_rate: float
    end: int


def interval(values: Sequence[float]) -> Interval:
    """Mean of a value a seed with its 95% interval."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def read(path: Path, size: str) -> Sweep:
    """The losses in a table whose column `size` says how large a model is, of the seeds that every size has."""
    sweep: Sweep = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row[LOSS]:
                optimizer = OPTIMIZERS[row["optimizer._target_"].rpartition(".")[2]]
                of_size = sweep[optimizer, row["model.parametrization"]][int(row[size])]
                of_size[int(row["seed"])][float(row[RATE])] = float(row[LOSS])
    return {key: of_whole_seeds(losses) for key, losses in sweep.items()}


def of_whole_seeds(losses: Losses) -> Losses:
    """These losses without seeds that some size was not trained with."""
    seeds = sorted(set.intersection(*(set(of_size) for of_size in losses.values())))
    return {size: {seed: losses[size][seed] for seed in seeds} for size in sorted(losses)}


def best(losses: dict[float, float]) -> Best:
    """The best rate of a seed, from its loss by rate."""
    rate = min(losses, key=losses.__getitem__)
    if rate / 2 not in losses or 2 * rate not in losses:
        return Best(math.log2(rate), -1 if rate / 2 not in losses else 1)
    left, low, right = losses[rate / 2], losses[rate], losses[2 * rate]
    return Best(math.log2(rate) + (left - right) / (2 * (left - 2 * low + right)), 0)


def seeds_of(losses: Losses) -> list[int]:
    """The seeds of a sweep."""
    return list(next(iter(losses.values())))


def mean_by_rate(of_size: dict[int, dict[float, float]]) -> dict[float, Interval]:
    """Loss over seeds by rate, of the rates that every seed has."""
    rates = sorted(set.intersection(*(set(of_seed) for of_seed in of_size.values())))
    return {rate: interval([of_seed[rate] for of_seed in of_size.values()]) for rate in rates}


def best_cell(of_size: dict[int, dict[float, float]]) -> str:
    """The best rate over seeds, in thousandths; at most or at least that where some seed's is at an end."""
    found = [best(of_seed) for of_seed in of_size.values()]
    sign = {-1: "at most ", 0: "", 1: "at least "}[next((one.end for one in found if one.end), 0)]
    return sign + interval([one.log_rate for one in found]).told(lambda log_rate: f"{1000 * 2**log_rate:.2g}")


def spread_cell(losses: Losses) -> str:
    """Most over least of the best rates over sizes."""
    ratios, bounded = [], False
    for seed in seeds_of(losses):
        found = [best(of_size[seed]) for of_size in losses.values()]
        ratios.append(max(found).log_rate - min(found).log_rate)
        bounded = bounded or any(one.end for one in found)
    return ("at least " if bounded else "") + interval(ratios).told(lambda log_ratio: f"{2 ** max(log_ratio, 0):.1f}")


def power_cell(losses: Losses) -> str:
    """The power of the size that the best rate grows with."""
    sizes = sorted(losses)
    logs = [math.log2(size) for size in sizes]
    seeds = seeds_of(losses)
    slopes = [linear_regression(logs, [best(losses[size][seed]).log_rate for size in sizes]).slope for seed in seeds]
    return interval(slopes).told(lambda slope: f"{slope:+.2f}")


def steps_cell(losses: Losses) -> str:
    """How many steps of the grid lie between the highest and the lowest of the best rates of the grid, by seed."""
    moved = []
    for seed in seeds_of(losses):
        rates = [min(of_size[seed], key=of_size[seed].__getitem__) for of_size in losses.values()]
        moved.append(round(math.log2(max(rates) / min(rates))))
    return ", ".join(map(str, moved))


def cost(losses: Losses, size: int, base: int) -> tuple[float, float, Interval]:
    """The base's best rate, that of a size, and what the first costs there, over the seeds that have both."""
    kept, own = (min(means, key=means.__getitem__) for means in (mean_by_rate(losses[at]) for at in (base, size)))
    paired = [of_seed[kept] - of_seed[own] for of_seed in losses[size].values() if kept in of_seed and own in of_seed]
    return kept, own, interval(paired)


def cost_cell(losses: Losses, size: int, base: int) -> str:
    """What keeping the base's rate costs at a size, after the rate that is best there."""
    kept, own, paid = cost(losses, size, base)
    return f"{1000 * own:g}: 0" if kept == own else f"{1000 * own:g}: {paid.told(lambda loss: f'{loss:+.4f}')}"


def gain_cell(standard: dict[int, dict[float, float]], mup: dict[int, dict[float, float]]) -> str:
    """Loss of a size with mup less that without, each at its own best rate, of the same seeds."""
    at_best = []
    for of_size in (standard, mup):
        means = mean_by_rate(of_size)
        rate = min(means, key=means.__getitem__)
        at_best.append({seed: of_seed[rate] for seed, of_seed in of_size.items() if rate in of_seed})
    paired = [at_best[1][seed] - loss for seed, loss in at_best[0].items() if seed in at_best[1]]
    return interval(paired).told(lambda loss: f"{loss:+.4f}") if any(paired) else "0"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))


def tables(sweeps: dict[str, Sweep]) -> str:
    """The tables of the README: for each sweep the best rates, then what it costs to keep the base's."""
    told = []
    for over, sweep in sweeps.items():
        rates, costs, sizes = [], [], sorted(sweep["Muon", "mup"])
        for optimizer in OPTIMIZERS.values():
            for parametrization in PARAMETRIZATIONS:
                losses = sweep[optimizer, parametrization]
                moves = [spread_cell(losses), power_cell(losses), steps_cell(losses)]
                rates.append([optimizer, parametrization, *(best_cell(losses[size]) for size in sizes), *moves])
                kept = f"{1000 * cost(losses, sizes[-1], BASES[over])[0]:g}"
                paid = [cost_cell(losses, size, BASES[over]) for size in sizes]
                costs.append([optimizer, parametrization, kept, *paid])
            both = [sweep[optimizer, parametrization] for parametrization in PARAMETRIZATIONS]
            gains = [gain_cell(*(losses[size] for losses in both)) for size in sizes]
            costs.append([optimizer, "mup less standard, both at their best", "", *gains])
        names = [f"{over} {size}" for size in sizes]
        header = ["", "", *names, "most over least", f"power of the {over}", "steps of the grid, by seed"]
        told += [table(header, rates), table(["", "", "kept", *names], costs)]
    return "\n\n".join(told)


def draw_losses(panel: Axes, losses: Losses, over: str) -> None:
    """A thick line a size, the mean over the seeds of every rate that all have; thin ones of each seed.

    The best rate is ringed.
    """
    for place, size in enumerate(sorted(losses)):
        color = plt.get_cmap("viridis")(0.28 * place)
        for of_seed in losses[size].values():
            rates = sorted(of_seed)
            panel.plot(rates, [of_seed[rate] for rate in rates], color=color, linewidth=0.8, alpha=0.5)
        means = {rate: told.mean for rate, told in mean_by_rate(losses[size]).items()}
        panel.plot(list(means), list(means.values()), marker=".", color=color, linewidth=2, label=f"{over} {size}")
        lowest = min(means, key=means.__getitem__)
        panel.plot([lowest], [means[lowest]], marker="o", markersize=10, fillstyle="none", color=color)


def draw_intervals(panel: Axes, told: dict[int, Interval], parametrization: str) -> None:
    """A line over sizes with a bar a size from end to end of its interval; standard to the left, mup to the right."""
    shift = {"standard": 0.96, "mup": 1.04}[parametrization]
    means = [one.mean for one in told.values()]
    ends = [
        [0.0 if math.isnan(one.low) else distance(one) for one in told.values()]
        for distance in (lambda one: one.mean - one.low, lambda one: one.high - one.mean)
    ]
    shape = {"marker": "o", "markersize": 5, "capsize": 3, "linewidth": 1.8, "label": parametrization}
    panel.errorbar([shift * size for size in told], means, yerr=ends, color=COLORS[parametrization], **shape)


def draw_best(panel: Axes, losses: Losses, parametrization: str) -> None:
    """log2 of the best rate by size, and of each seed a dot; a triangle where it is at an end of what was tried."""
    found = {size: [best(of_seed) for of_seed in losses[size].values()] for size in sorted(losses)}
    told = {size: interval([one.log_rate for one in of_size]) for size, of_size in found.items()}
    draw_intervals(panel, told, parametrization)
    for size, of_size in found.items():
        for one in of_size:
            place = size * {"standard": 0.91, "mup": 1.09}[parametrization]
            shape = {"marker": {-1: "v", 0: "o", 1: "^"}[one.end], "markersize": 3.5, "alpha": 0.55}
            panel.plot([place], [one.log_rate], color=COLORS[parametrization], linestyle="none", **shape)


def draw_costs(panel: Axes, losses: Losses, parametrization: str, base: int) -> None:
    """What keeping the base's best rate costs, by size."""
    told = {size: cost(losses, size, base)[2] for size in sorted(losses)}
    draw_intervals(panel, told, parametrization)


def label_rates(panel: Axes, axis: str, rates: Sequence[float], places: Sequence[float]) -> None:
    """Ticks at the rates of the grid and nowhere else."""
    setter = panel.set_xticks if axis == "x" else panel.set_yticks
    setter(places, [f"{1000 * rate:.3g}" for rate in rates])
    panel.minorticks_off()


def draw_row(row: Sequence[Axes], of_optimizer: dict[str, Losses], optimizer: str, over: str) -> None:
    """The panels of a sweep and an optimizer: losses standard and with mup, the best rates and the costs of both."""
    found = [of_seed for losses in of_optimizer.values() for size in losses.values() for of_seed in size.values()]
    rates = sorted({rate for losses in found for rate in losses})
    sizes = sorted(of_optimizer["mup"])
    lowest = min(loss for losses in found for loss in losses.values())
    for panel, (parametrization, losses) in zip(row, of_optimizer.items(), strict=False):
        draw_losses(panel, losses, over)
        panel.set(xscale="log", xlabel="learning rate, thousandths", ylabel="validation loss")
        top = 1.02 + 0.16 * (1.02 - lowest)
        panel.set(title=f"{optimizer}, {parametrization}", xlim=(rates[0] / 1.15, rates[-1] * 1.15))
        panel.set(ylim=(lowest - 0.03 * (top - lowest), top))
        label_rates(panel, "x", rates, rates)
        panel.legend(fontsize="x-small", loc="upper center", ncol=4, columnspacing=1, handlelength=1.2)
        draw_best(row[2], losses, parametrization)
        draw_costs(row[3], losses, parametrization, BASES[over])
    label_rates(row[2], "y", rates, [math.log2(rate) for rate in rates])
    row[2].set(title=f"{optimizer}: best rate by {over}", ylabel="best learning rate, thousandths")
    row[2].set(ylim=(math.log2(rates[0] / 1.3), math.log2(rates[-1] * 1.3)))
    row[3].set(title=f"{optimizer}: cost of the base's rate", ylabel="loss above that at the best rate")
    row[3].set_yscale("symlog", linthresh=0.01, linscale=0.7)
    row[3].set_yticks(COST_TICKS, [f"{tick:g}" for tick in COST_TICKS])
    for panel in row[2:]:
        panel.set(xscale="log", xlabel=over)
        panel.set_xticks(sizes, list(map(str, sizes)))
        panel.minorticks_off()
        panel.legend(fontsize="small")
    for panel in row:
        panel.grid(alpha=0.3)


def draw(sweeps: dict[str, Sweep]) -> None:
    """A row of panels for each sweep and optimizer."""
    wanted = [(over, sweep, optimizer) for over, sweep in sweeps.items() for optimizer in OPTIMIZERS.values()]
    size = (18, 3.5 * len(wanted))
    figure, panels = plt.subplots(len(wanted), 4, figsize=size, squeeze=False, constrained_layout=True)
    for row, (over, sweep, optimizer) in zip(panels, wanted, strict=True):
        draw_row(row, {name: sweep[optimizer, name] for name in PARAMETRIZATIONS}, optimizer, over)
    figure.savefig(HERE / "rates.png", dpi=85)


if __name__ == "__main__":
    read_sweeps = {over: read(HERE / f"{over}.csv", size) for over, size in SIZES.items()}
    draw(read_sweeps)
    print(tables(read_sweeps))
