"""SIGTERM in the process that runs pytest, in a copy of it, and with a handler of somebody else."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from pytest_aprqa.termination import Termination


@pytest.fixture
def handler():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield lambda: signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_the_first_signal_interrupts_and_the_next_has_its_old_meaning(handler):
    termination = Termination()
    termination.watch()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert termination.came
    assert handler() == signal.SIG_DFL


def test_what_was_watched_is_given_back_once(handler):
    termination = Termination()
    termination.watch()
    assert handler() != signal.SIG_DFL
    termination.stop_watching()
    termination.stop_watching()
    assert handler() == signal.SIG_DFL
    assert not termination.came


def test_a_handler_of_somebody_else_stays(handler):
    def theirs(number, frame):
        pass

    signal.signal(signal.SIGTERM, theirs)
    termination = Termination()
    termination.watch()
    assert handler() is theirs
    termination.stop_watching()
    assert handler() is theirs


def test_another_thread_watches_for_nothing(handler):
    termination = Termination()
    thread = threading.Thread(target=termination.watch)
    thread.start()
    thread.join()
    assert handler() == signal.SIG_DFL


def test_a_copy_of_the_process_ends_by_the_signal(handler):
    termination = Termination()
    termination.watch()
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    termination.stop_watching()
