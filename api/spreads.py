"""One number per replicate, and what they have in common; the same for the difference of two arms."""

import math
import statistics
from collections.abc import Sequence

from pydantic import BaseModel, Field

CONFIDENCE = 0.95


class Spread(BaseModel):
    """One number per replicate, and what they have in common; `std` is the sample's, 0 for one replicate."""

    mean: float
    min: float
    max: float
    std: float
    replicates: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        least, most = min(values), max(values)
        return cls(
            mean=min(max(statistics.fmean(values), least), most),  # rounding may leave the range of equal values
            min=least,
            max=most,
            std=statistics.stdev(values) if len(values) > 1 else 0.0,
            replicates=list(values),
        )


class Interval(BaseModel):
    """From where to where."""

    low: float
    high: float


class Difference(Spread):
    """With batch normalization minus without, replicate by replicate: both started from the same weights."""

    confidence_interval_95: Interval | None = Field(
        description="Where the mean difference lies, with 95 % confidence, if differences spread normally over seeds: "
        "Student's t for pairs. null for one replicate, which says nothing about others."
    )

    @classmethod
    def between(cls, with_batch_norm: Spread, without_batch_norm: Spread) -> "Difference":
        """Return the paired difference of two spreads over the same replicates."""
        pairs = zip(with_batch_norm.replicates, without_batch_norm.replicates, strict=True)
        spread = Spread.of([with_ - without for with_, without in pairs])
        return cls(**dict(spread), confidence_interval_95=_student_interval(spread))


def _student_interval(spread: Spread) -> Interval | None:
    """Return mean ± t · std / √n with the quantile t of Student's distribution for n − 1 degrees of freedom."""
    n = len(spread.replicates)
    if n < 2:
        return None
    from scipy.special import stdtrit  # half a second and 27 MB: not before there are replicates

    reach = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * spread.std / math.sqrt(n)
    return Interval(low=spread.mean - reach, high=spread.mean + reach)
