from __future__ import annotations

import threading

from geocube_ml.raster.readers import Readers


def test_a_raster_is_forgotten_when_its_last_reader_is_done():
    readers, said = Readers(), []
    begun = threading.Event()

    def forget():
        begun.set()
        with readers.nobody("a", within_s=60) as alone:
            said.append(alone)

    waiting = threading.Thread(target=forget)
    with readers.reading("a"):
        with readers.reading("a"):
            waiting.start()
            begun.wait(60)
        assert said == []
    waiting.join(60)
    assert said == [True]


def test_a_reader_begins_when_the_raster_is_forgotten():
    readers, said = Readers(), []
    begun = threading.Event()

    def read():
        begun.set()
        with readers.reading("a"):
            said.append("read")

    waiting = threading.Thread(target=read)
    with readers.nobody("a", within_s=60) as alone:
        assert alone
        waiting.start()
        begun.wait(60)
        assert said == []
    waiting.join(60)
    assert said == ["read"]


def test_one_that_waits_too_long_leaves_others_alone():
    readers = Readers()
    with readers.reading("a"):
        with readers.nobody("a", within_s=0.01) as alone:
            assert not alone
        with readers.reading("a"):
            pass
    with readers.nobody("a", within_s=0.01) as alone:
        assert alone
