"""Tests; what they share asserts as they do, with what was compared in the message."""

import pytest

pytest.register_assert_rewrite("tests.support", "tests.live", "tests.matrix", "tests.hostile")
