"""Models of churn for tests: trained once a process."""

from datetime import UTC, datetime
from functools import cache

from lakehouse.products.churn.model.customers import generated, of_file
from tests.conftest import DATA

FILE = DATA / "telco_customer_churn.csv.gz"
MADE = datetime(2026, 11, 20, 12, tzinfo=UTC)


def train(customers, seed):
    """A model of them, by what takes seconds to load."""
    from lakehouse.products.churn.model import training  # noqa: PLC0415  # see above

    return training.train(customers, seed=seed, now=MADE)


@cache
def given():
    """The real customers where they are, else generated ones."""
    return of_file(FILE, MADE) if FILE.is_file() else generated(7000, 7, MADE)


@cache
def trained():
    """A model of :func:`given`."""
    return train(given(), seed=7)


@cache
def small(seed=1):
    """A model of few customers, made in seconds; another seed, another model."""
    return train(generated(400, seed, MADE), seed=seed)
