"""Hooks of a run that is a part of another: its shard of the items, and what a killed run has recorded already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_aprqa.run_state import RunState


class RunPartHooks:
    """Registered in every process that collects items, after the plugin itself."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Before every selection: which items there are. After all of them: which of the rest are this shard's."""
        from pytest_aprqa.collection import drop_empty_blocks
        from pytest_aprqa.sharding import keep_shard, record_collection

        drop_empty_blocks(items)
        record_collection(config, items)
        yield
        keep_shard(config, items)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Items keep their place in the whole run; find what the earlier run recorded of them."""
        from pytest_aprqa.resuming import RECORDED, recorded_entries
        from pytest_aprqa.sharding import COLLECTION_RECORD

        record = session.config.stash.get(COLLECTION_RECORD, None)
        if record is not None and record.order is not None:
            self._state.order = record.order
        session.config.stash[RECORDED] = recorded_entries(session.config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Replay what is recorded of the item, instead of running it."""
        from pytest_aprqa.resuming import replay

        replay(item, self._state)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """A replayed item has a call of its own, so that plugins see it as any other."""
        from pytest_aprqa.resuming import replay_again

        replay_again(item)
