"""What is overdue is acted on from outside, and nothing after its end."""

from __future__ import annotations

import threading
import time

from shared.watchdog import Watchdog


def test_a_block_that_takes_too_long_is_cut_again_and_again_until_it_ends() -> None:
    cuts = threading.Semaphore(0)
    with Watchdog().limit(0.01, cuts.release) as watch:
        assert cuts.acquire(timeout=10)
        assert cuts.acquire(timeout=10)
    assert watch.is_overdue


def test_a_block_that_ends_in_time_is_not_cut() -> None:
    cut = threading.Event()
    watchdog = Watchdog()
    with watchdog.limit(60.0, cut.set) as watch:
        pass
    assert not watch.is_overdue
    assert not cut.is_set()


def test_what_is_due_later_is_done_once() -> None:
    done = threading.Semaphore(0)
    watchdog = Watchdog()
    watchdog.after(0.01, done.release)
    assert done.acquire(timeout=10)
    assert not done.acquire(timeout=0.3)


def test_what_is_cancelled_is_not_done() -> None:
    done = threading.Event()
    watchdog = Watchdog()
    watchdog.cancel(watchdog.after(0.05, done.set))
    assert not done.wait(0.2)


def test_the_nearest_deadline_is_kept_whatever_was_asked_for_first() -> None:
    done: list[str] = []
    both = threading.Event()
    watchdog = Watchdog()
    watchdog.after(0.3, both.set)
    watchdog.after(0.2, lambda: done.append("late"))
    watchdog.after(0.01, lambda: done.append("soon"))
    assert both.wait(10)
    assert done == ["soon", "late"]


def test_one_thread_watches_all_and_ends_when_nothing_is_left() -> None:
    watchdog = Watchdog()
    before = threading.active_count()
    watches = [watchdog.after(60.0, lambda: None) for _ in range(16)]
    assert threading.active_count() == before + 1
    for watch in watches:
        watchdog.cancel(watch)
    ends = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < ends
        time.sleep(0.02)
    watchdog.after(0.01, lambda: None)  # and starts again
