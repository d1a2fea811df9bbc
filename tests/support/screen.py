"""A lake for the terminal explorer's screen, in which a row says what no terminal may obey."""

from tests.conftest import encode, sale, settings_at
from tests.support.lake import Lake

HOSTILE = "[red]x[/] [@click=app.quit]y[/] \x1b[31m\x9b\x07 \u202egnp =1+1"
SHOWN = r"[red]x[/] [@click=app.quit]y[/] \x1b[31m\x9b\x07"
PRICE = "7.1234"


def screen_lake(root):
    """Two batches: five good events of which one is hostile, and two broken ones."""
    lake = Lake(settings_at(root))
    first = sale(product_name=HOSTILE, country=HOSTILE, unit_price=float(PRICE))
    lake.land([*encode(first, sale(event_id="b")), b"{\x1b[31m"], 0)
    lake.fold()
    more = [sale(event_id=f"m{n}", order_id=f"o{n}", country="Spain") for n in range(3)]
    lake.land([*encode(*more), b"[bold]"], 3)
    lake.persist()
    return lake.settings.lake.root
