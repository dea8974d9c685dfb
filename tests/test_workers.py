"""Worker processes: who does what, and when one is replaced."""

import os

import pytest

from tfunroll import workers


@pytest.mark.parametrize(("memory", "processes"), [(0.9, 1), (0.0, 3)])
def test_a_process_that_holds_too_much_memory_is_replaced(memory, processes, monkeypatch):
    monkeypatch.setattr(workers, "MEMORY", memory)
    tasks = [workers.Task(name, os.getpid, (), after) for name, after in
             (("a", ()), ("b", ("a",)), ("c", ("b",)))]  # fmt: skip
    found = workers.run_tasks(tasks, 2, 3.0, "test")
    assert list(found) == ["a", "b", "c"]
    assert len(set(found.values())) == processes
    assert os.getpid() not in found.values()
