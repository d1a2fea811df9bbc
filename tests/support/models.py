"""Models of churn for tests: trained once a process."""

from datetime import UTC, datetime
from functools import cache

from lakehouse.products.churn.model.customers import generated, of_file
from lakehouse.products.churn.model.training import train
from tests.conftest import DATA

FILE = DATA / "telco_customer_churn.csv.gz"
MADE = datetime(2026, 11, 20, 12, tzinfo=UTC)


@cache
def given():
    """The real customers where they are, else generated ones."""
    return of_file(FILE, MADE) if FILE.is_file() else generated(7000, 7, MADE)


@cache
def trained():
    """A model of :func:`given`."""
    return train(given(), seed=7, now=MADE)


@cache
def small(seed=1):
    """A model of few customers, made in seconds; another seed, another model."""
    return train(generated(1000, seed, MADE), seed=seed, now=MADE)
