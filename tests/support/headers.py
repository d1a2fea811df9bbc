"""Names of headers that kafka-python's producer sends as bytes of ours."""


class Odd(str):
    """A header's name whose bytes are no UTF-8."""

    def encode(self, *_):
        return b"a\xff\xe4\xb8z"
