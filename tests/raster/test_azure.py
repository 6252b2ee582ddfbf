"""Who waits for a signature, for how long, and who hears of the key."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from geocube_ml.errors import AccessError
from geocube_ml.raster import azure
from geocube_ml.spec.storage import StorageSpec
from tests.servers.faults import Answer

QUICK = StorageSpec(attempts=1, deadline_s=1)


@pytest.fixture
def tokens(token_server, monkeypatch):
    settings, _ = azure._planetary_computer()
    monkeypatch.setenv("PC_SDK_SAS_URL", token_server.sas_url)
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "a-subscription")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(azure, "_signatures", {})
    type(settings).get.cache_clear()
    yield token_server
    type(settings).get.cache_clear()


def blob(container):
    found = azure.blob_of(f"https://maps1.blob.core.windows.net/{container}/a.tif")
    assert found is not None
    return found


def test_a_container_does_not_wait_for_another(tokens, monkeypatch):
    answer, held, go = tokens.answer, threading.Event(), threading.Event()

    def slow(request):
        if request.path.endswith("/slow"):
            held.set()
            go.wait(90)
        return answer(request)

    monkeypatch.setattr(tokens, "answer", slow)
    patient = StorageSpec(attempts=1, deadline_s=90)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(azure.signature, blob("slow"), patient)
        assert held.wait(90)
        try:
            assert pool.submit(azure.signature, blob("quick"), patient).result(60)
        finally:
            go.set()
        assert first.result(90)


def test_threads_do_not_each_wait_for_a_server_that_is_away(tokens, monkeypatch):
    def ask(_):
        with pytest.raises(AccessError, match="no answer"):
            azure.signature(blob("tiles"), QUICK)

    monkeypatch.setattr(azure, "_FAILED_S", 600)
    with tokens.faults(faults=["hang_get"], at_most=99, hang_s=60), ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(6)))
    assert tokens.count() == 1
    monkeypatch.setattr(azure, "_FAILED_S", 0)  # it is over
    assert azure.signature(blob("tiles"), StorageSpec(attempts=1, deadline_s=90))


def test_the_key_does_not_follow_a_redirect(tokens, monkeypatch):
    seen = []

    def elsewhere(request):
        seen.append((request.path, request.headers.get("Ocp-Apim-Subscription-Key")))
        return Answer(302, [("Location", f"{tokens.url}/elsewhere")])

    monkeypatch.setattr(tokens, "answer", elsewhere)
    with pytest.raises(AccessError, match="it says 302"):
        azure.signature(blob("tiles"), QUICK)
    assert seen == [("/api/sas/v1/token/maps1/tiles", "a-subscription")]
