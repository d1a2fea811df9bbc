"""The lake's tables by product and layer, and what is known of the one under the cursor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from lakehouse.core.text import printable
from lakehouse.explorer.app.lake import Absent
from lakehouse.explorer.table_info import TableInfo
from lakehouse.products.registry import products

_LAYER_ORDER = ("silver", "bronze", "quarantine", "ledger", "erased", "lake")
_ROUND = 0.9995
"""From here on a number of three digits is the next unit."""
Known = Mapping[str, TableInfo | str]
"""Table → what is known of it; or, as a text, why nothing is."""
Columns = Mapping[str, Mapping[str, str]]
"""Table → its columns, each with its type."""


class LakeTree(Tree[str]):
    """Products, their layers, and their tables with rows and version; below each its columns."""

    ICON_NODE, ICON_NODE_EXPANDED = "▸", "▾"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "toggle_node", "Columns")]

    DEFAULT_CSS = "LakeTree { height: 1fr; padding: 0; scrollbar-size: 1 1; }"

    class Picked(Message):
        """A table was chosen."""

        def __init__(self, table: str) -> None:
            super().__init__()
            self.table = table

    def __init__(self, **how: Any) -> None:
        super().__init__("lake", **how)
        self.show_root = False
        self.auto_expand = False  # a table that is chosen is shown
        self.guide_depth = 2
        self._columns: Columns = {}
        self._leaves: dict[str, TreeNode[str]] = {}

    def list(self, names: list[str], known: Known, columns: Columns) -> None:
        """Show these tables; where they are those that are shown, only what is known is new."""
        before, self._columns = self._columns, columns
        if [*self._leaves] != names:
            was = self.pointed
            self.clear()
            self._leaves = {}
            for product, tables in grouped(names).items():
                branch = self.root.add(Text(printable(product), "bold"), expand=True)
                for name in tables:
                    self._leaves[name] = branch.add(Text(""), data=name)
            if self._leaves:
                first = was if was in self._leaves else next(iter(self._leaves))
                self.call_after_refresh(self._begin, first)
            self._leaves = {name: self._leaves[name] for name in names}
        for name, node in self._leaves.items():
            node.set_label(label(name, known.get(name)))
            if node.is_expanded and before.get(name) != columns.get(name):
                self._fill(node, name)

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[str]) -> None:
        """A table's columns, once they are asked for."""
        if event.node.data:
            self._fill(event.node, event.node.data)

    def _fill(self, node: TreeNode[str], table: str) -> None:
        node.remove_children()
        for name, kind in self._columns.get(table, {}).items():
            text = Text.assemble(printable(name), (f" {printable(kind)}", "dim"), no_wrap=True)
            node.add_leaf(text, data=table)

    def _begin(self, first: str) -> None:
        """Point at this table, unless a key was quicker."""
        if not self.pointed:
            self.point_at(first)

    @property
    def pointed(self) -> str:
        """The table that the cursor is at, or at a column of; empty where it is at none."""
        node = self.cursor_node
        if node is None or not (name := node.data):
            return ""
        is_here = self._leaves.get(name) in {node, node.parent}  # a node outlives its tree
        return name if is_here else ""

    def point_at(self, name: str) -> None:
        """Move the cursor to a table."""
        if name in self._leaves:
            self.move_cursor(self._leaves[name])

    def on_tree_node_selected(self, event: Tree.NodeSelected[str]) -> None:
        """A table is chosen; a product folds."""
        event.stop()
        if event.node.data:
            self.post_message(self.Picked(event.node.data))
        else:
            event.node.toggle()


def label(name: str, info: TableInfo | str | None) -> Text:
    """A table's line: its name without its product's, rows, version."""
    layer, _, table = name.partition(".")
    product = product_of(name)
    shown = table.removeprefix(f"{product}_") if layer == "silver" else layer
    if not product:
        shown = name
    text = Text(printable(shown), no_wrap=True)
    if isinstance(info, Absent):
        text.append(" not then", "dim")
    elif isinstance(info, str):
        text.append(" ✗ unreadable", "bold")
    elif info is not None:
        rows = "?" if info.rows is None else compact(info.rows)
        text.append(f" {rows} v{info.version}", "dim")
    return text


def grouped(names: list[str]) -> dict[str, list[str]]:
    """Product → its tables, silver first."""
    found: dict[str, list[str]] = {}
    order = {name: place for place, name in enumerate(_LAYER_ORDER)}
    for name in sorted(names, key=lambda n: (order.get(n.partition(".")[0], 9), n)):
        found.setdefault(product_of(name) or "others", []).append(name)
    known = [*products(), "others"]
    return {p: found[p] for p in sorted(found, key=known.index)}


def product_of(name: str) -> str:
    """The product that a table is of, by its contracts' names; empty of a stranger's."""
    table = name.partition(".")[2]
    for product in products().values():
        for contract in sorted((c.name for c in product.contracts), key=len, reverse=True):
            if table == contract or table.startswith(f"{contract}_"):
                return product.name
    return ""


def many(count: str, what: str) -> str:
    """A count with its word."""
    return f"{count} {what}{'' if count == '1' else 's'}"


def details(name: str, info: TableInfo | str | None, behind: int | None, now: datetime) -> str:
    """What is known of a table, a line each."""
    if info is None:
        return printable(name)
    if isinstance(info, str):
        return f"{printable(name)}\n{info}"
    rows = "unknown" if info.rows is None else f"{info.rows:,}"
    lines = [
        printable(name),
        f"{many(rows, 'row')}, {size(info.bytes)} in {many(f'{info.files:,}', 'file')}",
        f"version {info.version}, {ago(info.committed, now)}",
    ]
    if info.source is not None:
        late = "up to date" if not behind else f"{behind:,} behind"
        lines.append(f"of bronze {info.source}: {late}")
    return "\n".join(lines)


def ago(moment: str, now: datetime) -> str:
    """How long ago a time was, in the largest unit that fits."""
    if not moment:
        return "never committed"
    seconds = max(0, int((now - datetime.fromisoformat(moment).astimezone(UTC)).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def size(count: int) -> str:
    """Bytes in the largest unit that fits."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"


def compact(count: int) -> str:
    """A count in a few characters: 4.0k, 1.2M; the details have it whole."""
    for unit, length in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if (many := count / length) >= _ROUND:
            return f"{many:.{1 if many < 10 * _ROUND else 0}f}{unit}"
    return str(count)
