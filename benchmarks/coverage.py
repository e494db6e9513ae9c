"""How often the 95% intervals of reports cover the truth, by simulation, as a Markdown table.

    python -m benchmarks.coverage [TRIALS]

Scores are as heavy-tailed as CIDEr-D's: difficulties of images are skewed, and most captions are the same for all
methods and seeds, the others far apart. ``seeds`` are those of a method, or of both sides of a difference; where a side
has one, the truth is that of this seed. The columns tell how much seeds vary, in standard errors over images of the
number in question. After the slash: with the degrees of freedom of Satterthwaite (1946). The last table is of families
of comparisons: how often any is wrong, with and without Holm's correction, and how often a true difference is found.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit

from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.statistics.estimates import difference, estimate, image_variance, seed_spread
from rlcap.reporting.statistics.resampling import Runs, image_resamples, mean_runs

RESAMPLES = 1000
TOGETHER = 200  # trials that share their resamples
SPREAD = (0.0, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Setting:
    """Where scores come from: standard deviations of what single images, methods and seeds add to them.

    Attributes:
        seeds: of each method.
        images: how many all of them caption.
        own: standard deviation of what an image adds to one method.
        residual: standard deviation of what an image adds to one seed.
        seed: standard deviation of what a seed adds to all images.
    """

    seeds: tuple[int, ...]
    images: int
    own: float
    residual: float
    seed: float = 0.0

    @property
    def error(self) -> float:
        """The standard error over images: of the mean of one method, of the difference of two."""
        variance = sum(self.own**2 + self.residual**2 / seeds for seeds in self.seeds)
        return float(np.sqrt((variance + (1.2 if len(self.seeds) == 1 else 0.0)) / self.images))


def sparse(rng: np.random.Generator, *shape: int) -> Float64[np.ndarray, "..."]:
    """Residuals of unit variance and kurtosis 20, as between two seeds: seven in ten are zero."""
    return rng.laplace(scale=np.sqrt(0.5 / 0.3), size=shape) * (rng.random(shape) < 0.3)


def trials(setting: Setting, count: int, rng: np.random.Generator) -> Iterator[tuple[list[Runs], list[float]]]:
    """The runs of each method and its true mean, of equal merit, in so many trials."""
    for start in range(0, count, TOGETHER):
        some = min(TOGETHER, count - start)
        difficulty = rng.gamma(1.2, size=(some, 1, setting.images))
        scores, true = [], []
        for seeds in setting.seeds:
            offsets = setting.seed * rng.normal(size=(some, seeds, 1))
            image = difficulty + setting.own * sparse(rng, some, 1, setting.images)
            scores.append(image + offsets + setting.residual * sparse(rng, some, seeds, setting.images))
            true.append(1.2 + (offsets[:, 0, 0] if seeds == 1 else np.zeros(some)))
        blocks = image_resamples(setting.images, RESAMPLES, int(rng.integers(2**32)))
        runs = mean_runs(np.concatenate(scores, axis=1).reshape(-1, setting.images), blocks).split(setting.seeds * some)
        for trial in range(some):
            methods = len(setting.seeds)
            yield runs[trial * methods : (trial + 1) * methods], [float(each[trial]) for each in true]


def satterthwaite(runs: Sequence[Runs]) -> float:
    """The half width of the interval with Satterthwaite's degrees of freedom, each part weighted by its square."""
    means = [each.resampled.mean(axis=0) for each in runs if each.resampled is not None]
    part = image_variance(means[0] - means[1] if len(means) == 2 else means[0], runs[0].images)
    spreads = [spread for spread in map(seed_spread, runs) if spread is not None]
    variance = part + sum(spread.own for spread in spreads)
    squares = [spread.total**2 / spread.degrees for spread in spreads if spread.own > 0]
    degrees = variance**2 / (part**2 / (runs[0].images - 1) + sum(squares))
    return float(stdtrit(degrees, 0.975) * np.sqrt(variance))


def coverage(setting: Setting, count: int, rng: np.random.Generator) -> tuple[float, float]:
    """How often the interval covers the truth: as reported, and with Satterthwaite's degrees of freedom."""
    covered = np.zeros(2)
    for runs, true in trials(setting, count, rng):
        found = estimate(runs[0]) if len(runs) == 1 else difference(runs[0], runs[1])
        truth = true[0] if len(runs) == 1 else true[0] - true[1]
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high, abs(found.value - truth) <= satterthwaite(runs)
    return float(covered[0] / count), float(covered[1] / count)


def families(setting: Setting, count: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """How often any method seems to differ from the first: uncorrected, corrected; and how often a better one is found.

    The better one is the second, by four standard errors over images; the first two numbers leave it as it is.
    """
    found = np.zeros(3)
    pair = replace(setting, seeds=setting.seeds[:2])
    gain = 4 * float(np.hypot(pair.error, setting.seed * np.sqrt(2 / setting.seeds[0])))
    for (first, second, *others), _ in trials(setting, count, rng):
        better = Runs(second.values + gain, second.resampled, second.images)
        p = [difference(each, first).p for each in (second, better, *others)]
        same = [p[0], *p[2:]]
        corrected = holm(same)
        found += (
            any(each is not None and each < 0.05 for each in same),
            any(each is not None and each < 0.05 for each in corrected),
            (holm(p[1:])[0] or 0.0) < 0.05,
        )
    return float(found[0] / count), float(found[1] / count), float(found[2] / count)


def main() -> None:
    """Print the tables."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    rng = np.random.default_rng(0)
    print(f"Coverage in {count} trials each, standard error {100 * np.sqrt(0.95 * 0.05 / count):.2f}%\n")
    print(f"| number | seeds | images | own, residual | {' | '.join(f'seeds {spread:g}' for spread in SPREAD)} |")
    print("|---" * (4 + len(SPREAD)) + "|")
    for seeds in ((1,), (2,), (3,), (5,), (1, 1), (2, 2), (3, 3), (5, 5), (3, 1)):
        for images in (60, 400):
            for own, residual in ((0.4, 0.1), (0.1, 0.5)):
                setting = Setting(seeds, images, own, residual)
                settings = [replace(setting, seed=spread * setting.error) for spread in SPREAD]
                rates = [coverage(each, count, rng) for each in settings]
                cells = " | ".join(f"{100 * ours:.1f} / {100 * theirs:.1f}" for ours, theirs in rates)
                name = "mean" if len(seeds) == 1 else "difference"
                row = f"{' and '.join(map(str, seeds))} | {images} | {own}, {residual}"
                print(f"| {name} | {row} | {cells} |", flush=True)
    print("\n| 8 methods of | images | seeds vary | any wrong | after Holm | better one found after Holm |")
    print("|---" * 6 + "|")
    for each in (1, 3, 5):
        for spread in (0.0, 1.0) if each > 1 else (0.0,):
            setting = Setting((each,) * 8, 200, 0.3, 0.3)
            setting = replace(setting, seed=spread * replace(setting, seeds=(each, each)).error)
            cells = " | ".join(f"{100 * rate:.1f}" for rate in families(setting, count, rng))
            print(f"| {each} seeds | 200 | {spread:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
