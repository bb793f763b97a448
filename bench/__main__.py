"""`python -m bench`: every measurement, one after the other, as tables; `python -m bench training` for one of them."""

import sys

from bench import (
    api,
    claims,
    drawn_digits,
    flood,
    fuzz,
    growth,
    kinds,
    overhead,
    points,
    predictions,
    replicates,
    safety,
    service,
    streams,
    training,
    values,
    volume,
)

MEASUREMENTS = {
    "training": training.main,
    "replicates": replicates.main,
    "values": values.main,
    "growth": growth.main,
    "kinds": kinds.main,
    "digits": drawn_digits.main,
    "safety": safety.main,
    "service": service.main,
    "overhead": overhead.main,
    "api": api.main,
    "predictions": predictions.main,
    "volume": volume.main,
    "claims": claims.main,
    "points": points.main,
    "flood": flood.main,
    "streams": streams.main,
    "fuzz": fuzz.main,
}


def main(names: list[str]) -> None:
    """Run the named measurements, all of them if none is named."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        sys.exit(f"There is no measurement {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}.")
    for name in names or MEASUREMENTS:
        MEASUREMENTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
