"""The pages in Debian's Chromium: what a person sees, with a keyboard, in both themes and sizes."""

import shutil
import time
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

from lakehouse.core.disk import GIB, Room
from lakehouse.explorer import observed
from lakehouse.explorer.dashboard import pages
from lakehouse.operations.keep import keep
from lakehouse.products.registry import flows
from tests.conftest import encode, long, sale, settings_at
from tests.support.audited import Kafka, proof
from tests.support.dashboard import HOSTILE, dashboard, told
from tests.support.lake import Lake

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt install chromium")
PAGES = ["/", "/pipeline", "/tables", "/analysis/products", "/table/bronze.sales",
         "/trace?analysis=countries&row="]  # fmt: skip
PHONE, WALL = (390, 844), (1920, 1080)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = Lake(settings_at(tmp_path_factory.mktemp("pages") / "lake"))
    sold = [sale(event_id=f"e{n}", product_name=p, product_id=f"p{n}")
            for n, p in enumerate(HOSTILE)]  # fmt: skip
    lake.land([*encode(*sold), b"{"], 0)
    lake.fold()
    return lake


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page; whatever its console says of a fault, the test fails by."""
    faults, contexts = [], []

    def visit(address, size=WALL, theme="light"):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on("request", lambda asked: asked.url.startswith("http://127.0.0.1:")
                or faults.append(asked.url))  # fmt: skip
        page.goto(address)
        page.wait_for_selector("main h1")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


TORN = """[...document.querySelectorAll('td a')].flatMap((a) => [...a.childNodes])
.filter((node) => {
  const range = document.createRange();
  range.selectNodeContents(node);
  return range.getClientRects().length > 1;
}).map((node) => node.textContent)"""
"""Parts of tables' names that are broken over two lines."""


# what fits is of the size, and what has contrast of the theme: each is tried once
@pytest.mark.parametrize(
    ("size", "theme"),
    [(PHONE, "light"), (WALL, "dark"), *long((PHONE, "dark"), (WALL, "light"))],
    ids=["phone-light", "wall-dark", "phone-dark", "wall-light"],
)
def test_each_page_fits_and_every_part_of_it_has_a_name(lake, opened, size, theme):
    with dashboard(lake.settings) as address:
        page = opened(f"{address}/", size, theme)
        row = told(address, "/api/analysis/countries")["ids"][0]
        for path in (f"{one}{row}" if one[-1] == "=" else one for one in PAGES):
            page.goto(f"{address}{path}")
            page.wait_for_selector("main h1")
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path
            assert page.evaluate(UNNAMED) == [], path
            assert page.evaluate(POOR) == [], path
            assert page.title() != "owned"
        page.goto(f"{address}/tables")
        page.wait_for_selector("td a")
        assert page.evaluate(TORN) == []


UNNAMED = """() => [...document.querySelectorAll(
    'a, button, summary, table, svg[role=img], meter, img, nav, section')].filter((node) => {
  const name = node.getAttribute('aria-label') || node.textContent.trim()
    || (node.tagName === 'IMG' && node.hasAttribute('alt'));
  return !name || (node.tagName === 'TABLE' && !node.caption);
}).map((node) => node.outerHTML.slice(0, 80)).concat(
  ['header', 'nav', 'main', 'footer', 'h1'].filter((tag) => !document.querySelector(tag)))"""
"""Elements that a screen reader could not name, and landmarks that are missing."""
POOR = """() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((n) => n / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$|transparent/.test(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')].filter((node) =>
    [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())
    && node.checkVisibility() && !node.closest('svg, noscript, .skip'))
    .filter((node) => {
      const a = light(getComputedStyle(node).color), b = light(ground(node));
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    }).map((node) => node.className + ': ' + node.textContent.slice(0, 40));
}"""
"""Texts whose contrast with what is behind them is below 4.5 to 1."""


def test_hostile_text_is_shown_as_text(lake, opened):
    with dashboard(lake.settings) as address:
        page = opened(f"{address}/table/bronze.sales")
        page.wait_for_selector("td")
        shown = page.inner_text("main")
        assert "<script>document.title='owned'</script>" in shown
        assert "<img src=x onerror=document.title='owned'>" in shown
        assert "\\u202egnp.exe" in shown
        assert page.locator("main script, main img, main iframe").count() == 0


def test_the_mark_above_counts_the_gravest_and_a_full_disk_is_coloured(lake, opened, monkeypatch):
    monkeypatch.setattr(observed, "room", lambda folder: Room(folder, GIB, 100 * GIB))
    with dashboard(lake.settings) as address:
        levels = [concern["level"] for concern in told(address, "/api/lake")["concerns"]]
        assert sorted(levels) == ["bad", "look"]
        page = opened(f"{address}/pipeline")
        page.wait_for_selector("meter")
        assert page.inner_text("#state") == "1 needs you"
        [low, high, value] = page.evaluate(
            "(({low, high, value}) => [low, high, value])(document.querySelector('meter'))"
        )
        assert (low, value > high) == (90 * GIB, True)


def test_numbers_move_and_a_server_that_goes_and_comes_back_is_said(lake, opened):
    with dashboard(lake.settings) as address:
        port = int(address.rpartition(":")[2])
        page = opened(f"{address}/pipeline")
        page.wait_for_selector(f"text={len(HOSTILE)} rows")
        lake.land(encode(sale(event_id="new")), len(HOSTILE) + 1)
        page.wait_for_selector(f"text={len(HOSTILE) + 1} rows")
        page.wait_for_selector("text=tables wait for their turn")
    page.wait_for_selector("#notice:not([hidden])")
    assert "does not answer since" in page.inner_text("#notice")
    assert f"{len(HOSTILE) + 1} rows" in page.inner_text("main")  # the last numbers stay
    with dashboard(lake.settings, port=port):
        page.wait_for_selector("#notice", state="hidden")


def test_a_page_that_is_not_whole_is_asked_again_at_once(lake, browser, monkeypatch):
    monkeypatch.setattr(pages, "_FIRST", 0)  # one question a turn
    with dashboard(lake.settings) as address:
        page, pauses, answered = browser.new_page(), [], []

        def asked(request):
            if urlsplit(request.url).path == "/api/product/sales" and answered:
                pauses.append(time.monotonic() - answered[-1])

        def ended(request):
            if urlsplit(request.url).path == "/api/product/sales":
                answered.append(time.monotonic())

        page.on("request", asked)
        page.on("requestfinished", ended)
        page.goto(f"{address}/product/sales")
        page.wait_for_selector("text=reading…")
        page.wait_for_selector("text=reading…", state="detached")
        page.close()
    assert min(pauses) < 1  # one that is whole rests for two seconds


def test_the_keyboard_stays_where_it_is_while_numbers_move(lake, opened):
    with dashboard(lake.settings) as address:
        page = opened(f"{address}/pipeline")
        again = page.locator("[href='/table/quarantine.sales']").nth(1)
        again.focus()
        page.evaluate("document.querySelector('h1').dataset.old = 1")
        page.wait_for_selector("[data-old]", state="detached")
        assert again.evaluate("(node) => node === document.activeElement")


def test_an_empty_lake_says_what_to_do_and_fills_when_one_begins(opened, tmp_path):
    settings = settings_at(tmp_path / "new")
    with dashboard(settings) as address:
        page = opened(address)
        page.wait_for_selector("text=lakehouse up")
        lake = Lake(settings)
        lake.land(encode(sale()), 0)
        lake.fold()
        page.wait_for_selector("text=net revenue by day")
        shown = page.inner_text("main")
        assert "Sales" in shown
        shutil.rmtree(f"{settings.lake.root}/silver/sales_by_client")  # as before its first turn
        lake.land(encode(sale(event_id="e2")), 1)
        page.goto(f"{address}/pipeline")
        page.wait_for_selector("text=1 has nothing yet")
        [silver] = [
            box for box in page.locator("li.box").all() if "sales.silver" in box.inner_text()
        ]
        others = len(next(f for f in flows() if f.name == "sales.silver").tables) - 1
        assert f"{others} of {others + 1} tables wait for their turn, 1 commit and" in (
            found := silver.inner_text()
        )
        assert found.count("nothing yet") == 1


def test_a_currency_is_drawn_at_a_time_and_a_drawing_of_days_is_one_row(opened, tmp_path):
    lake = Lake(settings_at(tmp_path / "drawn"))
    sold = [("Spain", "EUR"), ("Poland", "PLN"), ("France", "EUR")]
    events = [sale(event_id=c, order_id=c, country=c, currency=m) for c, m in sold]
    days = [f"2026-11-{day:02}T11:00:00+00:00" for day in range(1, 20)]
    events += [sale(event_id=d, order_id=d, country="France", event_time=d) for d in days]
    lake.land(encode(*events), 0)
    lake.fold()
    with dashboard(lake.settings) as address:
        page = opened(f"{address}/analysis/countries")
        page.wait_for_selector("ol.bars")
        lines = page.locator("ol.bars > li").all_inner_texts()
        own = "on a scale of its own"
        assert [line.split()[0] for line in lines] == ["EUR,", "France", "Spain", "PLN,", "Poland"]
        assert [line for line in lines if own in line] == [f"EUR, {own}", f"PLN, {own}"]
        page.set_viewport_size({"width": 390, "height": 844})  # as narrow as a card
        page.goto(f"{address}/analysis/last_30_days")
        page.wait_for_selector("td")
        drawn = page.locator("td", has_text="▄▄").first
        text = "(e) => { const r = document.createRange(); r.selectNodeContents(e); return r"
        assert drawn.evaluate(f"{text}.getClientRects().length; }}") == 1


def test_the_keyboard_alone_reaches_a_numbers_events(lake, opened):
    with dashboard(lake.settings) as address:
        page = opened(f"{address}/analysis/countries")
        page.wait_for_selector("ol.bars a")
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('ol.bars') !== null"):
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("text=The events behind a row")
        page.wait_for_selector("td")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"


def test_an_audit_leads_to_the_table_that_it_is_of(lake, opened):
    keep(proof(lake, Kafka(end=len(HOSTILE) + 1)), lake.settings)
    with dashboard(lake.settings) as address:
        page = opened(f"{address}/pipeline")
        page.click("[aria-label^='kept audits'] td a")
        page.wait_for_selector("h1:has-text('bronze.sales')")


def test_the_theme_is_the_systems_until_it_is_chosen(lake, opened):
    with dashboard(lake.settings) as address:
        page = opened(f"{address}/tables", theme="dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(ground)
        page.click("#theme")
        assert page.evaluate(ground) != dark
        page.reload()
        page.wait_for_selector("main h1")
        assert page.evaluate(ground) != dark
        page.click("#theme")
        assert page.evaluate(ground) == dark
