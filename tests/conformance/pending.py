"""Programs that do not yet see on graph_runtime what they see on langgraph. One that does must leave."""

from __future__ import annotations

PENDING: frozenset[str] = frozenset()
