"""A dashboard over a lake, served in this process."""

import json
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager

from lakehouse.core.exposition import metric_routes
from lakehouse.core.serving import health_routes, served
from lakehouse.explorer.dashboard.beside import Beside
from lakehouse.explorer.dashboard.pages import Pages
from lakehouse.explorer.measured import Measured
from lakehouse.explorer.observed import Observer
from lakehouse.explorer.report import views
from lakehouse.explorer.session import Session

HOSTILE = [
    "<script>document.title='owned'</script>", "<img src=x onerror=document.title='owned'>",
    "=HYPERLINK(\"http://x\")", "\u202egnp.exe", "\x1b[31mred\x07", "'; DROP TABLE x; --",
    "{{7*7}}", "a" * 60,
]  # fmt: skip
"""Names of articles that a browser, a terminal or a sheet might obey."""


@contextmanager
def dashboard(settings, token="", port=0, beside=""):
    """The address of a dashboard; what is asked of it is asked of the lake as it is then."""
    with (
        closing(Observer(settings, lambda s: s)) as observer,
        Session(observer.catalogue, settings.explorer, views(None, settings)) as session,
    ):
        pages = Pages(observer, session, Beside(beside))
        routes = {**health_routes(lambda: []), **metric_routes(Measured(observer)),
                  **pages.routes()}  # fmt: skip
        with served(port, routes, token) as address:
            yield address


def asked(address, path="", **headers):
    """Status, headers and body of an answer."""
    request = urllib.request.Request(f"{address}{path}", headers=headers)
    try:
        with urllib.request.build_opener(NoRedirect).open(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def told(address, path):
    """The JSON of an answer that is well."""
    status, _, body = asked(address, path)
    assert status == 200, body
    return json.loads(body)


def whole(address, product):
    """A product's page once all of its questions were asked."""
    while "reading…" in str(found := told(address, f"/api/product/{product}")):
        time.sleep(0.02)  # to ask at once takes the time that the answer needs
    return found


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
