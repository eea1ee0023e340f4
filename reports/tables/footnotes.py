"""Footnotes: collected once, numbered in the order in which they are first needed, and attached by index."""

from collections.abc import Mapping


class Notes:
    """The footnotes of one table. Adding a text twice gives the same number."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, text: str) -> int:
        """The index of the footnote."""
        if text not in self._texts:
            self._texts.append(text)
        return self._texts.index(text)

    def shared(self, texts: Mapping[str, str]) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
        """Footnotes of a column and of single rows: a text that holds for all rows stands at the column, texts that
        differ stand at the rows that they hold for.
        """
        distinct = dict.fromkeys(texts.values())
        if len(distinct) == 1:
            return (self.add(next(iter(distinct))),), {}
        return (), {row: (self.add(text),) for row, text in texts.items()}

    @property
    def texts(self) -> tuple[str, ...]:
        """All footnotes in order."""
        return tuple(self._texts)
