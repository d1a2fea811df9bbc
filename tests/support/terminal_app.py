"""The explorer's app driven by keys in the test's own process, without a terminal."""

import asyncio
import time
from pathlib import Path

from textual.events import Key

from lakehouse.cli.asking import opened
from lakehouse.explorer.app.app import Explorer
from lakehouse.explorer.app.grid import Grid
from lakehouse.explorer.app.results import Results

SMALL, LARGE = (80, 24), (140, 40)
PATIENCE = 60
"""Seconds after which what has not come will not."""


def drive(root, steps, size=SMALL):
    """Run ``steps``, a coroutine function of a :class:`Driver`, on the app over a lake."""

    async def run():
        settings, session = opened(None, Path(root), None, None, None, is_made=False)
        with session:
            app = Explorer(session, settings)
            async with app.run_test(size=size, notifications=True) as pilot:
                await steps(Driver(app, pilot))

    asyncio.run(run())


class Driver:
    """Presses keys, waits for what must come, and reads the screen."""

    def __init__(self, app, pilot):
        self.app, self.pilot = app, pilot

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def burst(self, *keys):
        """Keys that are there before the first is read, as from a paste or when all is busy."""
        for key in keys:
            self.app.post_message(
                Key("space" if key == " " else key, key if len(key) == 1 else None)
            )
        await self.pilot.pause()

    async def write(self, text):
        """Type a text, a key each."""
        names = {" ": "space", "\n": "enter", ".": "full_stop", "_": "underscore"}
        await self.press(*(names.get(c, c) for c in text))

    async def until(self, holds, what=""):
        """Wait until something holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, self.told(what)
            await self.pilot.pause(0.05)
        await self.pilot.pause()

    async def shows(self, *texts):
        """Wait until the screen has every text."""

        def shown():
            screen = self.screen  # drawn once for all of them
            return all(text in screen for text in texts)

        await self.until(shown, f"no {texts}")

    def told(self, what):
        """The screen, for whoever looks why something did not come."""
        lines = (line.rstrip() for line in self.screen.splitlines())
        return "\n".join([what, *filter(None, lines)])

    @property
    def screen(self):
        """The screen's characters, a line each."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in line) for line in lines)

    @property
    def grid(self):
        """The grid on the screen that is on top."""
        return self._in_view(Grid)

    @property
    def results(self):
        return self._in_view(Results)

    def _in_view(self, kind):
        found = self.app.screen.query(kind)
        return next(w for w in found if all(a.display for a in w.ancestors_with_self[:-1]))
